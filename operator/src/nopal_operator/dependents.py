# SPDX-License-Identifier: Apache-2.0
"""Whose plan may change when an object changes: every key that is to be looked at again."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from nopal_api.kinds import DISK, HOST, IMAGE, NETWORK, NODE, VIRTUAL_MACHINE, ZONE
from nopal_operator.facts import DiskFacts, VmFacts
from nopal_operator.world import Change, World
from nopal_runtime.kube.api import Key


@dataclass(frozen=True, slots=True)
class Dirty:
    """Keys to look at."""

    now: set[Key] = field(default_factory=set)
    soon: set[Key] = field(default_factory=set)
    """Sums over many objects: they can wait until more has changed."""


def dependents(world: World, key: Key, change: Change) -> Dirty:
    """Return the keys whose plans look at the object, itself included.

    Args:
        world: after the change.
        key: the object that changed.
        change: what others saw of it before and see of it now.
    """
    dirty = Dirty()
    if key.kind != NODE.kind:
        dirty.now.add(key)
    if key.kind == VIRTUAL_MACHINE.kind:
        _of_vm(world, dirty, change)
    elif key.kind == DISK.kind:
        _of_disk(world, dirty, key, change)
    elif key.kind == HOST.kind:
        _of_host(world, dirty, key.name)
    elif key.kind == NODE.kind:
        dirty.now.update((Key(HOST.kind, "", key.name), *world.keys(ZONE)))
        dirty.now.update(_waiting_everywhere(world))
    elif key.kind == ZONE.kind:
        dirty.now.update((*world.keys(HOST), *world.keys(NETWORK), *world.keys(IMAGE)))
        dirty.now.update((*world.waiting(key.name), *world.idle(key.name)))
    elif key.kind == IMAGE.kind:
        _of_image(world, dirty, key.name)
    elif key.kind == NETWORK.kind:
        dirty.now.update(world.using_network(key.name))
    dirty.soon.update(room_given_back(world).soon)
    return dirty


def room_given_back(world: World) -> Dirty:
    """Return who may get the room of decisions that came to nothing since this was last asked."""
    dirty = Dirty()
    for node in world.schedulers.given_back():
        host = world.host(node)
        if host is not None and host.model.status.zone:
            dirty.soon.update(world.waiting(host.model.status.zone))
    return dirty


def heartbeat_changed(world: World, node: str) -> Dirty:
    """Return the keys whose plans look at whether a host is reachable."""
    dirty = Dirty(now={Key(HOST.kind, "", node), *world.vms_on(node)})
    _of_host(world, dirty, node)
    return dirty


def _of_vm(world: World, dirty: Dirty, change: Change) -> None:
    before, after = change.before, change.after
    for facts in (before, after):
        if not isinstance(facts, VmFacts):
            continue
        dirty.now.update((*facts.disks, *world.claimed_by(facts.uid)))
        dirty.soon.add(Key(ZONE.kind, "", facts.zone))
        for name in facts.networks:
            network = world.network(name)
            if network is not None and network.record.deleting:
                dirty.now.add(network.record.key)
        if facts.node:
            dirty.soon.add(Key(HOST.kind, "", facts.node))
    _of_room(world, dirty, change)
    if isinstance(before, VmFacts) and (after is None or before != after):
        for network_name, mac in before.macs:
            dirty.now.update(f.key for f in world.with_mac(network_name, mac) if f.waiting)


def _of_room(world: World, dirty: Dirty, change: Change) -> None:
    """Look again at those that wait: for room, for others to come, or for rules of others to go."""
    before = change.before.hold if isinstance(change.before, VmFacts) else None
    after = change.after.hold if isinstance(change.after, VmFacts) else None
    facts = change.after or change.before
    if facts is None:
        return
    if before is not None and (after is None or before.host != after.host):
        dirty.now.update(world.waiting(facts.zone))
    elif before is not None and after is not None and world.schedulers.differ(before, after):
        dirty.soon.update(world.waiting(facts.zone))
    elif before is None and after is not None:
        dirty.soon.update(world.looking_around(facts.zone))


def _of_disk(world: World, dirty: Dirty, key: Key, change: Change) -> None:
    dirty.now.update(world.naming(key))
    for facts in (change.before, change.after):
        if not isinstance(facts, DiskFacts):
            continue
        holder = world.vm_by_uid(facts.claim_uid) if facts.claim_uid else None
        if holder is not None:
            dirty.now.add(holder.record.key)
        if facts.image and change.before != change.after:
            dirty.now.add(Key(IMAGE.kind, "", facts.image))
        dirty.soon.update(
            Key(HOST.kind, "", node) for node in (facts.executor, facts.claim_node) if node
        )


def _of_image(world: World, dirty: Dirty, name: str) -> None:
    for disk in world.from_image(name):
        if not disk.realized:
            dirty.now.add(disk.key)
            dirty.now.update(_waiting(world, world.naming(disk.key)))


def _of_host(world: World, dirty: Dirty, node: str) -> None:
    dirty.soon.update(world.keys(ZONE))
    dirty.now.update((*world.keys(NETWORK), *world.keys(IMAGE)))
    dirty.now.update(d.key for d in world.executed_by(node) if d.deleting or not d.realized)
    host = world.host(node)
    zone = host.model.status.zone if host else None
    zones = [zone] if zone else [z.record.name for z in world.zones()]
    for name in zones:
        dirty.now.update((*world.waiting(name), *world.idle(name)))


def _waiting(world: World, keys: Iterable[Key]) -> set[Key]:
    facts = (world.vm_facts(key) for key in keys)
    return {f.key for f in facts if f is not None and f.waiting}


def _waiting_everywhere(world: World) -> set[Key]:
    return {key for zone in world.zones() for key in world.waiting(zone.record.name)}
