# SPDX-License-Identifier: Apache-2.0
"""Zone: how much room its hosts have, what it survives, and whether it is in order."""

from nopal_api.conditions import Condition, condition, find
from nopal_api.names import MANAGER_OPERATOR
from nopal_api.quantity import MIB
from nopal_api.redundancy import LIMIT_LENGTH, Fit
from nopal_api.shared import Resources
from nopal_api.zone import HostCount, Zone, ZoneStatus
from nopal_operator.assessment import Assessment
from nopal_operator.places import capacity_of, is_unclear, not_ready, premises_of
from nopal_operator.reconcile.host import is_contested
from nopal_operator.reconcile.plan import ApplyStatus, Plan, conditions, wire
from nopal_operator.reconcile.redundancy import REDUNDANT, Survival, called, survival, unclear
from nopal_operator.world import Known, World
from nopal_runtime.kube.api import Key
from nopal_scheduler import Room


def plan(world: World, key: Key, *, now: float) -> Plan:
    """Return the next steps for a zone.

    Figures change with every virtual machine, so they are made and written only now and then;
    whether the zone is in order, and what follows from a new spec, is written at once.

    Args:
        world: what is known.
        key: the zone.
        now: seconds of the monotonic clock that the world's times are of.
    """
    zone = world.zone(key.name)
    if zone is None or zone.record.deleting:
        return Plan()
    there, wanted = zone.model.status, _status(world, zone)
    wait = _wait(world, key.name, now)
    again = None
    if wait > 0 and there.observed_generation == zone.record.generation:
        if _ready_words(wanted) == _ready_words(there):
            return Plan(requeue_after=wait)
        told, fits = _told(there), there.fits
        again = wait
    elif is_unclear(world, key.name):
        told, fits = unclear(zone), there.fits
    else:
        assessment, again = _assessment(world, zone, now)
        told, fits = survival(world, zone, assessment), _named(world, assessment.fits)
    shown = wire(
        observedGeneration=wanted.observed_generation,
        hosts=wanted.hosts,
        capacity=wanted.capacity,
        allocated=wanted.allocated,
        redundancy=told.status,
        fits=fits,
        conditions=conditions(*wanted.conditions, told.condition),
    )
    return Plan((ApplyStatus(zone.record, MANAGER_OPERATOR, shown),), again)


def _wait(world: World, zone: str, now: float) -> float:
    """Return the seconds until figures may be written again."""
    last = world.times.zone_written.get(zone)
    return 0.0 if last is None else max(0.0, last + world.patience.zone_status - now)


def _assessment(world: World, zone: Known[Zone], now: float) -> tuple[Assessment, float | None]:
    return world.assessments.of(
        zone.record.name,
        premises_of(world, zone),
        sizes=zone.model.spec.standard_sizes,
        silent=frozenset(name for name, beats in world.heartbeats.items() if beats is False),
        now=now,
        pause=world.patience.zone_status,
    )


def _named(world: World, fits: tuple[Fit, ...]) -> tuple[Fit, ...]:
    return tuple(
        fit.model_copy(update={"limit": called(world, fit.limit)[:LIMIT_LENGTH]}) for fit in fits
    )


def _told(status: ZoneStatus) -> Survival:
    return Survival(status.redundancy, find(status.conditions, REDUNDANT))


def _status(world: World, zone: Known[Zone]) -> ZoneStatus:
    hosts = world.hosts(zone.record.name)
    ready = [h for h in hosts if not not_ready(world, h)]
    capacity, taken = Room(), Room()
    for host in ready:
        capacity = capacity + capacity_of(host.model, zone.model)
    for host in hosts:
        taken = taken + world.load(host.record.name)
    return ZoneStatus(
        observed_generation=zone.record.generation,
        hosts=HostCount(total=len(hosts), ready=len(ready)),
        capacity=Resources(cpu=capacity.cpu, memory=f"{capacity.memory // MIB}Mi"),
        allocated=Resources(cpu=taken.cpu, memory=f"{-(-taken.memory // MIB)}Mi"),
        conditions=(_ready(world, zone, total=len(hosts), ready=len(ready)),),
    )


def _ready(world: World, zone: Known[Zone], *, total: int, ready: int) -> Condition:
    contested = [h.record.name for h in world.hosts() if is_contested(zone, world, h)]
    if contested:
        reason = "ZoneConflict"
        message = (
            f'node "{contested[0]}" belongs to another zone and stays there: change the'
            " nodeSelector of one of the two."
        )
    elif not total:
        reason = "NoHosts"
        message = (
            "no node that the nodeSelector matches has a Host: label nodes, and see that Nopal's"
            " node daemon runs there."
        )
    elif not ready:
        reason, message = "NoReadyHost", f"0 of {total} hosts are ready: see kubectl get hosts."
    else:
        reason, message = "HostsReady", ""
    return condition(
        "Ready",
        reason == "HostsReady",
        reason=reason,
        message=message,
        generation=zone.record.generation,
    )


def _ready_words(status: ZoneStatus) -> object:
    ready = find(status.conditions, "Ready")
    return ready and (ready.status, ready.reason, ready.message)
