# SPDX-License-Identifier: Apache-2.0
"""Where a disk lives and what it is cloned from: computed once, then read from its status."""

from dataclasses import dataclass

from nopal_api.disk import Disk
from nopal_api.image import Image, ImagePool
from nopal_api.names import disk_image
from nopal_api.quantity import format_bytes, whole_mib
from nopal_api.shared import Location, Parent
from nopal_api.zone import Pool, Zone
from nopal_operator.reconcile.plan import UnmetError
from nopal_operator.world import Known, World

# Progress is told in steps of this many percent: every step is a write of each waiting object.
_PROGRESS_STEP = 10


@dataclass(frozen=True, slots=True)
class Site:
    """The RBD image of a disk, and the snapshot that it is cloned from."""

    location: Location
    parent: Parent | None


def usable_zone(world: World, name: str, namespace: str) -> Known[Zone]:
    """Return the zone.

    Raises:
        UnmetError: there is none (ZoneNotFound), or the namespace may not use it
            (NamespaceNotAllowed).
    """
    zone = world.zone(name)
    if zone is None:
        raise UnmetError(
            "ZoneNotFound", f'Zone "{name}" not found: create it, or use an existing zone.'
        )
    if not zone.model.spec.allowed_namespaces.allows(namespace):
        raise UnmetError(
            "NamespaceNotAllowed",
            f'Zone "{name}" does not allow namespace "{namespace}": add it to the zone\'s'
            " spec.allowedNamespaces.names.",
        )
    return zone


def pool_of(zone: Known[Zone], name: str | None) -> Pool:
    """Return the zone's pool of that name, or its default one.

    Raises:
        UnmetError: there is none (PoolNotFound).
    """
    pools = zone.model.spec.pools
    wanted = name or default_pool(zone.model)
    for pool in pools:
        if pool.name == wanted:
            return pool
    there = ", ".join(pool.name for pool in pools)
    raise UnmetError(
        "PoolNotFound",
        f'Zone "{zone.record.name}" has no pool "{wanted}" (it has: {there}): add the pool to the'
        " zone, or make the Disk anew in one of these.",
    )


def default_pool(zone: Zone) -> str:
    """Return the name of the pool of disks that name none."""
    return zone.spec.default_pool or zone.spec.pools[0].name


def image_at(pool: Pool, image: str) -> Location:
    """Return the location of an RBD image in a pool."""
    if pool.ceph is None:
        raise UnmetError("PoolNotFound", f'Pool "{pool.name}" has no settings: give it spec.ceph.')
    return Location(fsid=pool.ceph.fsid, pool=pool.ceph.pool, namespace="", image=image)


def site_of(world: World, disk: Known[Disk]) -> Site:
    """Return where the disk is, or will be.

    Raises:
        UnmetError: something that it needs is missing; the reason and the message name it.
    """
    status, spec, name = disk.model.status, disk.model.spec, disk.record.name
    zone = usable_zone(world, spec.zone, disk.record.namespace)
    pool = pool_of(zone, spec.pool)
    if status.location is not None:
        return Site(status.location, status.parent)
    location = image_at(pool, disk_image(disk.record.uid))
    if spec.source is None or spec.source.image is None:
        return Site(location, None)
    image = _usable_image(world, spec.source.image.name, disk)
    entry = _entry(image.model, spec.zone, pool.name)
    if not is_ready(entry) or entry is None or entry.location is None or not entry.snapshot:
        raise UnmetError("ImageNotReady", _not_ready(image, entry, spec.zone, pool.name))
    needed, size = int(entry.size or 0), whole_mib(spec.size)
    if needed > size:
        raise UnmetError(
            "ImageTooLarge",
            f'Image "{image.record.name}" holds {format_bytes(needed)}, more than the'
            f' {format_bytes(size)} of Disk "{name}": make the Disk anew with at least'
            f" {format_bytes(-(-needed // 2**20) * 2**20)}.",
        )
    return Site(location, Parent(location=entry.location, snapshot=entry.snapshot))


def is_ready(entry: ImagePool | None) -> bool:
    """Tell whether the image is in that pool, as its present executor reports."""
    return entry is not None and entry.state == "Ready" and is_current(entry)


def is_current(entry: ImagePool) -> bool:
    """Tell whether the pool's state was reported by its present executor."""
    return entry.executor is not None and entry.epoch == entry.executor.epoch


def _usable_image(world: World, name: str, disk: Known[Disk]) -> Known[Image]:
    image = world.image(name)
    if image is None:
        raise UnmetError(
            "ImageNotFound",
            f'Image "{name}", the source of Disk "{disk.record.name}", not found: create it.',
        )
    if not image.model.spec.allowed_namespaces.allows(disk.record.namespace):
        raise UnmetError(
            "NamespaceNotAllowed",
            f'Image "{name}" does not allow namespace "{disk.record.namespace}": add it to the'
            " image's spec.allowedNamespaces.names.",
        )
    if image.record.deleting:
        raise UnmetError(
            "ImageNotFound",
            f'Image "{name}", the source of Disk "{disk.record.name}", is being deleted:'
            " create it again when it is gone.",
        )
    return image


def _entry(image: Image, zone: str, pool: str) -> ImagePool | None:
    return next((p for p in image.status.pools if (p.zone, p.pool) == (zone, pool)), None)


def _not_ready(image: Known[Image], entry: ImagePool | None, zone: str, pool: str) -> str:
    where = f'Image "{image.record.name}"'
    there = f'pool "{pool}" of zone "{zone}"'
    if entry is None or entry.executor is None:
        return f"{where} waits for a ready host that fetches it into {there}."
    if entry.state == "Failed" and is_current(entry):
        return (
            f"{where} could not be fetched into {there}: {entry.reason or 'Failed'}:"
            f" {entry.message or 'see kubectl describe image'}"
        )
    percent = (entry.progress_percent or 0) if is_current(entry) else 0
    percent -= percent % _PROGRESS_STEP
    return f"{where} is being fetched into {there} ({percent} %)."
