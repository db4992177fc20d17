# SPDX-License-Identifier: Apache-2.0
"""Image: choose a host that fetches it into each pool that needs it, and tell how far they are."""

from dataclasses import dataclass

from nopal_api.conditions import Condition, condition
from nopal_api.image import Image, ImagePool
from nopal_api.names import FINALIZER, MANAGER_ASSIGNMENT, MANAGER_OPERATOR, source_image
from nopal_api.shared import Executor
from nopal_operator.places import choose_executor, down_for
from nopal_operator.reconcile.plan import (
    ApplyStatus,
    Plan,
    UnmetError,
    conditions,
    remove_finalizer,
    repair_finalizer,
    wire,
)
from nopal_operator.reconcile.sites import default_pool, image_at, is_current, is_ready, pool_of
from nopal_operator.world import Known, World
from nopal_runtime.kube.api import Key

_POOL_LIMIT = 256  # of the API


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The executors as they should be."""

    pools: tuple[ImagePool, ...]
    without_host: tuple[str, ...]
    """Pools for which no host is ready."""
    requeue_after: float | None


def plan(world: World, key: Key, *, now: float) -> Plan:
    """Return the next steps for an image.

    Args:
        world: what is known.
        key: the image.
        now: seconds of the monotonic clock that the world's times are of.
    """
    image = world.image(key.name)
    if image is None:
        return Plan()
    if image.record.deleting:
        return _delete(world, image, now)
    repair = repair_finalizer(image.record)
    if repair is not None:
        return Plan((repair,))
    chosen = _choose(world, image, _needed(world, image), now)
    shown = _show(image, _ready(image, chosen))
    return Plan((_assign(image, chosen), shown), chosen.requeue_after)


def _delete(world: World, image: Known[Image], now: float) -> Plan:
    """Wait for disks that are about to be cloned, then for every executor's word."""
    if FINALIZER not in image.record.finalizers:
        return Plan()
    generation = image.record.generation
    users = [
        f"{disk.key.namespace}/{disk.key.name}"
        for disk in world.from_image(image.record.name)
        if disk.located and not disk.realized and not disk.deleting
    ]
    if users:
        more = f" and {len(users) - 3} more" if len(users) > 3 else ""
        message = f"waits until these disks are made: {', '.join(users[:3])}{more}."
        waits = condition("Deleting", False, reason="InUse", message=message, generation=generation)
        return Plan((_show(image, waits),))
    chosen = _choose(world, image, (), now)
    left = [p for p in chosen.pools if not _is_done(p, deleting=True)]
    if not left:
        return Plan((remove_finalizer(image.record),))
    hosts = ", ".join(sorted({p.executor.node_name for p in left if p.executor}))
    message = f"removed from the pools by: {hosts}."
    goes = condition("Deleting", True, reason="Removing", message=message, generation=generation)
    return Plan((_assign(image, chosen), _show(image, goes)), chosen.requeue_after)


def _needed(world: World, image: Known[Image]) -> tuple[tuple[str, str], ...]:
    """Return (zone, pool): each zone's default pool, and the pool of every disk that starts so."""
    wanted = {(zone.record.name, default_pool(zone.model)) for zone in world.zones()}
    for disk in world.from_image(image.record.name):
        zone = world.zone(disk.zone)
        allowed = image.model.spec.allowed_namespaces.allows(disk.key.namespace)
        if zone is not None and allowed and not disk.deleting:
            wanted.add((disk.zone, disk.pool or default_pool(zone.model)))
    return tuple(sorted(wanted))


def _choose(
    world: World, image: Known[Image], needed: tuple[tuple[str, str], ...], now: float
) -> _Chosen:
    """Keep the executors there are; add what is missing, replace those that are down for long."""
    entries = {(p.zone, p.pool): p for p in image.model.status.pools if p.executor}
    # One count for all pools: two zones may share one Ceph pool, where what is half made is told
    # apart by the epoch.
    epoch = max((p.executor.epoch for p in entries.values() if p.executor), default=0)
    pools, without_host, waits = [], [], []
    for where in sorted({*entries, *needed})[:_POOL_LIMIT]:
        entry = entries.get(where)
        wait = _patience_left(world, entry, deleting=image.record.deleting, now=now)
        if wait == 0.0:
            fresh = _new_entry(world, image, entry, where=where, epoch=epoch + 1)
            if fresh is not None:
                entry, epoch = fresh, epoch + 1
            else:
                wait = world.patience.executor
        if wait:
            waits.append(wait)
        if entry is not None:
            pools.append(entry)
        else:
            without_host.append(f'pool "{where[1]}" of zone "{where[0]}"')
    return _Chosen(tuple(pools), tuple(without_host), min(waits, default=None))


def _patience_left(
    world: World, entry: ImagePool | None, *, deleting: bool, now: float
) -> float | None:
    """Return the seconds before another executor takes over, None while none is needed."""
    if entry is None or entry.executor is None:
        return 0.0
    down = down_for(world, entry.executor.node_name, now=now)
    if down is None or _is_done(entry, deleting=deleting):
        return None
    return max(0.0, world.patience.executor - down)


def _is_done(entry: ImagePool, *, deleting: bool) -> bool:
    return (entry.state == "Deleted" and is_current(entry)) if deleting else is_ready(entry)


def _new_entry(
    world: World,
    image: Known[Image],
    old: ImagePool | None,
    *,
    where: tuple[str, str],
    epoch: int,
) -> ImagePool | None:
    """Return the pool's entry with another executor; None if no host is ready."""
    zone, pool = where
    location = old.location if old else None
    if location is None:
        known = world.zone(zone)
        try:
            found = pool_of(known, pool) if known else None
            location = image_at(found, source_image(image.record.uid)) if found else None
        except UnmetError:
            location = None
    but = old.executor.node_name if old and old.executor else ""
    node = choose_executor(world, zone, image.record.uid, but=but)
    if node is None or location is None:
        return None
    return ImagePool(
        zone=zone, pool=pool, location=location, executor=Executor(node_name=node, epoch=epoch)
    )


def _assign(image: Known[Image], chosen: _Chosen) -> ApplyStatus:
    pools = tuple(
        ImagePool(zone=p.zone, pool=p.pool, executor=p.executor, location=p.location)
        for p in chosen.pools
    )
    return ApplyStatus(image.record, MANAGER_ASSIGNMENT, wire(pools=pools))


def _show(image: Known[Image], *said: Condition) -> ApplyStatus:
    return ApplyStatus(
        image.record,
        MANAGER_OPERATOR,
        wire(observedGeneration=image.record.generation, conditions=conditions(*said)),
    )


def _ready(image: Known[Image], chosen: _Chosen) -> Condition:
    """Sum up the pools. Progress is left to status.pools: every word here is a write."""
    failed = [p for p in chosen.pools if p.state == "Failed" and is_current(p)]
    waiting = [p for p in chosen.pools if not is_ready(p) and p not in failed]
    if failed:
        first = failed[0]
        reason = first.reason or "Failed"
        message = f'pool "{first.pool}" of zone "{first.zone}": {first.message or reason}'
    elif chosen.without_host:
        reason = "NoReadyHost"
        message = f"no ready host to fetch it into {chosen.without_host[0]}: see kubectl get hosts."
    elif waiting:
        reason, first = "Fetching", waiting[0]
        node = first.executor.node_name if first.executor else ""
        message = f'host "{node}" fetches it into pool "{first.pool}" of zone "{first.zone}".'
    elif not chosen.pools:
        reason, message = "ZoneNotFound", "there is no zone to fetch it into: create one."
    else:
        reason, message = "Fetched", f"in {len(chosen.pools)} of {len(chosen.pools)} pools."
    return condition(
        "Ready",
        reason == "Fetched",
        reason=reason,
        message=message,
        generation=image.record.generation,
    )
