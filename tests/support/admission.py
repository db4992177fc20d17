# SPDX-License-Identifier: Apache-2.0
"""Who writes what in the tests of the admission policies."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from nopal_api import names
from nopal_api.kinds import DISK, IMAGE, VIRTUAL_MACHINE, Kind
from support import objects
from support.apiserver import Answer, ApiServer
from support.waiting import PATIENCE

LOCATION = {"fsid": objects.FSID, "pool": "vms", "image": "disk-1"}


@dataclass(frozen=True)
class World:
    """Who asks, and what there is: one object of each kind in the hands of node `here`."""

    admin: ApiServer
    operator: ApiServer
    daemon: ApiServer
    """The daemon of the node `here`."""
    neighbour: ApiServer
    """The daemon of the node `there`."""
    nodeless: ApiServer
    """A daemon's token that is bound to no node."""
    here: str
    there: str
    namespace: str

    def assignment(self, **changes: Any) -> dict[str, Any]:
        return {
            "nodeName": self.here,
            "epoch": 3,
            "cores": 1,
            "memory": 2**30,
            "interfaces": [
                {"name": "lan", "network": "lan", "bridge": "br0", "mac": "02:00:00:00:00:01"}
            ],
            **changes,
        }

    def vm(self, **assignment: Any) -> str:
        """A virtual machine that the operator has assigned to `here`."""
        name = self.make(VIRTUAL_MACHINE, objects.vm(namespace=self.namespace))
        scheduled = {
            "type": "Scheduled",
            "status": "True",
            "reason": "Assigned",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        status = {"assignment": self.assignment(**assignment), "conditions": [scheduled]}
        self.decide(VIRTUAL_MACHINE, name, status)
        return name

    def disk(self, **changes: Any) -> str:
        """A disk that `here` carries out and a virtual machine there has claimed."""
        name = self.make(DISK, objects.disk(namespace=self.namespace))
        status = {
            "location": LOCATION,
            "executor": {"nodeName": self.here, "epoch": 2},
            "claim": {"vmName": "vm1", "vmUID": "u1", "nodeName": self.here, "epoch": 5},
            **changes,
        }
        self.decide(DISK, name, status)
        return name

    def image(self) -> str:
        """An image with one pool in the hands of `here` and one of `there`."""
        name = self.make(IMAGE, objects.image())
        self.decide(IMAGE, name, {"pools": self.image_pools()})
        return name

    def image_pools(self) -> list[dict[str, Any]]:
        return [
            {
                "zone": "z1",
                "pool": pool,
                "executor": {"nodeName": node, "epoch": 2},
                "location": {**LOCATION, "image": f"image-{pool}"},
            }
            for pool, node in (("mine", self.here), ("theirs", self.there))
        ]

    def make(self, kind: Kind, body: Mapping[str, Any], *, name: str = "") -> str:
        """Create an object under a name that nobody has; give the name."""
        name = name or f"t-{uuid4().hex[:12]}"
        meta = {**body["metadata"], "name": name}
        made = self.admin.create(kind, {**body, "metadata": meta})
        assert made.ok, made
        return name

    def decide(self, kind: Kind, name: str, status: Mapping[str, Any]) -> None:
        """Write the operator's part of the status, as the operator."""
        written = self.operator.apply_status(
            kind, name, self.space(kind), manager=names.MANAGER_ASSIGNMENT, status=status
        )
        assert written.ok, written

    def space(self, kind: Kind) -> str:
        return self.namespace if kind.namespaced else ""

    def read(self, kind: Kind, name: str) -> dict[str, Any]:
        found = self.admin.get(kind, name, self.space(kind))
        assert found.ok, found
        return found.body


def eventually(ask: Callable[[], Answer], *, ok: bool) -> Answer:
    """Ask until it is allowed (or refused): roles and policies reach the server within seconds."""
    return until(ask, lambda answer: answer.ok is ok)


def until(ask: Callable[[], Answer], fits: Callable[[Answer], bool]) -> Answer:
    """Ask until the answer is as wanted, but not for ever; give the last one."""
    deadline = time.monotonic() + PATIENCE
    while not fits(answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer
