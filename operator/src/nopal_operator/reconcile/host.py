# SPDX-License-Identifier: Apache-2.0
"""Host: which zone it belongs to, whether it is reachable, and when its object may go."""

from nopal_api.conditions import Condition, condition, find
from nopal_api.host import Host
from nopal_api.kinds import IMAGE
from nopal_api.names import FINALIZER, MANAGER_OPERATOR
from nopal_api.zone import Zone
from nopal_operator.facts import DiskFacts
from nopal_operator.places import selects
from nopal_operator.reconcile.plan import (
    ApplyStatus,
    Plan,
    conditions,
    remove_finalizer,
    repair_finalizer,
    wire,
)
from nopal_operator.reconcile.virtual_machine import UNREACHABLE, unreachable_wait
from nopal_operator.world import Known, World
from nopal_runtime.kube.api import Key


def plan(world: World, key: Key, *, now: float) -> Plan:
    """Return the next steps for a host.

    Args:
        world: what is known.
        key: the host.
        now: seconds of the monotonic clock that the world's times are of.
    """
    host = world.host(key.name)
    if host is None:
        return Plan()
    if world.heartbeats.get(key.name) is False:
        ready = find(host.model.status.conditions, "Ready")
        wait = unreachable_wait(world, host.record, ready, now=now)
        if wait > 0:
            return Plan(requeue_after=wait)
    if host.record.deleting:
        return _delete(world, host)
    repair = repair_finalizer(host.record)
    if repair is not None:
        return Plan((repair,))
    zone, in_zone = _membership(world, host)
    return Plan((_show(host, zone, in_zone, _unreachable(world, host)),))


def _delete(world: World, host: Known[Host]) -> Plan:
    """Let the object go when nothing is on the host, and nothing may be."""
    if FINALIZER not in host.record.finalizers:
        return Plan()
    uses = used_by(world, host.record.name)
    if not uses:
        return Plan((remove_finalizer(host.record),))
    more = f" and {len(uses) - 3} more" if len(uses) > 3 else ""
    waits = condition(
        "Deleting",
        False,
        reason="InUse",
        message=f"still on the host: {', '.join(uses[:3])}{more}.",
        generation=host.record.generation,
    )
    in_zone = find(host.model.status.conditions, "InZone")
    return Plan((_show(host, host.model.status.zone, in_zone, _unreachable(world, host), waits),))


def used_by(world: World, node: str) -> tuple[str, ...]:
    """Return what may still be on the host: guests, claimed disks, unfinished work."""
    guests = [f"VirtualMachine {k.namespace}/{k.name}" for k in world.vms_on(node)]
    claimed = [_disk(d) for d in world.claimed_on(node) if not _is_released(world, d)]
    work = [
        _disk(d)
        for d in world.executed_by(node)
        if not d.claim_uid and (d.deleting or not d.realized)
    ]
    images = [
        f"Image {key.name}"
        for key in world.keys(IMAGE)
        for image in (world.image(key.name),)
        if image is not None
        for pool in image.model.status.pools
        if pool.executor is not None
        and pool.executor.node_name == node
        and pool.state not in ("Ready", "Deleted")
    ]
    return (*guests, *dict.fromkeys((*claimed, *work)), *images)


def _is_released(world: World, disk: DiskFacts) -> bool:
    vm = world.vm_by_uid(disk.claim_uid)
    return vm is not None and (vm.model.status.released_epoch or 0) >= disk.claim_epoch


def _disk(disk: DiskFacts) -> str:
    return f"Disk {disk.key.namespace}/{disk.key.name}"


def _membership(world: World, host: Known[Host]) -> tuple[str | None, Condition]:
    """Return the host's zone, and what to say about it.

    A host stays in its zone while a selector of it matches, and while anything of it is on the
    host; so a second zone that selects the node changes nothing.
    """
    now_in, name = host.model.status.zone, host.record.name
    labels = world.node_labels(name)
    if labels is None:
        message = f'Kubernetes node "{name}" not found: the host keeps its zone.'
        return now_in, _say(host, "Unknown", "NodeNotFound", message)
    selecting = [z.record.name for z in world.zones() if selects(z.model, labels)]
    if now_in and now_in not in selecting:
        uses = used_by(world, name)
        if uses and world.zone(now_in) is None:
            message = (
                f'Zone "{now_in}" is gone, but {uses[0]} is still on the host: create the Zone'
                " again with the same pools."
            )
            return now_in, _say(host, "False", "ZoneNotFound", message)
        if uses:
            message = f'leaves zone "{now_in}", whose nodeSelector does not match, after {uses[0]}.'
            return now_in, _say(host, "True", "Leaving", message)
    if not selecting:
        message = f'no zone\'s nodeSelector matches the labels of node "{name}": label the node.'
        return None, _say(host, "False", "NoZone", message)
    zone = now_in if now_in in selecting else selecting[0]
    others = [z for z in selecting if z != zone]
    if others:
        message = (
            f'stays in zone "{zone}", but zone "{others[0]}" selects node "{name}" too: change one'
            " nodeSelector."
        )
        return zone, _say(host, "True", "ZoneConflict", message)
    return zone, _say(host, "True", "Selected", f'in zone "{zone}"')


def is_contested(zone: Known[Zone], world: World, host: Known[Host]) -> bool:
    """Tell whether the zone selects the host's node although the host is in another zone."""
    labels = world.node_labels(host.record.name)
    elsewhere = host.model.status.zone not in (None, zone.record.name)
    return elsewhere and labels is not None and selects(zone.model, labels)


def _say(host: Known[Host], status: str, reason: str, message: str) -> Condition:
    word = {"True": True, "False": False}.get(status)
    return condition(
        "InZone",
        "Unknown" if word is None else word,
        reason=reason,
        message=message,
        generation=host.record.generation,
    )


def _unreachable(world: World, host: Known[Host]) -> Condition | None:
    """Return Ready=Unknown while the heartbeat is lost, and until the host takes it back."""
    ready = find(host.model.status.conditions, "Ready")
    lost = world.heartbeats.get(host.record.name) is False
    if not lost and (ready is None or ready.reason != UNREACHABLE):
        return None
    return condition(
        "Ready",
        "Unknown",
        reason=UNREACHABLE,
        message="no heartbeat for some time: the node is down, cut off, or its daemon does not run."
        " See kubectl -n nopal-system get pods -o wide.",
        generation=host.record.generation,
    )


def _show(host: Known[Host], zone: str | None, *said: Condition | None) -> ApplyStatus:
    return ApplyStatus(host.record, MANAGER_OPERATOR, wire(zone=zone, conditions=conditions(*said)))
