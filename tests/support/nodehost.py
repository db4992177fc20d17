# SPDX-License-Identifier: Apache-2.0
"""One host of the node daemon over the fakes, without its queue: for single steps."""

import asyncio
import base64
from dataclasses import dataclass
from typing import Any

from nopal_api.kinds import DISK, SECRET, VIRTUAL_MACHINE
from nopal_api.names import MANAGER_ASSIGNMENT, disk_image
from nopal_api.zone import Zone
from nopal_node.guest_steps import GuestSteps
from nopal_node.host_state import HostState, Registration
from nopal_node.hypervisor.fake import FakeHypervisor
from nopal_node.hypervisor.fake_host import FakeHostState
from nopal_node.network.fake import FakeNetwork
from nopal_node.pools import Pools
from nopal_node.settings import Settings
from nopal_node.storage.fake import FakePool
from nopal_node.storage.fake_cluster import FakeCluster
from nopal_node.virtual_machines import view_of
from nopal_runtime.kube.cache import ObjectCache, make_record
from nopal_runtime.kube.fake import FakeKube
from nopal_runtime.kube.status import StatusWriter
from support import objects
from support.nodeplan import NODE, assignment
from support.simulation import InlineThreads

NAMESPACE, EPOCH = "default", 3


@dataclass
class Host:
    """A host with a VM that is assigned to it, and a disk that is claimed for that."""

    kube: FakeKube
    cluster: FakeCluster
    host: FakeHostState
    state: HostState
    steps: GuestSteps

    async def run(self, step: type[Any]) -> None:
        """Carry out one step, for the disk if it is about one."""
        disk = self.steps.view.status.assignment.disks[0]  # type: ignore[union-attr]
        about_disk = "disk" in step.__dataclass_fields__
        await self.steps.run(step(disk) if about_disk else step())

    async def tell(self, kind: Any, name: str, status: dict[str, Any], manager: str) -> None:
        """Write a status over the one that is there."""
        body = self.kube.see(kind, name, NAMESPACE)
        assert body is not None
        await self.kube.apply_status(
            kind,
            namespace=NAMESPACE,
            name=name,
            manager=manager,
            resource_version=body["metadata"]["resourceVersion"],
            status=status,
        )

    async def assign(self, **more: Any) -> None:
        """Write the VM's assignment."""
        status = {"assignment": assignment(**{"epoch": EPOCH, "disks": [self.disk], **more})}
        await self.tell(VIRTUAL_MACHINE, "vm1", status, MANAGER_ASSIGNMENT)

    async def claim(self, **more: Any) -> None:
        """Write the disk's claim."""
        claim = {"vmName": "vm1", "vmUID": self.uid, "nodeName": NODE, "epoch": EPOCH, **more}
        status = {"location": self.disk["location"], "claim": claim}
        await self.tell(DISK, "disk1", status, MANAGER_ASSIGNMENT)

    @property
    def uid(self) -> str:
        """The VM's UID."""
        return uid_of(self.kube, VIRTUAL_MACHINE, "vm1")

    @property
    def disk(self) -> dict[str, Any]:
        """The disk as it is assigned."""
        uid = uid_of(self.kube, DISK, "disk1")
        where = {"fsid": objects.FSID, "pool": "vms", "image": disk_image(uid)}
        return {
            "name": "root", "diskName": "disk1", "uid": uid, "location": where, "size": 2**30
        }  # fmt: skip


def uid_of(kube: FakeKube, kind: Any, name: str) -> str:
    body = kube.see(kind, name, NAMESPACE)
    assert body is not None
    return str(body["metadata"]["uid"])


async def host() -> Host:
    kube, cluster, threads = FakeKube(), FakeCluster(), InlineThreads()
    machine = FakeHostState()
    key = {NODE: base64.b64encode(b"key").decode()}
    kube.put(SECRET, {"metadata": {"name": "ceph", "namespace": "nopal-system"}, "data": key})
    kube.put(VIRTUAL_MACHINE, objects.vm())
    kube.put(DISK, objects.disk())
    pools = Pools(
        node_name=NODE,
        kube=kube,
        connect=lambda access: FakePool(cluster, pool=access.pool),
        threads=threads,
    )
    pools.use_zone("z1", Zone.model_validate(objects.zone()))
    cache = ObjectCache()
    state = HostState(
        settings=Settings(node_name=NODE),
        kube=kube,
        cache=cache,
        writer=StatusWriter(kube, cache),
        hypervisor=FakeHypervisor(machine),
        network=FakeNetwork(),
        pools=pools,
        threads=threads,
        lease_fresh=lambda: True,
        mark=lambda _key, _delay: None,
        clock=asyncio.get_running_loop().time,
        wall=lambda: "2026-01-01T00:00:00Z",
        registered=Registration(cluster_uid="cluster", host_uid="host"),
    )
    made = Host(kube, cluster, machine, state, steps=None)  # type: ignore[arg-type]
    await made.assign()
    await made.claim()
    body = kube.see(VIRTUAL_MACHINE, "vm1", NAMESPACE)
    assert body is not None
    made.steps = GuestSteps(state, view_of(make_record(VIRTUAL_MACHINE, body)))
    return made
