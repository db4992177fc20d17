# SPDX-License-Identifier: Apache-2.0
"""One RBD pool (and namespace) over the kept connection, and how an image in it looks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nopal_runtime.ceph.connection import CephConnection, host_of
from nopal_runtime.ceph.images import open_image, set_metadata
from nopal_runtime.errors import NotFoundError

from .base import Watcher
from .ownership import Found, Ownership, read_ownership

if TYPE_CHECKING:
    import rados
    import rbd


@dataclass(frozen=True, slots=True)
class RbdPool:
    """Where the images are."""

    connection: CephConnection
    pool: str
    namespace: str = ""

    @contextmanager
    def ioctx(self, what: str) -> Iterator["rados.Ioctx"]:
        """Lend an I/O context; `what` is tried with it, for the error's message."""
        with self.connection.ioctx(self.pool, self.namespace, f"{what} in {self}") as ioctx:
            yield ioctx

    def __str__(self) -> str:
        return f"pool {self.pool}/{self.namespace}" if self.namespace else f"pool {self.pool}"

    def find(self, image: str) -> Found | None:
        """Look at an image; None if it is known to be absent."""
        try:
            with self.ioctx(f"open image {image}") as ioctx, open_image(ioctx, image) as handle:
                return look(handle)
        except NotFoundError:
            return None

    def own(self, ioctx: "rados.Ioctx", handle: "rbd.Image", ownership: Ownership) -> None:
        """Write whose the image is: from now on it is not half-made."""
        image_id = handle.id()
        set_metadata(ioctx, image_id, ownership.metadata(image_id))

    def foreign_watchers(self, handle: "rbd.Image") -> list[tuple[Watcher, str]]:
        """Return who else has the image open, each with its instance (address:port/nonce)."""
        mine = self.connection.instance_id()
        return [
            (Watcher(address=host_of(each["addr"]), client=f"client.{each['id']}"), each["addr"])
            for each in handle.watchers_list()
            if each["id"] != mine
        ]


def look(handle: "rbd.Image") -> Found:
    """Return what an open image shows."""
    ownership = read_ownership(dict(handle.metadata_list()), handle.id())
    found = Found(size=handle.size(), ownership=ownership, parent=_parent(handle))
    if ownership is not None or found.parent is not None:
        return found
    age = datetime.now(UTC) - handle.create_timestamp().replace(tzinfo=UTC)
    return replace(found, holds_data=_holds_data(handle), age_seconds=age.total_seconds())


def _holds_data(handle: "rbd.Image") -> bool:
    """Tell whether the image has any object of its own; its object map answers."""
    seen: list[bool] = []
    handle.diff_iterate(
        0,
        handle.size(),
        None,
        lambda _offset, _length, exists: seen.append(exists),
        include_parent=False,
        whole_object=True,
    )
    return any(seen)


def _parent(handle: "rbd.Image") -> str | None:
    import rbd

    try:
        spec = handle.get_parent_image_spec()
    except rbd.ImageNotFound:
        return None
    within = f"{spec['pool_namespace']}/" if spec["pool_namespace"] else ""
    return f"{spec['pool_name']}/{within}{spec['image_name']}@{spec['snap_name']}"
