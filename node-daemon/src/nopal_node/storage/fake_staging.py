# SPDX-License-Identifier: Apache-2.0
"""Imports built in a fake pool."""

import struct
from collections.abc import Callable

from nopal_runtime.errors import ConflictError, NotFoundError, TransientError

from .base import Import, Imported
from .fake_cluster import FakeCluster, FakeImage, FakeRbdPool
from .ownership import Ownership, in_use, require_owner
from .staging import (
    SNAPSHOT,
    Staging,
    Writer,
    build_epoch,
    build_name,
    scratch_name,
    whole_mib,
)


class FakeStaging(Staging):
    """One fake pool."""

    def __init__(
        self,
        cluster: FakeCluster,
        pool: FakeRbdPool,
        *,
        client: str,
        address: str,
        delete_source: Callable[[str, str], None],
    ) -> None:
        self._cluster = cluster
        self._pool = pool
        self._client = client
        self._address = address
        self._delete_source = delete_source

    def finished(self, job: Import) -> Imported | None:
        """Return the published image."""
        self._cluster.reach()
        image = self._pool.images.get(job.image)
        if image is None:
            return None
        require_owner(image.ownership, job.image, job.owner_uid)
        if image.ownership is None:
            raise ConflictError("ImageConflict", f"image {job.image} carries no owner")
        if SNAPSHOT in image.snapshots:
            return Imported(size=image.size, snapshot=SNAPSHOT)
        self._delete_source(job.image, job.owner_uid)
        return None

    def clean(self, job: Import) -> None:
        """Remove this epoch's and older builds."""
        self._cluster.reach()
        for name in list(self._pool.images):
            epoch = build_epoch(job.image, name)
            if epoch is None or epoch > job.epoch:
                continue
            image = self._pool.images[name]
            others = {
                client: address
                for client, address in image.watchers.items()
                if client != self._client
            }
            if others and epoch < job.epoch:
                continue
            for client, address in others.items():
                if address != self._address or not self._cluster.is_dead(client):
                    raise in_use_by(name, client, address)
                self._cluster.shut_out(image, client)
            with self._cluster.effect("remove", writes=False):
                del self._pool.images[name]

    def create(self, name: str, size: int) -> Writer:
        """Create an image and open it."""
        with self._cluster.effect("create"):
            if name in self._pool.images:
                raise ConflictError("ImageExists", f"image {name} exists")
            image = FakeImage(self._cluster.new_id(), whole_mib(size))
            self._pool.images[name] = image
        return _FakeWriter(self._cluster, image, client=self._client, address=self._address)

    def head(self, name: str, length: int) -> bytes:
        """Return an image's first bytes."""
        self._cluster.reach()
        image = self._image(name)
        return image.read(0, min(length, image.size))

    async def convert(
        self, job: Import, *, virtual_size: int, progress: Callable[[int], None]
    ) -> None:
        """Copy the clusters that the qcow2 file has; compressed ones are not known here."""
        source = self._image(scratch_name(job))
        with self._cluster.effect("convert"):
            target = self._image(build_name(job))
            target.content = _qcow2_clusters(source, virtual_size)
        progress(100)

    def publish(self, job: Import, *, size: int) -> Imported:
        """Own it, snapshot it, rename it."""
        build = build_name(job)
        image = self._image(build)
        if image.size != size:
            raise TransientError("StorageError", f"image {build} has {image.size} bytes")
        with self._cluster.effect("own"):
            image.ownership = Ownership(job.owner_uid, epoch=job.epoch, content=job.sha256)
        with self._cluster.effect("snapshot"):
            image.snapshots.add(SNAPSHOT)
        winner = self.finished(job)
        if winner is not None:
            return winner
        with self._cluster.effect("rename"):
            self._pool.images[job.image] = self._pool.images.pop(build)
        return Imported(size=size, snapshot=SNAPSHOT)

    def _image(self, name: str) -> FakeImage:
        image = self._pool.images.get(name)
        if image is None:
            raise NotFoundError("ImageNotFound", f"image {name} does not exist")
        return image


def in_use_by(name: str, client: str, address: str) -> TransientError:
    """Return the error of an image that a client has open."""
    from .base import Watcher

    return in_use(name, Watcher(address=address, client=client))


class _FakeWriter(Writer):
    def __init__(
        self, cluster: FakeCluster, image: FakeImage, *, client: str, address: str
    ) -> None:
        self._cluster = cluster
        self._image = image
        self._client = client
        image.watchers[client] = address

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes."""
        with self._cluster.effect("write"):
            self._image.content[offset] = data
            self._image.size = max(self._image.size, whole_mib(offset + len(data)))

    def finish(self, size: int) -> None:
        """Give it its final size."""
        with self._cluster.effect("resize"):
            self._image.size = size

    def close(self) -> None:
        """Close the handle."""
        self._image.watchers.pop(self._client, None)


def _qcow2_clusters(source: FakeImage, virtual_size: int) -> dict[int, bytes]:
    """Return the plain clusters of a qcow2 file by their guest offset."""
    cluster_bits = int.from_bytes(source.read(20, 4), "big")
    entries, table = struct.unpack(">IQ", source.read(36, 12))
    per_table = 1 << (cluster_bits - 3)
    mask = (1 << 56) - (1 << 9)
    found: dict[int, bytes] = {}
    for first, second in enumerate(struct.unpack(f">{entries}Q", source.read(table, entries * 8))):
        if not second & mask:
            continue
        data = source.read(second & mask, per_table * 8)
        for index, entry in enumerate(struct.unpack(f">{per_table}Q", data)):
            guest = (first * per_table + index) << cluster_bits
            if entry & mask and not entry & 1 and guest < virtual_size:
                found[guest] = source.read(entry & mask, 1 << cluster_bits)
    return found
