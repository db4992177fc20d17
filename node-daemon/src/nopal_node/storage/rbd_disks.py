# SPDX-License-Identifier: Apache-2.0
"""Disks as RBD images: made, looked at, claimed and deleted."""

from typing import TYPE_CHECKING

from nopal_runtime.ceph.images import disk_features, open_image, read_metadata, set_metadata
from nopal_runtime.errors import ConflictError, NotFoundError, TransientError

from .base import DiskImage, ImageInfo, Watcher
from .ownership import (
    ENTRIES,
    EPOCH,
    IMAGE_ID,
    OWNER,
    DiskStep,
    Found,
    Ownership,
    being_made,
    claim_needed,
    disk_step,
    in_use,
    lost,
    parent_name,
    read_ownership,
    require_owner,
)
from .rbd_locks import break_dead_locks
from .rbd_pool import RbdPool, look

if TYPE_CHECKING:
    import rados

_TRIES = 3


def image_info(found: Found) -> ImageInfo:
    """Return it as the boundary tells it."""
    ownership = found.ownership or Ownership("")
    return ImageInfo(
        size=found.size,
        owner_uid=ownership.owner_uid,
        epoch=ownership.epoch,
        parent=found.origin,
    )


def ensure_disk(pool: RbdPool, disk: DiskImage) -> ImageInfo:
    """Create or clone it, or finish what is there; see StoragePool.ensure_disk.

    Order: create, grow, own. An image without an owner was left by a crash in between, holds
    nothing yet, and is finished by whoever comes next.
    """
    for _ in range(_TRIES):
        found = pool.find(disk.image)
        if found is None:
            if disk.made:
                raise lost(disk.image, pool.pool)
            if not _create(pool, disk):
                continue  # somebody else did meanwhile: look again
        else:
            step = disk_step(found, disk)
            if step is DiskStep.DONE:
                return image_info(found)
            if step is DiskStep.REPLACE:
                _remove_empty(pool, disk.image)
                continue
        try:
            return _finish(pool, disk)
        except NotFoundError:
            continue  # another host took it for broken off and makes it anew
    raise being_made(disk.image)


def _create(pool: RbdPool, disk: DiskImage) -> bool:
    """Create or clone the image; False if its name is taken by now."""
    import rbd

    try:
        with pool.ioctx(f"create image {disk.image}") as ioctx:
            if disk.parent is None:
                rbd.RBD().create(
                    ioctx, disk.image, disk.size, old_format=False, features=disk_features()
                )
            else:
                _clone(pool, ioctx, disk)
    except ConflictError as error:
        if error.reason != "ImageExists":
            raise
        _remove_remnant(pool, disk.image)
        return False
    return True


def _clone(pool: RbdPool, ioctx: "rados.Ioctx", disk: DiskImage) -> None:
    import rbd

    parent = disk.parent
    if parent is None:
        return
    source = RbdPool(pool.connection, parent.pool, parent.namespace)
    with source.ioctx(f"clone {parent_name(parent)}") as parents:
        try:
            rbd.RBD().clone(
                parents, parent.image, parent.snapshot, ioctx, disk.image, features=disk_features()
            )
        except rbd.ImageNotFound as error:
            raise NotFoundError(
                "ParentNotFound",
                f"the snapshot {parent_name(parent)} does not exist: see the Image's status",
            ) from error


def _remove_remnant(pool: RbdPool, image: str) -> None:
    """Remove a name without an image, as a crash inside librbd's create leaves it.

    It has no header, so it never held a byte; an image that can be opened is left alone.
    """
    if pool.find(image) is None:
        _remove_empty(pool, image)


def _remove_empty(pool: RbdPool, image: str) -> None:
    """Remove an image that never held a byte; Ceph refuses while a client has it open."""
    import rbd

    try:
        with pool.ioctx(f"remove what is left of image {image}") as ioctx:
            rbd.RBD().remove(ioctx, image)
    except NotFoundError:
        return


def _finish(pool: RbdPool, disk: DiskImage) -> ImageInfo:
    """Grow it and write its owner. Looks again on the open handle: another host may be as far."""
    with (
        pool.ioctx(f"make image {disk.image}") as ioctx,
        open_image(ioctx, disk.image, writable=True) as handle,
    ):
        step = disk_step(look(handle), disk)
        if handle.size() < disk.size:
            handle.resize(disk.size)
        if step is DiskStep.FINISH:
            owner = Ownership(disk.owner_uid, epoch=0, parent=parent_name(disk.parent))
            pool.own(ioctx, handle, owner)
        return image_info(look(handle))


def watchers(pool: RbdPool, image: str) -> list[Watcher]:
    """Return who else has the image open; a read-only handle such as this one is no watcher."""
    try:
        with (
            pool.ioctx(f"see who has image {image} open") as ioctx,
            open_image(ioctx, image) as handle,
        ):
            return [watcher for watcher, _ in pool.foreign_watchers(handle)]
    except NotFoundError:
        return []


def claim_epoch(pool: RbdPool, image: str, *, owner_uid: str, epoch: int) -> None:
    """Write the epoch by compare-and-swap; see StoragePool.claim_epoch."""
    for _ in range(_TRIES):
        try:
            with pool.ioctx(f"write the epoch of image {image}") as ioctx:
                image_id, entries = read_metadata(ioctx, image, ENTRIES)
                ownership = read_ownership(entries, image_id)
                if not claim_needed(ownership, image, owner_uid, epoch):
                    return
                set_metadata(
                    ioctx,
                    image_id,
                    {EPOCH: str(epoch)},
                    expected={key: entries.get(key, "") for key in (OWNER, EPOCH, IMAGE_ID)},
                )
                return
        except ConflictError as error:
            if error.reason != "ImageChanged":
                raise
    raise TransientError("ImageInUse", f"the epoch of RBD image {image} changes all the time")


def epoch_of(pool: RbdPool, image: str) -> int | None:
    """Return the epoch that is in the image's metadata; see StoragePool.epoch."""
    try:
        with pool.ioctx(f"read the epoch of image {image}") as ioctx:
            image_id, entries = read_metadata(ioctx, image, ENTRIES)
    except NotFoundError:
        return None
    ownership = read_ownership(entries, image_id)
    return ownership.epoch if ownership is not None else 0


def delete_disk(pool: RbdPool, image: str, *, owner_uid: str, delay_seconds: int) -> None:
    """Move it to the trash; see StoragePool.delete."""
    import rbd

    try:
        with pool.ioctx(f"delete image {image}") as ioctx:
            with open_image(ioctx, image) as handle:
                ownership = look(handle).ownership
                require_owner(ownership, image, owner_uid)
                if handle.list_lockers():
                    # Of a guest that died here. librbd breaks such a lock by itself, but not that
                    # of Ceph 16: it names the expiry in a way that its own monitors refuse.
                    break_dead_locks(pool, image, pool.connection.addresses())
                for watcher, _ in pool.foreign_watchers(handle):
                    # librbd itself would move an image that is in use.
                    raise in_use(image, watcher)
                if ownership is None:
                    # From the trash only what has an owner is removed.
                    pool.own(ioctx, handle, Ownership(owner_uid))
            rbd.RBD().trash_move(ioctx, image, delay_seconds)
    except NotFoundError:
        _remove_remnant(pool, image)
