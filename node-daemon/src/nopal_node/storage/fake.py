# SPDX-License-Identifier: Apache-2.0
"""A pool in memory, for tests: passes the same contract suite as the Ceph one."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

from nopal_runtime.errors import NotFoundError, TransientError

from .base import DiskImage, ImageInfo, Import, Imported, PoolRedundancy, StoragePool, Watcher
from .fake_cluster import FakeCluster, FakeImage, FakeRbdPool, Trashed
from .fake_staging import FakeStaging, in_use_by
from .fetch import Downloaded, Progress, Write
from .importing import Download, Importer
from .limits import ImportLimits
from .ownership import (
    OURS,
    DiskStep,
    Found,
    Ownership,
    claim_needed,
    disk_step,
    lost,
    parent_name,
    require_owner,
)
from .staging import whole_mib


class FakePool(StoragePool):
    """One host's view of one pool of a FakeCluster.

    Args:
        cluster: what all hosts share.
        address: the host's address.
        pool: name of the pool.
        namespace: RBD namespace.
        trash_delay: seconds of the cluster's clock.
        limits: bounds of imports.
        fetch: how a URL is downloaded; without it, instantly from the cluster's urls.
    """

    def __init__(
        self,
        cluster: FakeCluster,
        *,
        address: str = "10.0.0.1",
        pool: str = "nopal",
        namespace: str = "",
        trash_delay: int = 24 * 3600,
        limits: ImportLimits | None = None,
        fetch: Download | None = None,
    ) -> None:
        self.cluster = cluster
        self.address = address
        self.client = cluster.new_client(address)
        self._name, self._trash_delay = pool, trash_delay
        self._rbd: FakeRbdPool = cluster.pools.setdefault((pool, namespace), FakeRbdPool())
        self._importer = Importer(
            staging=FakeStaging(
                cluster,
                self._rbd,
                client=self.client,
                address=address,
                delete_source=lambda image, uid: self.delete_source(image, owner_uid=uid),
            ),
            download=fetch or self._instant,
            threads=_Inline(),
            limits=limits or ImportLimits(),
        )

    @property
    def images(self) -> dict[str, FakeImage]:
        """The images by name."""
        return self._rbd.images

    @property
    def trash(self) -> dict[str, Trashed]:
        """The trash by image id."""
        return self._rbd.trash

    def check(self) -> None:
        """Reach the cluster."""
        self.cluster.reach()

    def version(self) -> str:
        """Return the version of the cluster that this one stands for."""
        return "16.2.15"

    def osd_hosts(self) -> int:
        """Return the number of hosts that the cluster would have."""
        self.cluster.reach()
        return 3

    def redundancy(self) -> PoolRedundancy:
        """Return what the cluster is set to."""
        self.cluster.reach()
        return self.cluster.redundancy

    def addresses(self) -> tuple[str, ...]:
        """Return the host's address."""
        self.cluster.reach()
        return (self.address,)

    def info(self, image: str) -> ImageInfo | None:
        """Return the image, None if it is absent."""
        self.cluster.reach()
        found = self.images.get(image)
        return _info(found.found()) if found is not None else None

    def ensure_disk(self, disk: DiskImage) -> ImageInfo:
        """Create, clone or finish the disk."""
        self.cluster.reach()
        image = self.images.get(disk.image)
        if image is None:
            image = self._create(disk)
        step = disk_step(image.found(), disk)
        if step is DiskStep.REPLACE:
            with self.cluster.effect("remove", writes=False):
                del self.images[disk.image]
            image = self._create(disk)
            step = DiskStep.FINISH
        if image.size < disk.size:
            with self.cluster.effect("resize"):
                image.size = disk.size
        if step is DiskStep.FINISH:
            with self.cluster.effect("own"):
                image.ownership = Ownership(disk.owner_uid, parent=parent_name(disk.parent))
        return _info(image.found())

    def _create(self, disk: DiskImage) -> FakeImage:
        if disk.made:
            raise lost(disk.image, self._name)
        parent = disk.parent
        if parent is None:
            with self.cluster.effect("create"):
                image = FakeImage(self.cluster.new_id(), disk.size)
                self.images[disk.image] = image
            return image
        source = self.cluster.pools.get((parent.pool, parent.namespace), FakeRbdPool())
        below = source.images.get(parent.image)
        if below is None or parent.snapshot not in below.snapshots:
            raise NotFoundError(
                "ParentNotFound", f"the snapshot {parent_name(parent)} does not exist"
            )
        with self.cluster.effect("clone"):
            image = FakeImage(
                self.cluster.new_id(), below.size, parent=parent_name(parent), below=below
            )
            self.images[disk.image] = image
        return image

    def watchers(self, image: str) -> Sequence[Watcher]:
        """Return who else has the image open."""
        self.cluster.reach()
        found = self.images.get(image)
        return [
            Watcher(address=address, client=client)
            for client, address in (found.watchers.items() if found else ())
            if client != self.client
        ]

    def claim_epoch(self, image: str, *, owner_uid: str, epoch: int) -> None:
        """Write the epoch."""
        self.cluster.reach()
        found = self.images.get(image)
        if found is None:
            raise NotFoundError("ImageNotFound", f"image {image} does not exist")
        if claim_needed(found.ownership, image, owner_uid, epoch):
            with self.cluster.effect("epoch"):
                before = found.ownership or Ownership(owner_uid)
                found.ownership = Ownership(
                    owner_uid, epoch=epoch, parent=before.parent, content=before.content
                )

    def epoch(self, image: str) -> int | None:
        """Return the epoch of the image."""
        found = self.info(image)
        return found.epoch if found is not None else None

    def break_dead_locks(self, image: str, *, own_addresses: Sequence[str]) -> None:
        """Break what a dead client of these addresses holds."""
        self.cluster.reach()
        found = self.images.get(image)
        others = [c for c in found.watchers if c != self.client] if found is not None else []
        if found is None or len(others) > 1:
            return
        suspects = {*others, found.lock} - {None, self.client}
        for client in sorted(c for c in suspects if c is not None):
            if self.cluster.address_of(client) in own_addresses and self.cluster.is_dead(client):
                with self.cluster.effect("break_lock"):
                    self.cluster.shut_out(found, client)

    def delete(self, image: str, *, owner_uid: str) -> None:
        """Move a disk to the trash."""
        self.break_dead_locks(image, own_addresses=self.addresses())
        self._to_trash(image, owner_uid, delay=self._trash_delay)

    def _to_trash(self, image: str, owner_uid: str, *, delay: float) -> str | None:
        self.cluster.reach()
        found = self.images.get(image)
        if found is None:
            return None
        require_owner(found.ownership, image, owner_uid)
        for client, address in found.watchers.items():
            raise in_use_by(image, client, address)
        if found.lock not in (None, self.client):
            raise in_use_by(image, found.lock, self.cluster.address_of(found.lock))
        if found.ownership is None:
            with self.cluster.effect("own", writes=False):
                found.ownership = Ownership(owner_uid)
        for snapshot in sorted(found.snapshots):
            with self.cluster.effect("remove_snapshot", writes=False):
                found.snapshots.discard(snapshot)
        with self.cluster.effect("trash", writes=False):
            due = self.cluster.now + delay
            self.trash[found.image_id] = Trashed(image, self.images.pop(image), due)
        return found.image_id

    def write_seed(self, image: str, *, owner_uid: str, content: bytes) -> None:
        """Write a seed unless it is there."""
        self.cluster.reach()
        digest = hashlib.sha256(content).hexdigest()
        found = self.images.get(image)
        if found is not None:
            require_owner(found.ownership, image, owner_uid)
            if found.ownership is not None and found.ownership.content == digest:
                return
        self.remove_seed(image, owner_uid=owner_uid)
        with self.cluster.effect("create"):
            made = FakeImage(self.cluster.new_id(), max(whole_mib(len(content)), whole_mib(1)))
            self.images[image] = made
        with self.cluster.effect("write"):
            made.content[0] = content
        with self.cluster.effect("own"):
            made.ownership = Ownership(owner_uid, content=digest)

    def remove_seed(self, image: str, *, owner_uid: str) -> None:
        """Remove a seed at once."""
        self.cluster.reach()
        found = self.images.get(image)
        if found is None:
            return
        require_owner(found.ownership, image, owner_uid)
        with self.cluster.effect("remove", writes=False):
            del self.images[image]

    async def fetch(self, job: Import, *, progress: Callable[[int], None]) -> Imported:
        """Fetch an image."""
        return await self._importer.fetch(job, progress)

    def delete_source(self, image: str, *, owner_uid: str) -> None:
        """Delete an Image's contents."""
        image_id = self._to_trash(image, owner_uid, delay=0)
        if image_id is not None:
            self._remove_from_trash(image_id)

    def empty_trash(self) -> int:
        """Remove for good what is due."""
        self.cluster.reach()
        due = [
            image_id
            for image_id, each in self.trash.items()
            if each.due <= self.cluster.now and each.name.startswith(OURS)
        ]
        return sum(self._remove_from_trash(image_id) for image_id in due)

    def _remove_from_trash(self, image_id: str) -> bool:
        if self.cluster.clones(self.trash[image_id].image):
            return False
        with self.cluster.effect("remove", writes=False):
            del self.trash[image_id]
        return True

    def crash(self) -> None:
        """Die as by kill -9: what this client has open stays open until it is forgotten."""
        self.cluster.kill(self.client)

    def close(self) -> None:
        """Nothing is open."""

    async def _instant(
        self, url: str, *, write: Write, limits: ImportLimits, progress: Progress
    ) -> Downloaded:
        await asyncio.sleep(0)
        content = self.cluster.urls.get(url)
        if content is None:
            raise TransientError("DownloadFailed", f"nothing is served at {url}")
        if isinstance(content, Exception):
            raise content
        if content:
            await write(0, content)
        progress(100)
        return Downloaded(size=len(content), sha256=hashlib.sha256(content).hexdigest())


class _Inline(Executor):
    """Runs calls at once: simulations on a virtual clock stay deterministic."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _info(found: Found) -> ImageInfo:
    ownership = found.ownership or Ownership("")
    return ImageInfo(
        size=found.size,
        owner_uid=ownership.owner_uid,
        epoch=ownership.epoch,
        parent=found.origin,
    )
