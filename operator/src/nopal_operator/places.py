# SPDX-License-Identifier: Apache-2.0
"""Hosts as places: which may take virtual machines, and which may carry out work."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from nopal_api.conditions import find
from nopal_api.host import Host
from nopal_api.quantity import parse_bytes
from nopal_api.shared import Resources
from nopal_api.zone import HostReserved, Zone
from nopal_operator.premises import Premises
from nopal_operator.world import Known, World
from nopal_scheduler.answer import NoPlacement, Placement, Refusal
from nopal_scheduler.model import HOST, Redundancy, Room, Vm, host_capacity
from nopal_scheduler.model import Host as Place

UNTOLD = "not ready (no heartbeat seen yet)"


def not_ready(world: World, host: Known[Host]) -> str:
    """Return why the host is not ready, as far as is known; empty if it is.

    For reports: while nothing is known of the heartbeat the host's own last word counts, so that
    a restarted operator does not first call everything dead.
    """
    if host.record.deleting:
        return "being deleted"
    if world.heartbeats.get(host.record.name) is False:
        return "not ready (HostUnreachable)"
    ready = find(host.model.status.conditions, "Ready")
    if ready is None:
        return "not ready"
    if ready.status != "True":
        return f"not ready ({ready.reason})"
    return ""


def not_usable(world: World, host: Known[Host]) -> str:
    """Return why nothing new can be asked of the host now; empty if it is well."""
    if world.heartbeats.get(host.record.name) is None:
        return UNTOLD
    return not_ready(world, host)


def blocked(world: World, host: Known[Host], zone: Known[Zone]) -> str:
    """Return why the host takes no virtual machine of the zone; empty if it does."""
    unusable = not_usable(world, host)
    if unusable:
        return unusable
    if host.model.spec.scheduling == "Disabled":
        return "scheduling disabled"
    labels = world.node_labels(host.record.name)
    if labels is None:
        return "node not found"
    if not selects(zone.model, labels):
        return "leaving the zone (node labels changed)"
    if host.model.status.capacity is None:
        return "not ready (no capacity reported)"
    return ""


def selects(zone: Zone, labels: Mapping[str, str]) -> bool:
    """Tell whether the zone's selector matches a node's labels."""
    wanted = zone.spec.node_selector.match_labels
    return all(labels.get(key) == value for key, value in wanted.items())


def capacity_of(host: Host, zone: Zone) -> Room:
    """Return what virtual machines of the zone may use of the host."""
    total = host.status.capacity
    if total is None:
        return Room()
    room = _capacity(total, zone.spec.host_reserved, zone.spec.cpu_overcommit_percent)
    return replace(room, more=host.spec.resources) if host.spec.resources else room


@lru_cache(maxsize=4096)
def _capacity(total: Resources, reserved: HostReserved, percent: int) -> Room:
    return host_capacity(
        Room(total.cpu, parse_bytes(total.memory)),
        reserved=Room(reserved.cpu, parse_bytes(reserved.memory)),
        cpu_overcommit_percent=percent,
    )


def place_in(world: World, zone: Known[Zone], vm: Vm) -> Placement | NoPlacement:
    """Return where a virtual machine goes in a zone, with its redundancy kept, or why nowhere.

    While not every host was heard of, a zone that is to survive something takes none: as far as is
    known it does not survive that, and a proof that is searched now is soon of no use.
    """
    name = zone.record.name
    if zone.model.spec.redundancy is not None and zone.model.spec.redundancy.failures:
        unclear = unclear_hosts(world, name)
        if unclear:
            refusals = tuple(Refusal(host, UNTOLD) for host in unclear)
            return NoPlacement(len(world.hosts(name)), refusals)
    return world.schedulers.place(name, premises_of(world, zone), vm)


def premises_of(world: World, zone: Known[Zone]) -> Premises:
    """Return the zone's hosts as the scheduler sees them, and what it is to survive.

    Made anew only where a host, a node, a zone or a heartbeat has changed.
    """
    name = zone.record.name
    known = world.premises.get(name)
    if known is not None and known[:2] == (world.surroundings, world.heartbeats):
        return known[2]
    premises = Premises(
        tuple(_place(world, zone, host) for host in world.hosts(name)), _redundancy(zone.model)
    )
    if known is not None and known[2] == premises:
        premises = known[2]
    world.premises[name] = (world.surroundings, dict(world.heartbeats), premises)
    return premises


def _place(world: World, zone: Known[Zone], host: Known[Host]) -> Place:
    why_not = blocked(world, host, zone)
    return Place(
        name=host.record.name,
        capacity=capacity_of(host.model, zone.model),
        networks=frozenset(n.name for n in host.model.status.networks if n.ready == "True"),
        cpu_features=frozenset(host.model.status.cpu_features),
        labels=world.node_labels(host.record.name) or {},
        blocked=why_not,
        draining=not why_not and host.model.spec.scheduling == "Draining",
    )


def _redundancy(zone: Zone) -> Redundancy:
    wanted = zone.spec.redundancy
    if wanted is None or not wanted.failures:
        return Redundancy()
    return Redundancy(wanted.failures, wanted.topology_key or HOST)


def is_unclear(world: World, zone: str) -> bool:
    """Tell whether a host of the zone was not heard of yet, which may be all that it lacks."""
    return bool(unclear_hosts(world, zone))


def unclear_hosts(world: World, zone: str) -> tuple[str, ...]:
    """Return the hosts of a zone that were not heard of yet."""
    return tuple(
        host.record.name
        for host in world.hosts(zone)
        if world.heartbeats.get(host.record.name) is None and not not_ready(world, host)
    )


def down_for(world: World, node: str, *, now: float) -> float | None:
    """Return for how many seconds the host has not been usable; None if it is well.

    For ever if there is no such host: what it was to do, another one may do.
    """
    if world.host(node) is None:
        return float("inf")
    since = world.times.down_since.get(node)
    return None if since is None else max(0.0, now - since)


def choose_executor(world: World, zone: str, uid: str, *, but: str = "") -> str | None:
    """Return the node of a usable host of the zone, None if there is none.

    Which one is a function of the object's UID (rendezvous hashing): work spreads, and the same
    object gets the same host again.

    Args:
        world: what is known.
        zone: name of the zone.
        uid: the object that the work is for.
        but: a node that is not to be chosen.
    """
    usable = [
        host.record.name
        for host in world.hosts(zone)
        if host.record.name != but and not not_usable(world, host)
    ]
    return max(usable, key=lambda name: _weight(uid, name), default=None)


def _weight(uid: str, node: str) -> bytes:
    return hashlib.sha256(f"{uid}/{node}".encode()).digest()
