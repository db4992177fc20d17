# SPDX-License-Identifier: Apache-2.0
"""A storage cluster in memory: what survives when daemons crash, shared by several hosts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from nopal_runtime.errors import NotFoundError, TransientError

from .base import PoolRedundancy
from .ownership import Found, Ownership

FAKE_FSID = "00000000-0000-4000-8000-00000000cef0"

Hook = Callable[[str, str], None]
"""Called with "before" or "after" and the effect; what it raises comes out of the operation."""


@dataclass(slots=True)
class FakeImage:
    """One image."""

    image_id: str
    size: int
    ownership: Ownership | None = None
    parent: str | None = None
    content: dict[int, bytes] = field(default_factory=dict)
    """What was written, by offset; the rest reads as zeros or as the parent."""
    snapshots: set[str] = field(default_factory=set)
    watchers: dict[str, str] = field(default_factory=dict)
    """The address of each client that has it open for writing."""
    lock: str | None = None
    """The client that holds the exclusive lock."""
    below: "FakeImage | None" = None
    """The image that it is cloned from."""

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes."""
        below = self.below.read(offset, length) if self.below else b""
        data = bytearray(below.ljust(length, b"\0"))
        for start, written in sorted(self.content.items()):
            first, last = max(start, offset), min(start + len(written), offset + length)
            if first < last:
                data[first - offset : last - offset] = written[first - start : last - start]
        return bytes(data)

    def found(self) -> Found:
        """Return what a client sees of it."""
        return Found(
            size=self.size,
            ownership=self.ownership,
            parent=self.parent,
            holds_data=bool(self.content),
        )


@dataclass(slots=True)
class Trashed:
    """An image in the trash."""

    name: str
    image: FakeImage
    due: float


@dataclass(slots=True)
class FakeRbdPool:
    """The images of one pool and namespace."""

    images: dict[str, FakeImage] = field(default_factory=dict)
    trash: dict[str, Trashed] = field(default_factory=dict)
    """By the image's id."""


class FakeCluster:
    """The cluster: pools, clients, switches for what may go wrong.

    Attributes:
        fsid: its identity.
        down: nobody answers.
        full: nothing can be written; deleting works.
        now: seconds; the trash counts on it.
        hook: called before and after each effect, to inject faults and crashes.
        urls: what can be downloaded, by URL; an exception is raised instead.
        blocklist: clients that were shut out.
        redundancy: how its pools keep their copies.
    """

    def __init__(self, *, fsid: str = FAKE_FSID) -> None:
        self.fsid = fsid
        self.down = False
        self.full = False
        self.now = 0.0
        self.hook: Hook = lambda _phase, _effect: None
        self.urls: dict[str, bytes | Exception] = {}
        self.blocklist: set[str] = set()
        self.redundancy = PoolRedundancy(
            size=3,
            min_size=2,
            failure_domain="host",
            domains=3,
            copies_together=1,
            raw_total=3 << 40,
            raw_used=1 << 40,
            shares=(1 / 3, 1 / 3, 1 / 3),
        )
        self.pools: dict[tuple[str, str], FakeRbdPool] = {("nopal", ""): FakeRbdPool()}
        self._dead: set[str] = set()
        self._addresses: dict[str, str] = {}
        self._ids = 0

    def new_id(self) -> str:
        """Return an id that nothing had before."""
        self._ids += 1
        return f"{self._ids:x}"

    def new_client(self, address: str) -> str:
        """Return the name of a new client at an address."""
        client = f"client.{self.new_id()}"
        self._addresses[client] = address
        return client

    def address_of(self, client: str) -> str:
        """Return where a client is, or was."""
        return self._addresses[client]

    def image(self, name: str, *, pool: str = "nopal", namespace: str = "") -> FakeImage:
        """Return an image; raises NotFoundError."""
        found = self.pools[pool, namespace].images.get(name)
        if found is None:
            raise NotFoundError("ImageNotFound", f"image {name} does not exist")
        return found

    def open(self, name: str, *, address: str, lock: bool = False, pool: str = "nopal") -> str:
        """Open an image for writing as a guest's QEMU does; return the new client's name."""
        image, client = self.image(name, pool=pool), self.new_client(address)
        image.watchers[client] = address
        if lock:
            image.lock = client
        return client

    def close(self, client: str) -> None:
        """End a client in order: its watches and locks go."""
        self.kill(client)
        self.forget_dead()
        for image in self._all_images():
            if image.lock == client:
                image.lock = None

    def kill(self, client: str) -> None:
        """Kill a client: its watches and locks stay until the cluster forgets it."""
        self._dead.add(client)

    def forget_dead(self) -> None:
        """Let the 30 s pass after which watches of dead clients go. Their locks stay."""
        for image in self._all_images():
            for client in self._dead & image.watchers.keys():
                del image.watchers[client]

    def is_dead(self, client: str) -> bool:
        """Tell whether a client was killed."""
        return client in self._dead

    def shut_out(self, image: FakeImage, client: str) -> None:
        """Blocklist a client, which ends its watches and locks."""
        self.blocklist.add(client)
        image.watchers.pop(client, None)
        if image.lock == client:
            image.lock = None

    def clones(self, image: FakeImage) -> int:
        """Count the images that are cloned from this one, those in the trash too."""
        return sum(each.below is image for each in self._all_images())

    def reach(self) -> None:
        """Raise TransientError if the cluster is down."""
        if self.down:
            raise TransientError("StorageUnreachable", "the fake cluster is down")

    @contextmanager
    def effect(self, name: str, *, writes: bool = True) -> Iterator[None]:
        """Surround one atomic change."""
        self.reach()
        if self.full and writes:
            raise TransientError("PoolFull", "the fake cluster is full")
        self.hook("before", name)
        yield
        self.hook("after", name)

    def _all_images(self) -> list[FakeImage]:
        return [
            image
            for pool in self.pools.values()
            for image in (*pool.images.values(), *(each.image for each in pool.trash.values()))
        ]
