# SPDX-License-Identifier: Apache-2.0
"""One storage pool as the daemon sees it: images with an owner, an epoch and watchers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PoolAccess:
    """What a client of this host needs to reach a pool."""

    fsid: str
    monitors: tuple[str, ...]
    pool: str
    namespace: str
    user: str
    """The cephx user without the leading client."""
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Watcher:
    """A client that has an image open."""

    address: str
    """IP address without port and nonce."""
    client: str
    """The client's global id, for example client.4235."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image that exists."""

    size: int
    owner_uid: str
    """UID of the object that it belongs to, from the image's metadata; empty if there is none."""
    epoch: int
    """Highest epoch that was allowed to write it; 0 if none was."""
    parent: str | None
    """pool/[namespace/]image@snapshot that it is cloned from."""


@dataclass(frozen=True, slots=True)
class ImageParent:
    """A snapshot to clone from."""

    pool: str
    namespace: str
    image: str
    snapshot: str


@dataclass(frozen=True, slots=True)
class DiskImage:
    """A disk that is to exist."""

    image: str
    size: int
    """Bytes, whole MiB. A clone is grown to it."""
    owner_uid: str
    parent: ImageParent | None = None
    made: bool = False
    """It was there before: it must still be, and is never made anew over lost data."""


@dataclass(frozen=True, slots=True)
class Import:
    """An image that is to be fetched."""

    image: str
    """Final name; built as IMAGE.EPOCH, then renamed."""
    owner_uid: str
    epoch: int
    url: str
    sha256: str
    format: str
    """raw or qcow2."""


@dataclass(frozen=True, slots=True)
class Imported:
    """An image that was fetched, verified and snapshotted."""

    size: int
    """Virtual size in bytes."""
    snapshot: str


@dataclass(frozen=True, slots=True)
class PoolRedundancy:
    """How a pool keeps its copies, and how full the storage is."""

    size: int
    """Copies of each object."""
    min_size: int
    """Copies without which nothing is written."""
    failure_domain: str
    """What copies are kept apart by: osd, host, rack."""
    domains: int
    """How many of these there are."""
    copies_together: int
    """Copies of one object that may be on one host, or in one failure domain above hosts."""
    raw_total: int
    """Bytes of all OSDs that the pool may use."""
    raw_used: int
    """Bytes of these that are taken, by any pool."""
    shares: tuple[float, ...]
    """The part of raw_total in each failure domain (each host, where it is osd), largest first."""


class StoragePool(ABC):
    """The images of one pool. Blocking, except for imports: callers use a bounded pool of threads.

    Every method raises `TransientError` (reason StorageUnreachable) when the storage cannot be
    asked or does not answer in time, and (reason PoolFull) when it is full: neither says anything
    about an image.
    """

    @abstractmethod
    def check(self) -> None:
        """Reach the storage and see that it is the cluster that the Zone names.

        Raises TerminalError (reason WrongCluster, PoolNotFound, AccessDenied) with the remedy.
        """

    @abstractmethod
    def version(self) -> str:
        """Return the version of the storage cluster, for example 16.2.15."""

    @abstractmethod
    def osd_hosts(self) -> int:
        """Return on how many hosts the storage keeps its data, running or not."""

    @abstractmethod
    def redundancy(self) -> PoolRedundancy:
        """Return how the storage keeps the pool's copies, as its configuration says."""

    @abstractmethod
    def addresses(self) -> tuple[str, ...]:
        """Return this client's addresses in the storage cluster, without port and nonce."""

    @abstractmethod
    def info(self, image: str) -> ImageInfo | None:
        """Return the image, None if it is known to be absent."""

    @abstractmethod
    def ensure_disk(self, disk: DiskImage) -> ImageInfo:
        """Create or clone the image unless it exists; finish a half-made one of the same owner.

        Half-made is what carries no owner but has the size and the parent asked for: the name
        holds the owner's UID, so nobody else makes an image of that name. Raises ConflictError
        (reason ImageConflict) if it exists and belongs to another owner, has another parent, or is
        larger than asked for; NotFoundError (reason ParentNotFound) if the snapshot is absent;
        TransientError (reason DataLost) if it was made before and is absent.
        """

    @abstractmethod
    def watchers(self, image: str) -> Sequence[Watcher]:
        """Return who else has the image open; empty if it is absent."""

    @abstractmethod
    def claim_epoch(self, image: str, *, owner_uid: str, epoch: int) -> None:
        """Write the epoch into the image's metadata.

        Raises ConflictError (reason OwnershipUnclear) if a higher epoch is there, or another owner;
        NotFoundError (ImageNotFound) if the image is absent.
        """

    @abstractmethod
    def epoch(self, image: str) -> int | None:
        """Return the epoch in the image's metadata, 0 if none is; None if the image is absent."""

    @abstractmethod
    def break_dead_locks(self, image: str, *, own_addresses: Sequence[str]) -> None:
        """Remove an exclusive lock whose holder is a dead client of this very host.

        Else Ceph waits 30 s for it. A foreign holder and one that still answers are left alone.
        The holder is blocklisted for years before its lock is broken. Call it only when no domain
        with this disk exists on this host: a guest's QEMU that hangs looks dead.
        """

    @abstractmethod
    def delete(self, image: str, *, owner_uid: str) -> None:
        """Move the image to the trash for the pool's trash delay. Absent is success.

        Raises ConflictError (ImageConflict) if it belongs to another owner, TransientError
        (ImageInUse) while somebody has it open.
        """

    @abstractmethod
    def write_seed(self, image: str, *, owner_uid: str, content: bytes) -> None:
        """Make the image hold exactly this content (a few MiB at most), unless it does already.

        Raises ConflictError (ImageConflict) if it belongs to another owner.
        """

    @abstractmethod
    def remove_seed(self, image: str, *, owner_uid: str) -> None:
        """Remove a seed at once, not through the trash: it may hold passwords. Absent is success.

        Raises ConflictError (ImageConflict) if it belongs to another owner.
        """

    @abstractmethod
    async def fetch(self, job: Import, *, progress: Callable[[int], None]) -> Imported:
        """Download, verify and convert an image, and take the snapshot that disks clone.

        Done before is success at once. Calls progress with percents. Leaves nothing of a failed
        try. Cancelling it cleans up. Raises TerminalError with reason ChecksumMismatch,
        FormatMismatch, UnsafeImage, ImageTooLarge, ConversionTooSlow, DownloadRefused;
        TransientError with reason DownloadFailed, ConversionKilled; ConflictError (ImageConflict)
        if the image belongs to another owner.
        """

    @abstractmethod
    def delete_source(self, image: str, *, owner_uid: str) -> None:
        """Delete an Image's contents with its snapshot. Absent is success.

        Disks that were cloned from it keep working (clone v2): then it waits in the trash, and what
        is left is removed when the last of them is.
        """

    @abstractmethod
    def empty_trash(self) -> int:
        """Remove for good what of ours has been in the trash for its time; return how many.

        Any host may call it at any time; what clones still need stays.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""
