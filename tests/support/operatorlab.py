# SPDX-License-Identifier: Apache-2.0
"""An operator over a fake API server, with hosts that obey the rules and a referee that watches.

One step at a time and in a time of its own: nothing waits, so hours pass in milliseconds.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from nopal_api.conditions import Condition, condition, find, is_true
from nopal_api.disk import Disk
from nopal_api.host import Host
from nopal_api.image import Image
from nopal_api.kinds import DISK, HOST, IMAGE, KINDS, NETWORK, NODE, VIRTUAL_MACHINE, ZONE, Kind
from nopal_api.names import (
    MANAGER_ASSIGNMENT,
    MANAGER_NODE,
    MANAGER_OPERATOR,
    image_manager,
)
from nopal_api.network import Network
from nopal_api.virtualmachine import VirtualMachine
from nopal_api.zone import Zone
from nopal_operator.dependents import dependents
from nopal_operator.effects import Effects
from nopal_operator.facts import is_live
from nopal_operator.places import capacity_of, not_usable
from nopal_operator.reconcile import plan
from nopal_operator.reconcile.plan import Plan
from nopal_operator.world import Patience, World
from nopal_runtime.errors import NopalError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import ObjectCache, key_of, make_record
from nopal_runtime.kube.fake import Call, FakeKube
from nopal_runtime.kube.status import StatusWriter
from nopal_scheduler import Room, vm_cost
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
        return await self.effects.carry_out(key, await self.plan(key))

    async def act_on_what_is_known(self, key: Key) -> float | None:
        """Plan and act once, however old the cache is."""
        return await self.effects.carry_out(key, plan(self.world, key, now=self.now))

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


class Hosts:
    """Daemons that follow the contract, and the referee.

    `running` is what hosts run: (node, VM UID) -> (epoch, disks). It survives every crash of the
    operator, as guests do.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.running: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
        self.images: set[str] = set()

    async def act(self) -> None:
        """Have every live daemon do what is to be done."""
        kube = self.lab.kube
        for body in (await kube.list(IMAGE)).items:
            await self._image(key_of(IMAGE, body), Image.model_validate(body), body)
        for body in (await kube.list(DISK)).items:
            await self._disk(key_of(DISK, body), Disk.model_validate(body), body)
        for body in (await kube.list(VIRTUAL_MACHINE)).items:
            await self._vm(key_of(VIRTUAL_MACHINE, body), VirtualMachine.model_validate(body), body)
        await self._orphans()
        self.judge()

    def alive(self, node: str) -> bool:
        return self.lab.world.heartbeats.get(node) is True

    async def _vm(self, key: Key, vm: VirtualMachine, body: Mapping[str, Any]) -> None:
        assignment, uid = vm.status.assignment, body["metadata"]["uid"]
        if assignment is None or not self.alive(assignment.node_name):
            return
        where = (assignment.node_name, uid)
        wanted = vm.spec.power_state == "Running" and "deletionTimestamp" not in body["metadata"]
        released = (vm.status.released_epoch or 0) >= assignment.epoch
        if wanted and not released:
            self.running[where] = (assignment.epoch, tuple(d.uid for d in assignment.disks))
            for disk in assignment.disks:
                self.images.add(disk.location.image)
            ready = condition("Ready", True, reason="Running").wire()
            status: dict[str, Any] = {"power": "Running", "conditions": [ready]}
            if vm.status.released_epoch:
                status["releasedEpoch"] = vm.status.released_epoch
            await self.lab.tell(key, MANAGER_NODE, status)
        elif not released:
            self.running.pop(where, None)
            await self.lab.release(key)

    async def _disk(self, key: Key, disk: Disk, body: Mapping[str, Any]) -> None:
        executor, claim, location = disk.status.executor, disk.status.claim, disk.status.location
        if executor is None or location is None or not self.alive(executor.node_name):
            return
        status: dict[str, Any] = {"size": str(GIB)}
        if claim is not None and not self._vm_exists(claim.vm_uid):
            if any(uid == claim.vm_uid for _, uid in self.running):
                return
            status["releasedClaimEpoch"] = claim.epoch
        elif "deletionTimestamp" in body["metadata"]:
            if claim is not None:
                return
            self.images.discard(location.image)
            status = {"deletedEpoch": executor.epoch}
        else:
            self.images.add(location.image)
        status["conditions"] = [condition("Ready", True, reason="Ready").wire()]
        await self.lab.tell(key, MANAGER_NODE, status)

    async def _image(self, key: Key, image: Image, body: Mapping[str, Any]) -> None:
        for pool in image.status.pools:
            if pool.executor is None or not self.alive(pool.executor.node_name):
                continue
            deleting = "deletionTimestamp" in body["metadata"]
            word = {"state": "Ready", "size": str(GIB)}
            if deleting:
                if not is_true(image.status.conditions, "Deleting"):
                    continue
                word = {"state": "Deleted"}
            await self.lab.report_image(key, pool.pool, zone=pool.zone, **word)

    async def _orphans(self) -> None:
        for node, uid in tuple(self.running):
            if self.alive(node) and not self._vm_exists(uid):
                del self.running[node, uid]

    def _vm_exists(self, uid: str) -> bool:
        return any(body["metadata"]["uid"] == uid for body in self._all(VIRTUAL_MACHINE))

    def _all(self, kind: Kind) -> list[Mapping[str, Any]]:
        found = self.lab.kube._objects  # the referee sees everything, without a call
        return [o.body for key, o in found.items() if key.kind == kind.kind]

    def judge(self) -> None:
        """Check what must never be: a guest twice, a disk twice, a host over its capacity."""
        uids = [uid for _, uid in self.running]
        assert len(uids) == len(set(uids)), f"a guest runs twice: {self.running}"
        disks = [d for _, used in self.running.values() for d in used]
        assert len(disks) == len(set(disks)), f"a disk is used twice: {self.running}"
        zones = {b["metadata"]["name"]: Zone.model_validate(b) for b in self._all(ZONE)}
        for body in self._all(HOST):
            host = Host.model_validate(body)
            zone = zones.get(host.status.zone or "")
            if zone is None:
                continue
            load = Room()
            for other in self._all(VIRTUAL_MACHINE):
                load = load + _load(VirtualMachine.model_validate(other), body["metadata"]["name"])
            free = capacity_of(host, zone) - load
            assert free.cpu >= 0, f"{body['metadata']['name']} gives more CPU than it has"
            assert free.memory >= 0, f"{body['metadata']['name']} gives more memory than it has"


def _load(vm: VirtualMachine, node: str) -> Room:
    assignment = vm.status.assignment
    if assignment is None or assignment.node_name != node or not is_live(vm.status):
        return Room()
    return vm_cost(assignment.cores, assignment.memory)


async def settle(lab: Lab, hosts: Hosts, *, rounds: int = 60) -> None:
    """Have operator and hosts act in turns until nothing is written any more.

    An operator that crashes is started again; an error of one object does not stop the others.
    """
    quiet = 0
    for _ in range(rounds):
        before = lab.writes()
        try:
            await lab.sync()
            for kind in ALL[:-1]:
                for key in sorted(lab.world.keys(kind)):
                    with suppress(NopalError):
                        await lab.act_on_what_is_known(key)
        except Crash:
            lab.restart()
            continue
        await hosts.act()
        lab.now += 5.0
        quiet = quiet + 1 if lab.writes() == before else 0
        if quiet == 2:
            return
    raise AssertionError("operator and hosts do not come to rest")


class Crash(Exception):  # noqa: N818 - it is no error of the code under test
    """The operator is killed."""


class CrashPoints:
    """Kills the operator at the writes with these numbers, before or after they take effect.

    Counts only the operator's own writes; a host's are recognised by their field manager.
    """

    def __init__(self, lab: Lab, points: Iterable[tuple[int, str]] = ()) -> None:
        self.count = 0
        self._points = set(points)
        lab.kube.hooks.append(self._hook)

    async def _hook(self, call: Call) -> None:
        of_operator = call.verb == "set_finalizers" or call.manager in (
            MANAGER_ASSIGNMENT,
            MANAGER_OPERATOR,
        )
        if not of_operator:
            return
        if (self.count, call.phase) in self._points:
            self._points.discard((self.count, call.phase))
            self.count += 1
            raise Crash
        if call.phase == "after":
            self.count += 1


__all__ = ["ALL", "GIB", "Crash", "CrashPoints", "Hosts", "Lab", "Network", "settle"]
