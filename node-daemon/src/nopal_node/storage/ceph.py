# SPDX-License-Identifier: Apache-2.0
"""A pool of type Ceph: RBD images over one kept connection."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nopal_runtime.ceph.connection import CephAccess
from nopal_runtime.ceph.kept import KEPT, KeptConnections
from nopal_runtime.errors import NotFoundError, TerminalError

from . import rbd_disks, rbd_locks, rbd_seeds, rbd_sources, rbd_trash
from .base import (
    DiskImage,
    ImageInfo,
    Import,
    Imported,
    PoolAccess,
    PoolRedundancy,
    StoragePool,
    Watcher,
)
from .fetch import download
from .importing import Download, Importer
from .limits import ImportLimits
from .rbd_pool import RbdPool
from .rbd_staging import RbdStaging
from .redundancy import pool_redundancy

DAY_SECONDS = 24 * 3600
_IMPORT_THREADS = 4


class CephPool(StoragePool):
    """One RBD pool. Connects when it is first used.

    Args:
        access: the pool, and the host's own Ceph user.
        trash_delay: seconds that a deleted disk can still be brought back.
        connect_seconds: how long a connection may take.
        operation_seconds: how long one operation may take before it is StorageUnreachable.
        limits: bounds of imports.
        fetch: how a URL is downloaded.
        connections: connections that pools share.
    """

    def __init__(
        self,
        access: PoolAccess,
        *,
        trash_delay: int = DAY_SECONDS,
        connect_seconds: int = 15,
        operation_seconds: int = 60,
        limits: ImportLimits | None = None,
        fetch: Download = download,
        connections: KeptConnections = KEPT,
    ) -> None:
        self._access = CephAccess(
            fsid=access.fsid,
            monitors=access.monitors,
            user=access.user,
            key=access.key,
            connect_seconds=connect_seconds,
            operation_seconds=operation_seconds,
        )
        self._trash_delay = trash_delay
        self._connections = connections
        self._closed = False
        self._pool = RbdPool(connections.take(self._access), access.pool, access.namespace)
        self.limits = limits = limits or ImportLimits()
        self._importer = Importer(
            staging=RbdStaging(self._pool, self._access, limits),
            download=fetch,
            threads=ThreadPoolExecutor(_IMPORT_THREADS, thread_name_prefix="nopal-import"),
            limits=limits,
        )

    def check(self) -> None:
        """Reach the cluster, the pool and the namespace with this host's key."""
        try:
            self._check()
        except TerminalError as error:
            if error.reason == "AccessDenied":
                # A client has the rights of the moment when it connected, for an hour. Other pools
                # may share the connection, so that a close of this one would not end it.
                self._pool.connection.close()
            raise

    def _check(self) -> None:
        import rbd

        pool = self._pool
        with pool.ioctx("read") as ioctx:
            if pool.namespace and not rbd.RBD().namespace_exists(ioctx, pool.namespace):
                raise TerminalError(
                    "PoolNotFound",
                    f"pool {pool.pool} has no RBD namespace {pool.namespace}: rbd namespace create"
                    f" {pool.pool}/{pool.namespace}",
                )
        try:
            with pool.ioctx("read") as ioctx:
                ioctx.stat("rbd_directory")
        except NotFoundError:
            return  # a pool without any image has none yet

    def version(self) -> str:
        """Return the version that the monitors run."""
        # "ceph version 16.2.15 (...) pacific (stable)"
        return str(self._ask(prefix="version")["version"]).split()[2]

    def osd_hosts(self) -> int:
        """Return how many hosts of the CRUSH map have an OSD."""
        nodes = self._ask(prefix="osd tree")["nodes"]
        return sum(node["type"] == "host" and bool(node["children"]) for node in nodes)

    def redundancy(self) -> PoolRedundancy:
        """Return how Ceph keeps the pool's copies."""
        rule = self._ask(prefix="osd crush rule dump", name=str(self._setting("crush_rule")))
        return pool_redundancy(
            size=int(self._setting("size")),
            min_size=int(self._setting("min_size")),
            rule=rule,
            tree=self._ask(prefix="osd tree")["nodes"],
            usage=self._ask(prefix="df"),
        )

    def _setting(self, name: str) -> Any:
        return self._ask(prefix="osd pool get", pool=self._pool.pool, var=name)[name]

    def _ask(self, **words: str) -> Any:
        return json.loads(self._pool.connection.command(**words, format="json"))

    def addresses(self) -> tuple[str, ...]:
        """Return this client's addresses."""
        return self._pool.connection.addresses()

    def info(self, image: str) -> ImageInfo | None:
        """Return the image, None if it is known to be absent."""
        found = self._pool.find(image)
        return rbd_disks.image_info(found) if found is not None else None

    def ensure_disk(self, disk: DiskImage) -> ImageInfo:
        """Create, clone or finish the disk."""
        return rbd_disks.ensure_disk(self._pool, disk)

    def watchers(self, image: str) -> Sequence[Watcher]:
        """Return who else has the image open."""
        return rbd_disks.watchers(self._pool, image)

    def claim_epoch(self, image: str, *, owner_uid: str, epoch: int) -> None:
        """Write the epoch into the image's metadata by compare-and-swap."""
        rbd_disks.claim_epoch(self._pool, image, owner_uid=owner_uid, epoch=epoch)

    def epoch(self, image: str) -> int | None:
        """Return the epoch in the image's metadata."""
        return rbd_disks.epoch_of(self._pool, image)

    def break_dead_locks(self, image: str, *, own_addresses: Sequence[str]) -> None:
        """Blocklist a dead holder at these addresses and break its lock."""
        rbd_locks.break_dead_locks(self._pool, image, own_addresses)
        # A dead client that never wrote holds no lock, but still counts as a watcher for 30 s.
        rbd_locks.shut_out_dead_writers(self._pool, image)

    def delete(self, image: str, *, owner_uid: str) -> None:
        """Move a disk to the trash."""
        rbd_disks.delete_disk(
            self._pool, image, owner_uid=owner_uid, delay_seconds=self._trash_delay
        )

    def write_seed(self, image: str, *, owner_uid: str, content: bytes) -> None:
        """Write a seed unless it is there."""
        rbd_seeds.write_seed(self._pool, image, owner_uid=owner_uid, content=content)

    def remove_seed(self, image: str, *, owner_uid: str) -> None:
        """Remove a seed at once."""
        rbd_seeds.remove_seed(self._pool, image, owner_uid=owner_uid)

    async def fetch(self, job: Import, *, progress: Callable[[int], None]) -> Imported:
        """Fetch an image."""
        return await self._importer.fetch(job, progress)

    def delete_source(self, image: str, *, owner_uid: str) -> None:
        """Delete an Image's contents."""
        rbd_sources.delete_source(self._pool, image, owner_uid=owner_uid)

    def empty_trash(self) -> int:
        """Remove for good what is due."""
        return rbd_trash.empty_trash(self._pool)

    def close(self) -> None:
        """Give the connection back; twice is as good as once."""
        if not self._closed:
            # The threads end with the object: an import may still have to clean up.
            self._closed = True
            self._connections.give_back(self._access)
