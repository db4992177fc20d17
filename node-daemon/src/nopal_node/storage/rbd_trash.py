# SPDX-License-Identifier: Apache-2.0
"""The trash of an RBD pool: what of ours has waited long enough goes for good."""

from datetime import UTC, datetime
from typing import Any

from nopal_runtime.ceph.images import open_image
from nopal_runtime.errors import ConflictError, NotFoundError, TerminalError, TransientError

from .ownership import OURS
from .rbd_pool import RbdPool, look


def empty_trash(pool: RbdPool) -> int:
    """Remove what is due; see StoragePool.empty_trash."""
    import rbd

    with pool.ioctx("list the trash") as ioctx:
        entries: list[dict[str, Any]] = list(rbd.RBD().trash_list(ioctx))
    now = datetime.now(UTC).replace(tzinfo=None)
    due = [
        entry["id"]
        for entry in entries
        if entry["source"] == "USER"
        and entry["name"].startswith(OURS)
        and entry["deferment_end_time"] <= now
    ]
    return sum(remove_from_trash(pool, image_id) for image_id in due)


def remove_from_trash(pool: RbdPool, image_id: str) -> bool:
    """Remove one for good; False if clones still need it, it is in use, or is not due."""
    import rbd

    try:
        with pool.ioctx(f"remove image {image_id} from the trash") as ioctx:
            with open_image(ioctx, image_id=image_id) as handle:
                if look(handle).ownership is None:
                    return False  # somebody else's, or half-made: its name alone proves nothing
            rbd.RBD().trash_remove(ioctx, image_id, force=False)
    except (NotFoundError, ConflictError):
        return False
    except TransientError as error:
        if error.reason != "ImageInUse":
            raise
        return False
    except TerminalError:
        return False  # Ceph answers EPERM before the delay is over
    return True
