# SPDX-License-Identifier: Apache-2.0
"""Locks and watches that dead clients of this host left behind.

Ceph forgets a dead client after 30 s. Who knows that it is dead need not wait: it blocklists that
very client instance (the host's key allows only its own addresses) and breaks the lock.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nopal_runtime.ceph.connection import host_of
from nopal_runtime.ceph.images import all_watchers_answer, open_image
from nopal_runtime.errors import NotFoundError

from .rbd_pool import RbdPool

if TYPE_CHECKING:
    import rados
    import rbd


def break_dead_locks(pool: RbdPool, image: str, own_addresses: Sequence[str]) -> None:
    """Break what a dead client of these addresses holds; see StoragePool.break_dead_locks."""
    try:
        with (
            pool.ioctx(f"break a dead lock of image {image}") as ioctx,
            open_image(ioctx, image, writable=True) as handle,
        ):
            for client, cookie, instance in _lockers(handle):
                if host_of(instance) in own_addresses and _dead(pool, ioctx, handle, client=client):
                    # Blocklists the instance first: see the connection's settings.
                    handle.break_lock(client, cookie)
    except NotFoundError:
        return


def shut_out_dead_writers(pool: RbdPool, image: str) -> None:
    """Blocklist dead clients of this host that still count as having the image open."""
    own = pool.connection.addresses()
    try:
        with (
            pool.ioctx(f"see who has image {image} open") as ioctx,
            open_image(ioctx, image, writable=True) as handle,
        ):
            others = pool.foreign_watchers(handle)
            if not others or any(watcher.address not in own for watcher, _ in others):
                return
            instances = {instance for _, instance in others}
            # Ceph does not tell who was silent: of two one may live.
            if len(instances) > 1 or all_watchers_answer(ioctx, handle.id()):
                return
            (dead,) = instances
    except NotFoundError:
        return
    pool.connection.blocklist(dead)


def _lockers(handle: "rbd.Image") -> list[tuple[str, str, str]]:
    """Return client, cookie and instance of each who holds the image's lock."""
    found: Any = handle.list_lockers()
    # librbd gives an empty list, not a dictionary, when there is none.
    return list(found["lockers"]) if found else []


def _dead(pool: RbdPool, ioctx: "rados.Ioctx", handle: "rbd.Image", *, client: str) -> bool:
    """Tell whether a lock's holder is known to be dead."""
    if client == f"client.{pool.connection.instance_id()}":
        return False
    others = [watcher.client for watcher, _ in pool.foreign_watchers(handle)]
    if client not in others:
        return True  # Ceph has already forgotten it
    # Ceph does not tell who was silent: with another watcher beside it nothing is known.
    return others == [client] and not all_watchers_answer(ioctx, handle.id())
