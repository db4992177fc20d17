# SPDX-License-Identifier: Apache-2.0
"""Disk: made by the host of the virtual machine that claims it, or by an executor of its own."""

from nopal_api.conditions import condition, find
from nopal_api.disk import Disk
from nopal_api.names import FINALIZER, MANAGER_ASSIGNMENT, MANAGER_OPERATOR
from nopal_api.shared import Executor
from nopal_operator.places import choose_executor, down_for
from nopal_operator.reconcile.claims import is_abandoned, unclaim_step
from nopal_operator.reconcile.plan import (
    ApplyStatus,
    ConfirmGone,
    ConfirmUnchanged,
    Plan,
    Step,
    UnmetError,
    remove_finalizer,
    repair_finalizer,
    wire,
)
from nopal_operator.reconcile.sites import Site, site_of
from nopal_operator.world import Known, World
from nopal_runtime.kube.api import Key

# A virtual machine that waits for one of these will claim the disk itself, and its host make it.
_CLAIM_IS_NEAR = ("Image", "Disk", "Pool")


def plan(world: World, key: Key, *, now: float) -> Plan:
    """Return the next steps for a disk.

    Args:
        world: what is known.
        key: the disk.
        now: seconds of the monotonic clock that the world's times are of.
    """
    disk = world.disk(key)
    if disk is None:
        return Plan()
    if disk.model.status.claim is not None:
        return _claimed(world, disk)
    if disk.record.deleting:
        return _delete(world, disk, now)
    repair = repair_finalizer(disk.record)
    if repair is not None:
        return Plan((repair,))
    return _free(world, disk, now)


def _claimed(world: World, disk: Known[Disk]) -> Plan:
    """Keep the claim, unless the virtual machine and its host are done with the disk."""
    freed = _unclaim(world, disk)
    if freed:
        return Plan(freed)
    if disk.record.deleting:
        return Plan((_waits(disk),))
    repair = repair_finalizer(disk.record)
    return Plan() if repair is None else Plan((repair,))


def _unclaim(world: World, disk: Known[Disk]) -> tuple[Step, ...]:
    status = disk.model.status
    claim = status.claim
    if claim is None:
        return ()
    vm = world.vm_by_uid(claim.vm_uid)
    if vm is not None:
        if is_abandoned(disk, vm):
            return (ConfirmUnchanged(vm.record), unclaim_step(disk))
        return ()
    if status.released_claim_epoch != claim.epoch:
        return ()  # the virtual machine is gone, but its guest may not be: its host has the word
    key = Key("VirtualMachine", disk.record.namespace, claim.vm_name)
    return (ConfirmGone(key, claim.vm_uid), unclaim_step(disk))


def _waits(disk: Known[Disk]) -> ApplyStatus:
    claim = disk.model.status.claim
    name = claim.vm_name if claim else ""
    return _deleting(
        disk,
        waiting=True,
        message=f'used by VirtualMachine "{name}": the Disk goes when that one is deleted, or is'
        " stopped and does not name the Disk any more.",
    )


def _deleting(disk: Known[Disk], *, waiting: bool, message: str) -> ApplyStatus:
    said = condition(
        "Deleting",
        not waiting,
        reason="InUse" if waiting else "Removing",
        message=message,
        generation=disk.record.generation,
    )
    return ApplyStatus(disk.record, MANAGER_OPERATOR, wire(conditions=(said,)))


def _delete(world: World, disk: Known[Disk], now: float) -> Plan:
    """Let the object go when its executor reported that nothing is left to do."""
    if FINALIZER not in disk.record.finalizers:
        return Plan()
    status = disk.model.status
    if status.location is None:
        return Plan((remove_finalizer(disk.record),))
    executor = status.executor
    if executor is not None and status.deleted_epoch == executor.epoch:
        return Plan((remove_finalizer(disk.record),))
    site = Site(status.location, status.parent)
    moved = _executor(world, disk, site, now)
    if moved.steps or find(status.conditions, "Deleting") is None:
        return moved
    where = executor.node_name if executor else "none"
    said = _deleting(
        disk, waiting=False, message=f'host "{where}" removes the RBD image, or keeps it (Retain).'
    )
    return Plan((said,), moved.requeue_after)


def _free(world: World, disk: Known[Disk], now: float) -> Plan:
    """See that a disk that no virtual machine claims is made all the same."""
    status = disk.model.status
    if status.executor is not None:
        if status.size is not None or status.location is None:
            return Plan()
        return _executor(world, disk, Site(status.location, status.parent), now)
    age = now - world.times.first_seen.get(disk.record.uid, now)
    if age < world.patience.free_disk:
        return Plan(requeue_after=world.patience.free_disk - age)
    try:
        site = site_of(world, disk)
    except UnmetError as unmet:
        return Plan((_refuse(disk, unmet.reason, unmet.message),))
    if _is_claimed_soon(world, disk):
        return Plan()
    return _executor(world, disk, site, now)


def _is_claimed_soon(world: World, disk: Known[Disk]) -> bool:
    for key in world.naming(disk.record.key):
        vm, facts = world.vm(key), world.vm_facts(key)
        if vm is None or facts is None or not facts.waiting:
            continue
        scheduled = find(vm.model.status.conditions, "Scheduled")
        reason = scheduled.reason if scheduled and scheduled.status == "False" else ""
        if not reason or reason.startswith(_CLAIM_IS_NEAR):
            return True
    return False


def _executor(world: World, disk: Known[Disk], site: Site, now: float) -> Plan:
    """Give the disk an executor: the first one, or another when its host is down for long.

    Two executors at once do no harm: making and removing an RBD image is idempotent and bound to
    the Disk's UID.
    """
    old = disk.model.status.executor
    if old is not None:
        down, patience = down_for(world, old.node_name, now=now), world.patience.executor
        if down is None or down < patience:
            return Plan(requeue_after=None if down is None else patience - down)
    zone = disk.model.spec.zone
    node = choose_executor(world, zone, disk.record.uid, but=old.node_name if old else "")
    if node is None:
        if old is not None or disk.record.deleting:
            return Plan(requeue_after=world.patience.executor)
        message = f'no host of zone "{zone}" is ready to make the disk: see kubectl get hosts.'
        return Plan((_refuse(disk, "NoReadyHost", message),))
    executor = Executor(node_name=node, epoch=old.epoch + 1 if old else 1)
    status = wire(location=site.location, parent=site.parent, executor=executor)
    return Plan((ApplyStatus(disk.record, MANAGER_ASSIGNMENT, status),))


def _refuse(disk: Known[Disk], reason: str, message: str) -> ApplyStatus:
    said = condition(
        "Ready", False, reason=reason, message=message, generation=disk.record.generation
    )
    status = disk.model.status
    shown = wire(location=status.location, parent=status.parent, conditions=(said,))
    return ApplyStatus(disk.record, MANAGER_ASSIGNMENT, shown)
