# SPDX-License-Identifier: Apache-2.0
"""An operator over a fake API server.

One step at a time and in a time of its own: nothing waits, so hours pass in milliseconds.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nopal_api.conditions import Condition, condition, find
from nopal_api.kinds import DISK, HOST, IMAGE, KINDS, NETWORK, NODE, VIRTUAL_MACHINE, ZONE, Kind
from nopal_api.names import (
    MANAGER_NODE,
    image_manager,
)
from nopal_operator.dependents import dependents, room_given_back
from nopal_operator.effects import Effects
from nopal_operator.places import not_usable
from nopal_operator.reconcile import plan
from nopal_operator.reconcile.plan import Plan
from nopal_operator.world import Patience, World
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import ObjectCache, key_of, make_record
from nopal_runtime.kube.fake import FakeKube
from nopal_runtime.kube.status import StatusWriter
from support import objects

ALL = (ZONE, HOST, NETWORK, IMAGE, DISK, VIRTUAL_MACHINE, NODE)
GIB = 2**30
_BY_NAME = {kind.kind: kind for kind in (*KINDS, NODE)}


class Lab:
    """A fake API server with a zone, hosts, and one life of an operator.

    Args:
        kube: the API server; a new one if left out. A second Lab on the same one is the operator
            after a restart.
    """

    def __init__(self, kube: FakeKube | None = None, *, patience: Patience | None = None) -> None:
        self.kube = kube or FakeKube()
        self.now = 1000.0
        self.patience = patience or Patience()
        self.dirty: set[Key] = set()
        self.heartbeats: dict[str, bool | None] = {}
        self.restart()

    def restart(self) -> None:
        """Begin another life of the operator: it knows only what the API server has."""
        self.cache = ObjectCache()
        self.world = World(self.cache, patience=self.patience)
        self.world.heartbeats = self.heartbeats
        self.effects = Effects(
            self.kube,
            cache=self.cache,
            world=self.world,
            on_change=self._changed,
            clock=lambda: self.now,
        )

    def _changed(self, key: Key) -> None:
        change = self.world.changed(key, now=self.now)
        if change.is_news:
            dirty = dependents(self.world, key, change)
            self.dirty |= dirty.now | dirty.soon

    async def sync(self) -> None:
        """Bring everything that the API server knows into the cache."""
        for kind in ALL:
            for key in self.cache.sync(kind, await self.kube.list(kind)):
                self._changed(key)
        for name in {k.name for k in self.world.keys(HOST)}:
            host = self.world.host(name)
            down = self.world.times.down_since
            if host is not None and not_usable(self.world, host):
                down.setdefault(name, self.now)
            else:
                down.pop(name, None)

    # What a test puts there

    def put(self, kind: Kind, body: Mapping[str, Any]) -> Key:
        return key_of(kind, self.kube.put(kind, body))

    def zone(self, name: str = "z1", **spec: Any) -> Key:
        return self.put(ZONE, objects.zone(name, **spec))

    def vm(self, name: str = "vm1", **spec: Any) -> Key:
        return self.put(VIRTUAL_MACHINE, objects.vm(name, **spec))

    def disk(self, name: str = "disk1", **spec: Any) -> Key:
        return self.put(DISK, objects.disk(name, **spec))

    def image(self, name: str = "image1", **spec: Any) -> Key:
        return self.put(IMAGE, objects.image(name, **spec))

    def network(self, name: str = "lan", **spec: Any) -> Key:
        body = {
            "metadata": {"name": name},
            "spec": {"zone": "z1", "type": "Bridge", "bridge": {"name": f"br-{name}"}, **spec},
        }
        return self.put(NETWORK, body)

    async def host(
        self,
        name: str,
        *,
        zone: str = "z1",
        cpu: int = 4,
        memory: int = 16 * GIB,
        networks: Iterable[str] = (),
        features: Iterable[str] = (),
        ready: bool = True,
        heartbeat: bool | None = True,
        **spec: Any,
    ) -> Key:
        """Make a host as its daemon does."""
        self.put(NODE, {"metadata": {"name": name, "labels": {"zone": zone}}})
        key = self.put(HOST, objects.host(name, **spec))
        word = condition("Ready", ready, reason="Ready" if ready else "Preflight")
        status: dict[str, Any] = {
            "capacity": {"cpu": cpu, "memory": str(memory)},
            "networks": [{"name": n, "ready": "True"} for n in networks],
            "conditions": [word.wire()],
        }
        if not status["networks"]:
            del status["networks"]
        if features:
            status["cpuFeatures"] = sorted(features)
        await self.tell(key, MANAGER_NODE, status)
        self.world.heartbeats[name] = heartbeat
        return key

    async def tell(self, key: Key, manager: str, status: Mapping[str, Any]) -> None:
        """Write a status with another hand than the operator's."""
        kind = _BY_NAME[key.kind]
        body = await self.kube.get(kind, namespace=key.namespace, name=key.name)
        record = make_record(kind, body)
        writer = StatusWriter(self.kube, ObjectCache(), now=lambda: "2026-01-01T00:00:00Z")
        await writer.write(record, manager=manager, status=dict(status))

    # What a test sees

    async def plan(self, key: Key) -> Plan:
        """Return the plan for an object, with everything known."""
        await self.sync()
        return plan(self.world, key, now=self.now)

    async def act(self, key: Key) -> float | None:
        """Plan and act once; return what the queue would be told."""
        return await self.carry_out(key, await self.plan(key))

    async def act_on_what_is_known(self, key: Key) -> float | None:
        """Plan and act once, however old the cache is."""
        return await self.carry_out(key, plan(self.world, key, now=self.now))

    async def carry_out(self, key: Key, steps: Plan) -> float | None:
        """Carry out a plan as the operator does."""
        try:
            return await self.effects.carry_out(key, steps)
        finally:
            self.dirty |= room_given_back(self.world).soon

    async def act_all(self) -> None:
        """Act on every object until nothing is written any more."""
        for _ in range(30):
            await self.sync()
            before = self.writes()
            for kind in ALL[:-1]:
                for key in sorted(self.world.keys(kind)):
                    await self.act(key)
            if self.writes() == before:
                return
        raise AssertionError("the operator does not come to rest")

    def writes(self) -> int:
        return sum(c.verb not in ("get", "list") for c in self.kube.calls)

    def writes_of(self, kind: str) -> list[str]:
        """Return the verbs of all writes of a kind's objects, in their order."""
        return [c.verb for c in self.kube.calls if c.kind == kind and c.verb not in ("get", "list")]

    async def refused(self, vm: Key) -> tuple[str, str]:
        """Have the VM looked at after its first moments; return why it gets no host."""
        self.now += 10
        await self.sync()
        self.now += 10
        await self.act(vm)
        scheduled, ready = self.said(vm), self.said(vm, "Ready")
        assert scheduled.status == ready.status == "False"
        assert scheduled.reason == ready.reason
        assert self.model(vm).status.assignment is None
        return scheduled.reason, scheduled.message

    def model(self, key: Key) -> Any:
        """Return the object's model as the API server has it."""
        kind = _BY_NAME[key.kind]
        body = self.kube.see(kind, key.name, key.namespace)
        assert body is not None, f"{key} is gone"
        assert kind.model is not None
        return kind.model.model_validate(body)

    def is_there(self, key: Key) -> bool:
        return self.kube.see(_BY_NAME[key.kind], key.name, key.namespace) is not None

    def uid(self, key: Key) -> str:
        body = self.kube.see(_BY_NAME[key.kind], key.name, key.namespace)
        assert body is not None
        return str(body["metadata"]["uid"])

    def said(self, key: Key, kind: str = "Scheduled") -> Condition:
        """Return a condition of the object."""
        found = find(self.model(key).status.conditions, kind)
        assert found is not None, f"{key} has no condition {kind}"
        return found

    async def release(self, vm: Key, *, reason: str = "Requested") -> None:
        """Report as the assigned host that the guest is stopped."""
        status = self.model(vm).status
        await self.tell(
            vm,
            MANAGER_NODE,
            {
                "power": "Stopped",
                "releasedEpoch": status.assignment.epoch,
                "lastExit": {"reason": reason, "time": "2026-01-01T00:00:00Z"},
                "conditions": [condition("Ready", False, reason="Stopped").wire()],
            },
        )

    async def ready_image(self, image: Key, *, size: int = GIB, zone: str = "z1") -> None:
        """Report as the executor that the image is there."""
        for pool in self.model(image).status.pools:
            if pool.zone == zone:
                await self.report_image(image, pool.pool, zone=zone, state="Ready", size=str(size))

    async def report_image(self, image: Key, pool: str, *, zone: str = "z1", **word: Any) -> None:
        entry = next(p for p in self.model(image).status.pools if (p.zone, p.pool) == (zone, pool))
        said = {"zone": zone, "pool": pool, "epoch": entry.executor.epoch, **word}
        if word.get("state") == "Ready":
            said["snapshot"] = "base"
        await self.tell(image, image_manager(zone, pool), {"pools": [said]})
