# SPDX-License-Identifier: Apache-2.0
"""Hosts that obey the rules towards an operator in the lab, and a referee that watches."""

from collections.abc import Mapping
from typing import Any

from nopal_api.conditions import condition, is_true
from nopal_api.disk import Disk
from nopal_api.host import Host
from nopal_api.image import Image
from nopal_api.kinds import DISK, HOST, IMAGE, VIRTUAL_MACHINE, ZONE, Kind
from nopal_api.names import MANAGER_NODE
from nopal_api.virtualmachine import Assignment, VirtualMachine
from nopal_api.zone import Zone
from nopal_operator.facts import is_live
from nopal_operator.places import capacity_of
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import key_of
from nopal_scheduler.model import Room, vm_cost
from support.operatorlab import GIB, Lab


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

    def live(self) -> list[tuple[str, str, Assignment]]:
        """Return namespace, UID and assignment of every VM that a host may run."""
        found = []
        for body in self._all(VIRTUAL_MACHINE):
            status, meta = VirtualMachine.model_validate(body).status, body["metadata"]
            if status.assignment is not None and is_live(status):
                found.append((meta["namespace"], meta["uid"], status.assignment))
        return found

    def check_claims(self) -> None:
        """Check what must hold at rest: each disk of a live assignment is claimed for just that."""
        disks = {body["metadata"]["uid"]: Disk.model_validate(body) for body in self._all(DISK)}
        for _, uid, assignment in self.live():
            wanted = (uid, assignment.node_name, assignment.epoch)
            for used in assignment.disks:
                claim = disks[used.uid].status.claim
                assert claim is not None, f"disk {used.disk_name} of a live assignment is free"
                said = (claim.vm_uid, claim.node_name, claim.epoch)
                assert said == wanted, f"disk {used.disk_name} is claimed for another assignment"

    def judge(self) -> None:
        """Check what must never be: a guest twice, a disk twice, a host over its capacity."""
        assigned = [d.uid for _, _, assignment in self.live() for d in assignment.disks]
        assert len(assigned) == len(set(assigned)), "a disk has two live assignments"
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
