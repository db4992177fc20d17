# SPDX-License-Identifier: Apache-2.0
"""Imports built in an RBD pool."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from nopal_runtime.ceph.connection import CephAccess
from nopal_runtime.ceph.images import open_image, plain_features
from nopal_runtime.errors import ConflictError, NotFoundError, TerminalError, TransientError

from .base import Import, Imported
from .convert import RbdImage, convert
from .limits import ImportLimits
from .ownership import Ownership, require_owner
from .rbd_locks import shut_out_dead_writers
from .rbd_pool import RbdPool, look
from .rbd_sources import delete_source, remove_build, user_snapshots
from .staging import (
    SNAPSHOT,
    Staging,
    Writer,
    build_epoch,
    build_name,
    scratch_name,
    whole_mib,
)

if TYPE_CHECKING:
    import rbd


class RbdStaging(Staging):
    """One pool. Builds have no exclusive lock: their names already keep writers apart."""

    def __init__(self, pool: RbdPool, access: CephAccess, limits: ImportLimits) -> None:
        self._pool = pool
        self._access = access
        self._limits = limits

    def finished(self, job: Import) -> Imported | None:
        """Return the published image."""
        try:
            with (
                self._pool.ioctx(f"look at image {job.image}") as ioctx,
                open_image(ioctx, job.image) as handle,
            ):
                found, snapshots = look(handle), user_snapshots(handle)
        except NotFoundError:
            return None
        require_owner(found.ownership, job.image, job.owner_uid)
        if found.ownership is None:
            raise ConflictError(
                "ImageConflict",
                f"RBD image {job.image} exists but carries no owner: it is left alone; rename or"
                " remove it by hand",
            )
        if SNAPSHOT in snapshots:
            return Imported(size=found.size, snapshot=SNAPSHOT)
        # A published image always has it: a deletion was interrupted. Begin anew.
        delete_source(self._pool, job.image, owner_uid=job.owner_uid)
        return None

    def clean(self, job: Import) -> None:
        """Remove this epoch's and older builds."""
        import rbd

        with self._pool.ioctx("list images") as ioctx:
            names = rbd.RBD().list(ioctx)
        # A scratch image before its build: the build may have qemu-img's client as well, and one
        # dead client at a time can be told. Blocklisted for the one, the daemon's leaves the other.
        for name in sorted(names, reverse=True):
            epoch = build_epoch(job.image, name)
            if epoch is None or epoch > job.epoch:
                continue
            try:
                remove_build(self._pool, name)
            except TransientError as error:
                if error.reason != "ImageInUse":
                    raise
                if epoch < job.epoch:
                    continue  # an older executor still builds: it will see that it lost
                # Our own, left open by this host's killed daemon.
                shut_out_dead_writers(self._pool, name)
                remove_build(self._pool, name)

    def create(self, name: str, size: int) -> Writer:
        """Create an image and open it."""
        import rbd

        with self._pool.ioctx(f"create image {name}") as ioctx:
            rbd.RBD().create(
                ioctx, name, whole_mib(size), old_format=False, features=plain_features()
            )
        return _RbdWriter(self._pool, name)

    def head(self, name: str, length: int) -> bytes:
        """Return an image's first bytes."""
        with self._pool.ioctx(f"read image {name}") as ioctx, open_image(ioctx, name) as handle:
            return handle.read(0, min(length, handle.size()))

    async def convert(
        self, job: Import, *, virtual_size: int, progress: Callable[[int], None]
    ) -> None:
        """Run qemu-img from the scratch image into the build image."""
        build = build_name(job)
        try:
            await convert(
                self._image(scratch_name(job)),
                self._image(build),
                limits=self._limits,
                progress=progress,
            )
        except TerminalError as error:
            if error.reason in ("FormatMismatch", "ConversionTooSlow"):
                # qemu-img does not tell a broken file from a pool that takes no writes; nor one
                # that takes long.
                await asyncio.to_thread(self._try_write, build)
            raise

    def publish(self, job: Import, *, size: int) -> Imported:
        """Own it, snapshot it, rename it."""
        import rbd

        build = build_name(job)
        with (
            self._pool.ioctx(f"publish image {build}") as ioctx,
            open_image(ioctx, build, writable=True) as handle,
        ):
            if handle.size() != size:
                raise TransientError(
                    "StorageError", f"image {build} has {handle.size()} bytes, not {size}"
                )
            self._pool.own(
                ioctx, handle, Ownership(job.owner_uid, epoch=job.epoch, content=job.sha256)
            )
            handle.create_snap(SNAPSHOT)
        try:
            with self._pool.ioctx(f"rename image {build}") as ioctx:
                rbd.RBD().rename(ioctx, build, job.image)
        except ConflictError:
            winner = self.finished(job)
            if winner is None:
                raise
            return winner
        return Imported(size=size, snapshot=SNAPSHOT)

    def _image(self, name: str) -> RbdImage:
        pool = self._pool
        return RbdImage(access=self._access, pool=pool.pool, namespace=pool.namespace, image=name)

    def _try_write(self, name: str) -> None:
        writer = _RbdWriter(self._pool, name)
        try:
            writer.write(0, b"\0" * 4096)
        finally:
            writer.close()


class _RbdWriter(Writer):
    """An open image; the connection is held until it is closed."""

    def __init__(self, pool: RbdPool, name: str) -> None:
        self._pool = pool
        self._name = name
        with ExitStack() as stack:
            ioctx = stack.enter_context(pool.ioctx(f"write image {name}"))
            self._handle: rbd.Image = stack.enter_context(open_image(ioctx, name, writable=True))
            self._size = self._handle.size()
            self._stack = stack.pop_all()

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes; grows by doubling, so that a stream of any length costs few resizes."""
        with self._pool.connection.cluster(f"write image {self._name}"):
            end = whole_mib(offset + len(data))
            if end > self._size:
                self._size = max(end, 2 * self._size)
                self._handle.resize(self._size)
            self._handle.write(data, offset)

    def finish(self, size: int) -> None:
        """Flush, and cut or grow to the final size."""
        with self._pool.connection.cluster(f"finish image {self._name}"):
            self._handle.flush()
            if size != self._size:
                self._handle.resize(size)
                self._size = size

    def close(self) -> None:
        """Close the handle."""
        self._stack.close()
