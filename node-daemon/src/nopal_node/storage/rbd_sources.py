# SPDX-License-Identifier: Apache-2.0
"""Images' contents in an RBD pool: what deletes them and their unfinished builds."""

from typing import TYPE_CHECKING

from nopal_runtime.ceph.images import open_image
from nopal_runtime.errors import NotFoundError

from .ownership import Ownership, in_use, require_owner
from .rbd_pool import RbdPool, look
from .rbd_trash import remove_from_trash
from .staging import build_epoch

if TYPE_CHECKING:
    import rbd


def user_snapshots(handle: "rbd.Image") -> list[str]:
    """Return the names of an image's snapshots, without those that only clones keep alive."""
    import rbd

    return [
        snapshot["name"]
        for snapshot in handle.list_snaps()
        if snapshot["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER
    ]


def delete_source(pool: RbdPool, image: str, *, owner_uid: str) -> None:
    """Delete an Image's contents; see StoragePool.delete_source.

    The snapshot goes first (clones keep it alive under another name, and no new clone finds it),
    then the image into the trash, without a delay: it can be fetched again. From there it goes at
    once, or with its last clone by empty_trash.
    """
    import rbd

    _remove_builds(pool, image)
    try:
        with pool.ioctx(f"delete image {image}") as ioctx:
            with open_image(ioctx, image) as handle:
                ownership, image_id = look(handle).ownership, handle.id()
                require_owner(ownership, image, owner_uid)
                watchers = pool.foreign_watchers(handle)
                snapshots = user_snapshots(handle)
            if watchers:
                raise in_use(image, watchers[0][0])
            if ownership is None or snapshots:
                with open_image(ioctx, image, writable=True) as handle:
                    if ownership is None:
                        pool.own(ioctx, handle, Ownership(owner_uid))
                    for snapshot in snapshots:
                        handle.remove_snap(snapshot)
            rbd.RBD().trash_move(ioctx, image, 0)
    except NotFoundError:
        return
    remove_from_trash(pool, image_id)


def remove_build(pool: RbdPool, name: str) -> None:
    """Remove an unfinished build with its snapshot. Absent is success.

    Raises TransientError (ImageInUse) if somebody else has it open.
    """
    import rbd

    with pool.ioctx(f"remove image {name}") as ioctx:
        try:
            with open_image(ioctx, name) as handle:
                # Watchers second: whoever publishes it has it open until it has another name.
                snapshots, watchers = user_snapshots(handle), pool.foreign_watchers(handle)
            if watchers:
                raise in_use(name, watchers[0][0])
            if snapshots:
                with open_image(ioctx, name, writable=True) as handle:
                    for snapshot in snapshots:
                        handle.remove_snap(snapshot)
        except rbd.ImageNotFound:
            pass  # what a crash inside librbd left has no header: remove its name
        try:
            rbd.RBD().remove(ioctx, name)
        except rbd.ImageNotFound:
            return


def _remove_builds(pool: RbdPool, image: str) -> None:
    import rbd

    with pool.ioctx("list images") as ioctx:
        names = [name for name in rbd.RBD().list(ioctx) if build_epoch(image, name) is not None]
    for name in names:
        remove_build(pool, name)
