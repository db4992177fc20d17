# SPDX-License-Identifier: Apache-2.0
"""Seeds: small RBD images that hold exactly some bytes."""

import hashlib

from nopal_runtime.ceph.images import open_image, plain_features

from .ownership import Ownership, require_owner
from .rbd_pool import RbdPool, look

MIB = 1 << 20


def write_seed(pool: RbdPool, image: str, *, owner_uid: str, content: bytes) -> None:
    """Write it unless it is there; see StoragePool.write_seed.

    Never written in place: a crash in between leaves no half-written seed with an owner.
    """
    import rbd

    digest = hashlib.sha256(content).hexdigest()
    found = pool.find(image)
    if found is not None:
        require_owner(found.ownership, image, owner_uid)
        if found.ownership is not None and found.ownership.content == digest:
            return
    remove_seed(pool, image, owner_uid=owner_uid)
    size = max(-(-len(content) // MIB), 1) * MIB
    with pool.ioctx(f"write seed {image}") as ioctx:
        rbd.RBD().create(ioctx, image, size, old_format=False, features=plain_features())
        with open_image(ioctx, image, writable=True) as handle:
            handle.write(content, 0)
            handle.flush()
            pool.own(ioctx, handle, Ownership(owner_uid, content=digest))


def remove_seed(pool: RbdPool, image: str, *, owner_uid: str) -> None:
    """Remove it at once; see StoragePool.remove_seed."""
    import rbd

    with pool.ioctx(f"remove seed {image}") as ioctx:
        try:
            with open_image(ioctx, image) as handle:
                require_owner(look(handle).ownership, image, owner_uid)
        except rbd.ImageNotFound:
            pass  # what a crash inside librbd left has no header: remove its name
        try:
            rbd.RBD().remove(ioctx, image)
        except rbd.ImageNotFound:
            return
