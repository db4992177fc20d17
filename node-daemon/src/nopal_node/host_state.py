# SPDX-License-Identifier: Apache-2.0
"""What the reconcilers of this host share: the way to the API, to the host, and what is known."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from nopal_api.kinds import Kind
from nopal_runtime.errors import NotFoundError
from nopal_runtime.kube.api import Key, KubeApi
from nopal_runtime.kube.cache import ObjectCache, Record, make_record
from nopal_runtime.kube.status import StatusWriter

from .hypervisor.base import Hypervisor
from .network.base import HostNetwork
from .pools import Pools
from .settings import Settings
from .threads import Threads

PARALLEL_STARTS = 4
"""More at once do not start more a second: QEMU's start is bound by the CPU."""


class Locks:
    """A lock for each name, gone when nobody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __getitem__(self, name: str) -> asyncio.Lock:
        """Return the lock of that name."""
        return self._locks.setdefault(name, asyncio.Lock())


@dataclass(slots=True)
class Registration:
    """Which cluster, and which Host object in it, this daemon belongs to; empty until known."""

    cluster_uid: str = ""
    """UID of the kube-system namespace."""
    host_uid: str = ""
    """UID of the Host object."""


@dataclass(frozen=True, slots=True)
class HostState:
    """The daemon's surroundings; every reconciler gets the same one."""

    settings: Settings
    kube: KubeApi
    cache: ObjectCache
    writer: StatusWriter
    hypervisor: Hypervisor
    network: HostNetwork
    pools: Pools
    threads: Threads
    lease_fresh: Callable[[], bool]
    """Whether this host's Lease was renewed in time."""
    mark: Callable[[Key, float], None]
    """Ask for another look at an object after so many seconds."""
    clock: Callable[[], float]
    """Monotonic seconds."""
    wall: Callable[[], str]
    """The time of day, RFC 3339."""
    registered: Registration
    """What this host's domains are marked with."""
    image_locks: Locks = field(default_factory=Locks)
    """One for each RBD image that is being made."""
    vm_locks: Locks = field(default_factory=Locks)
    """One for each VM UID: held while its guest is started or stopped."""
    start_slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(PARALLEL_STARTS)
    )
    """Guests that are started at the same time."""

    async def read(self, kind: Kind, *, namespace: str, name: str) -> Record | None:
        """Read the object freshly; None if it is known not to exist."""
        try:
            body = await self.kube.get(kind, namespace=namespace, name=name)
        except NotFoundError:
            return None
        return make_record(kind, body)
