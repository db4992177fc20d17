# SPDX-License-Identifier: Apache-2.0
"""VirtualMachine: claim its disks, assign it to a host; let it go when its host released it."""

from nopal_api.conditions import Condition, condition, find
from nopal_api.names import FINALIZER, MANAGER_ASSIGNMENT, MANAGER_OPERATOR
from nopal_api.shared import VmClaim
from nopal_api.virtualmachine import Assignment, VirtualMachine
from nopal_api.zone import Zone
from nopal_operator.candidates import candidate, with_names
from nopal_operator.demand import Demand
from nopal_operator.facts import is_live, left_down
from nopal_operator.places import is_unclear, place_in
from nopal_operator.reconcile.claims import (
    claim_step,
    confirmed,
    next_epoch,
    restore_claims,
    unclaim_all,
    unclaim_interrupted,
)
from nopal_operator.reconcile.needs import Needs, needs_of
from nopal_operator.reconcile.plan import (
    ApplyStatus,
    Plan,
    Reserve,
    Step,
    UnmetError,
    conditions,
    remove_finalizer,
    repair_finalizer,
    wire,
)
from nopal_operator.reconcile.redundancy import REMEDY
from nopal_operator.schedulers import Hold
from nopal_operator.world import Known, World
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import Record
from nopal_scheduler.answer import NoPlacement

UNREACHABLE = "HostUnreachable"
_NO_HOST = frozenset({"Unschedulable", "RedundancyNotKept"})

# What a user applies together may arrive in any order.
_MAY_SETTLE = frozenset({"ZoneNotFound", "NetworkNotFound", "DiskNotFound", "ImageNotFound"})

_RESTING = {
    "Stopped": "powerState is Stopped; it takes no room on a host.",
    "GuestShutdown": "the guest shut itself down and restartPolicy leaves it so",
    "Crashed": "the guest crashed and restartPolicy leaves it so",
    "Unknown": "the guest went down while nobody watched and restartPolicy leaves it so",
}
_REMEDY = ": set powerState to Stopped, wait until it is, then set it to Running to start it again."


def plan(world: World, key: Key, *, now: float) -> Plan:
    """Return the next steps for a virtual machine.

    Args:
        world: what is known.
        key: the virtual machine.
        now: seconds of the monotonic clock that the world's times are of.
    """
    vm = world.vm(key)
    if vm is None:
        return Plan()
    if vm.record.deleting:
        return _delete(world, vm, now)
    repair = repair_finalizer(vm.record)
    if repair is not None:
        return Plan((repair,))
    if is_live(vm.model.status):
        silence, again = _unreachable(world, vm, now)
        return Plan((*_bound(world, vm), *silence), again)
    if vm.model.spec.power_state == "Stopped":
        return Plan((_refuse(vm, "Stopped", _RESTING["Stopped"]),))
    resting = left_down(vm.model)
    if resting:
        return Plan((_refuse(vm, resting, _RESTING[resting] + _REMEDY),))
    return _schedule(world, vm, now)


def _delete(world: World, vm: Known[VirtualMachine], now: float) -> Plan:
    """Wait for the host's release, free the disks, then let the object go."""
    if FINALIZER not in vm.record.finalizers:
        return Plan()
    if is_live(vm.model.status):
        silence, again = _unreachable(world, vm, now)
        return Plan((*restore_claims(world, vm), *silence), again)
    return Plan((*unclaim_all(world, vm), remove_finalizer(vm.record)))


def _schedule(world: World, vm: Known[VirtualMachine], now: float) -> Plan:
    try:
        needs = needs_of(world, vm)
        return Plan(_assign(world, vm, needs))
    except UnmetError as unmet:
        if unmet.reason in _NO_HOST and _is_told(vm) and is_unclear(world, vm.model.spec.zone):
            # What was said before the restart may still hold.
            return Plan()
        age = now - world.times.first_seen.get(vm.record.uid, now)
        if unmet.reason in _MAY_SETTLE and age < world.patience.settle:
            return Plan(requeue_after=world.patience.settle - age)
        # The refusal is first: an assignment that is still on its way is too old from then on.
        refusal = _refuse(vm, unmet.reason, unmet.message)
        return Plan((refusal, *unclaim_interrupted(world, vm)))


def _assign(world: World, vm: Known[VirtualMachine], needs: Needs) -> tuple[Step, ...]:
    demand = Demand.asked(vm.model, vm.record.labels)
    wanted = candidate(vm.record, vm.model, demand=demand, networks=needs.networks)
    placement = place_in(world, needs.zone, wanted)
    if isinstance(placement, NoPlacement):
        raise _no_host(world, placement, vm, needs.zone)
    epoch = next_epoch(world, vm, (disk for disk, _ in needs.disks))
    claim = VmClaim(
        vm_name=vm.record.name, vm_uid=vm.record.uid, node_name=placement.host, epoch=epoch
    )
    assignment = Assignment(
        node_name=placement.host,
        epoch=epoch,
        disks=needs.assigned_disks,
        interfaces=needs.interfaces,
        cores=demand.cores,
        memory=demand.memory,
        cpu_features=demand.cpu_features,
        resources=dict(demand.resources),
        labels=dict(demand.labels),
        rules=demand.rules,
        host_loss=demand.host_loss,
    )
    # All virtual machines claim in one order: two that want the same disks would otherwise each get
    # one, give it back, and so on.
    in_order = sorted(needs.disks, key=lambda item: item[0].record.key)
    return (
        Reserve(Hold(wanted, placement.host, epoch)),
        *confirmed(vm, (claim_step(disk, site, claim) for disk, site in in_order)),
        ApplyStatus(
            vm.record,
            MANAGER_ASSIGNMENT,
            wire(assignment=assignment, conditions=(_scheduled(vm, assignment),)),
        ),
    )


def _is_told(vm: Known[VirtualMachine]) -> bool:
    said = find(vm.model.status.conditions, "Scheduled")
    return said is not None and said.reason in _NO_HOST


def _bound(world: World, vm: Known[VirtualMachine]) -> tuple[Step, ...]:
    """See that its disks are its own, and say that it has a host.

    The latter not while it is to stop, because the release is said soon after. Room that is not to
    be kept any more elsewhere is given back at once: asking for it again waits for a start.
    """
    assignment, claims = vm.model.status.assignment, restore_claims(world, vm)
    if assignment is None or vm.model.spec.power_state == "Stopped":
        return claims
    if vm.model.spec.availability.host_loss == "Leave":
        assignment = assignment.model_copy(update={"host_loss": "Leave"})
    shown = wire(assignment=assignment, conditions=(_scheduled(vm, assignment),))
    return (*claims, ApplyStatus(vm.record, MANAGER_ASSIGNMENT, shown))


def _refuse(vm: Known[VirtualMachine], reason: str, message: str) -> ApplyStatus:
    """Return the write that says why it has no host; an old assignment stays: it has the epoch."""
    generation = vm.record.generation
    scheduled = condition("Scheduled", False, reason=reason, message=message, generation=generation)
    ready: Condition | None = None
    if vm.model.status.assignment is None:
        ready = condition("Ready", False, reason=reason, message=message, generation=generation)
    return ApplyStatus(
        vm.record,
        MANAGER_ASSIGNMENT,
        wire(assignment=vm.model.status.assignment, conditions=conditions(scheduled, ready)),
    )


def _unreachable(
    world: World, vm: Known[VirtualMachine], now: float
) -> tuple[tuple[Step, ...], float | None]:
    """Say that nobody knows how the guest is, while its host's heartbeat is lost.

    The host takes the condition back with its next apply. The operator gives up its share of it
    only then: before, that would leave half a condition. Returns the steps, and when to look again.
    """
    assignment = vm.model.status.assignment
    if assignment is None:
        return (), None
    ready = find(vm.model.status.conditions, "Ready")
    if world.heartbeats.get(assignment.node_name) is False:
        wait = unreachable_wait(world, vm.record, ready, now=now)
        if wait > 0:
            return (), wait
        unknown = condition(
            "Ready",
            "Unknown",
            reason=UNREACHABLE,
            message=f'host "{assignment.node_name}" has sent no heartbeat for some time: the guest'
            " may run on. See kubectl describe host; the virtual machine is not started elsewhere"
            " until the host has released it.",
            generation=vm.record.generation,
        )
        return (ApplyStatus(vm.record, MANAGER_OPERATOR, wire(conditions=(unknown,))),), None
    if MANAGER_OPERATOR in vm.record.owned and ready is not None and ready.reason != UNREACHABLE:
        return (ApplyStatus(vm.record, MANAGER_OPERATOR, {}),), None
    return (), None


def unreachable_wait(world: World, record: Record, ready: Condition | None, *, now: float) -> float:
    """Return the seconds before a host that has spoken may be called unreachable again."""
    said = world.times.unreachable_said.get(record.uid)
    if said is None or (ready is not None and ready.reason == UNREACHABLE):
        return 0.0
    return max(0.0, said + world.patience.unreachable - now)


def _scheduled(vm: Known[VirtualMachine], assignment: Assignment) -> Condition:
    return condition(
        "Scheduled",
        True,
        reason="Assigned",
        message=f'assigned to host "{assignment.node_name}"',
        generation=vm.record.generation,
    )


def _no_host(
    world: World, answer: NoPlacement, vm: Known[VirtualMachine], zone: Known[Zone]
) -> UnmetError:
    message = with_names(answer.message, lambda uid: _seen_from(world, vm.record, uid))
    if not answer.hosts:
        return UnmetError(
            "Unschedulable",
            f'{message} in zone "{zone.record.name}": label a node so that the zone\'s nodeSelector'
            " matches it, and see that Nopal's node daemon runs there.",
        )
    if any(refusal.reason.startswith("N+") for refusal in answer.refusals):
        return UnmetError(
            "RedundancyNotKept",
            f'{message}. Zone "{zone.record.name}" asks for spec.redundancy. {REMEDY}',
        )
    return UnmetError("Unschedulable", message)


def _seen_from(world: World, record: Record, uid: str) -> str:
    """Return what a virtual machine is called to another one: nothing of other namespaces."""
    if uid == record.uid:
        return "it"
    other = world.vm_by_uid(uid)
    if other is None or other.record.namespace != record.namespace:
        return "a virtual machine"
    return f'vm "{other.record.name}"'
