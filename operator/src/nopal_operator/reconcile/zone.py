# SPDX-License-Identifier: Apache-2.0
"""Zone: how much room its hosts have, how much is taken, and whether it is in order."""

from nopal_api.conditions import Condition, condition
from nopal_api.names import MANAGER_OPERATOR
from nopal_api.quantity import MIB
from nopal_api.shared import Resources
from nopal_api.zone import HostCount, Zone, ZoneStatus
from nopal_operator.places import capacity_of, not_ready
from nopal_operator.reconcile.host import is_contested
from nopal_operator.reconcile.plan import ApplyStatus, Plan, wire
from nopal_operator.world import Known, World
from nopal_runtime.kube.api import Key
from nopal_scheduler.model import Room


def plan(world: World, key: Key, *, now: float) -> Plan:
    """Return the next steps for a zone.

    Figures change with every virtual machine, so they are written only now and then; whether the
    zone is in order is written at once.

    Args:
        world: what is known.
        key: the zone.
        now: seconds of the monotonic clock that the world's times are of.
    """
    zone = world.zone(key.name)
    if zone is None or zone.record.deleting:
        return Plan()
    wanted = _status(world, zone)
    if _figures(wanted) != _figures(zone.model.status) and _same_words(wanted, zone.model.status):
        written = world.times.zone_written.get(key.name)
        if written is not None and now - written < world.patience.zone_status:
            return Plan(requeue_after=world.patience.zone_status - (now - written))
    shown = wire(
        observedGeneration=wanted.observed_generation,
        hosts=wanted.hosts,
        capacity=wanted.capacity,
        allocated=wanted.allocated,
        conditions=wanted.conditions,
    )
    return Plan((ApplyStatus(zone.record, MANAGER_OPERATOR, shown),))


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


def _figures(status: ZoneStatus) -> object:
    return status.hosts, status.capacity, status.allocated


def _same_words(wanted: ZoneStatus, there: ZoneStatus) -> bool:
    def words(status: ZoneStatus) -> object:
        said = [(c.type, c.status, c.reason, c.message) for c in status.conditions]
        return status.observed_generation, said

    return words(wanted) == words(there)
