# SPDX-License-Identifier: Apache-2.0
"""Claims: which virtual machine may use a disk. Written before the assignment, cleared after it.

The executor's epoch is raised to the claim's epoch with every claim, and a virtual machine's new
epoch is above that of every disk's executor: so the epochs that a disk sees only ever grow, also
when it goes from one virtual machine to another.

Whether the virtual machine is assigned is read freshly before a claim is written or taken away: the
cache does not know of an assignment that landed while its answer was lost.
"""

from collections.abc import Iterable

from nopal_api.disk import Disk
from nopal_api.names import MANAGER_ASSIGNMENT
from nopal_api.shared import Executor, VmClaim
from nopal_api.virtualmachine import AssignedDisk, VirtualMachine
from nopal_operator.facts import DiskFacts, is_live
from nopal_operator.reconcile.plan import ApplyStatus, ConfirmUnchanged, Step, wire
from nopal_operator.reconcile.sites import Site
from nopal_operator.world import Known, World
from nopal_runtime.kube.api import Key


def next_epoch(world: World, vm: Known[VirtualMachine], disks: Iterable[Known[Disk]]) -> int:
    """Return an epoch above all that the virtual machine, or a disk of its, ever had."""
    status = vm.model.status
    seen = [status.released_epoch or 0, status.assignment.epoch if status.assignment else 0]
    seen.extend(f.claim_epoch for f in _claimed(world, vm.record.uid))
    seen.extend(d.model.status.executor.epoch for d in disks if d.model.status.executor)
    return max(seen) + 1


def claim_step(disk: Known[Disk], site: Site, claim: VmClaim) -> ApplyStatus:
    """Return the write that gives the disk to the virtual machine on its new host."""
    return ApplyStatus(
        disk.record,
        MANAGER_ASSIGNMENT,
        wire(
            location=site.location,
            parent=site.parent,
            claim=claim,
            executor=Executor(node_name=claim.node_name, epoch=claim.epoch),
        ),
    )


def restore_claims(world: World, vm: Known[VirtualMachine]) -> tuple[Step, ...]:
    """Return the writes after which the claims say again what the live assignment says.

    Needed where an assignment landed after it was given up, so that its claims were written anew or
    taken away. A disk that another virtual machine holds is left alone: its host decides.
    """
    assignment = vm.model.status.assignment
    if assignment is None or not is_live(vm.model.status):
        return ()
    claim = VmClaim(
        vm_name=vm.record.name,
        vm_uid=vm.record.uid,
        node_name=assignment.node_name,
        epoch=assignment.epoch,
    )
    found = []
    for used in assignment.disks:
        disk = world.disk(Key("Disk", vm.record.namespace, used.disk_name))
        if disk is None or disk.record.uid != used.uid:
            continue
        there = disk.model.status.claim
        if there is None or (there.vm_uid == claim.vm_uid and there != claim):
            found.append(_restore_step(disk, used, claim))
    return confirmed(vm, found)


def _restore_step(disk: Known[Disk], used: AssignedDisk, claim: VmClaim) -> ApplyStatus:
    status, executor = disk.model.status, Executor(node_name=claim.node_name, epoch=claim.epoch)
    if status.executor is not None:
        # What another executor, or this one, said of a deletion is not true any more.
        moved = status.executor.node_name != claim.node_name
        is_over = moved or status.deleted_epoch == status.executor.epoch
        least = status.executor.epoch + (1 if is_over else 0)
        executor = executor.model_copy(update={"epoch": max(claim.epoch, least)})
    return ApplyStatus(
        disk.record,
        MANAGER_ASSIGNMENT,
        wire(location=used.location, parent=used.parent, claim=claim, executor=executor),
    )


def confirmed(vm: Known[VirtualMachine], steps: Iterable[ApplyStatus]) -> tuple[Step, ...]:
    """Return the writes of claims, if any, behind a fresh read of the virtual machine."""
    writes = tuple(steps)
    return (ConfirmUnchanged(vm.record), *writes) if writes else ()


def unclaim_step(disk: Known[Disk]) -> ApplyStatus:
    """Return the write that takes the claim away; the executor stays, for a later deletion."""
    status = disk.model.status
    return ApplyStatus(
        disk.record,
        MANAGER_ASSIGNMENT,
        wire(location=status.location, parent=status.parent, executor=status.executor),
    )


def unclaim_all(world: World, vm: Known[VirtualMachine]) -> tuple[Step, ...]:
    """Return the steps that free every disk of a virtual machine that no host can run any more."""
    disks = (world.disk(key) for key in world.claimed_by(vm.record.uid))
    return confirmed(vm, (unclaim_step(disk) for disk in disks if disk is not None))


def unclaim_interrupted(world: World, vm: Known[VirtualMachine]) -> tuple[Step, ...]:
    """Return the steps that undo claims of an assignment that was never made.

    Such claims are newer than the assignment. Without this two virtual machines that each got one
    of two shared disks would wait for each other for ever.
    """
    assignment = vm.model.status.assignment
    made = assignment.epoch if assignment else 0
    found = []
    for key in world.claimed_by(vm.record.uid):
        disk = world.disk(key)
        claim = disk.model.status.claim if disk else None
        if disk is not None and claim is not None and claim.epoch > made:
            found.append(unclaim_step(disk))
    return confirmed(vm, found)


def is_abandoned(disk: Known[Disk], vm: Known[VirtualMachine]) -> bool:
    """Tell whether the virtual machine that claims the disk can and will not use it any more.

    It does not name the disk, and no host may run it with the disk.
    """
    if disk.record.key in _named(vm):
        return False
    assignment = vm.model.status.assignment
    if assignment is None or not is_live(vm.model.status):
        return True
    return disk.record.uid not in {d.uid for d in assignment.disks}


def _named(vm: Known[VirtualMachine]) -> set[tuple[str, str, str]]:
    return {("Disk", vm.record.namespace, d.disk.name) for d in vm.model.spec.disks}


def _claimed(world: World, uid: str) -> list[DiskFacts]:
    facts = (world.disk_facts(key) for key in world.claimed_by(uid))
    return [f for f in facts if f is not None]
