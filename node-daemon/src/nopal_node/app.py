# SPDX-License-Identifier: Apache-2.0
"""The daemon of one host: watch -> cache -> queue -> reconciler -> host and status."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, Protocol

import structlog

from nopal_api.disk import Disk
from nopal_api.kinds import DISK, HOST, IMAGE, NETWORK, VIRTUAL_MACHINE, ZONE, Kind
from nopal_runtime.errors import NopalError
from nopal_runtime.health import Check, not_older
from nopal_runtime.kube.api import Key, KubeApi
from nopal_runtime.kube.cache import ObjectCache
from nopal_runtime.kube.lease import Heartbeat, boot_clock
from nopal_runtime.kube.queue import WorkQueue
from nopal_runtime.kube.status import StatusWriter
from nopal_runtime.kube.sync import Sync
from nopal_runtime.metrics import Metrics

from .disks import Disks
from .host_state import HostState, Registration
from .hosts import Hosts, ReadFacts
from .hypervisor.base import Hypervisor
from .images import Images
from .network.base import HostNetwork
from .orphans import Orphans
from .pools import Connect, Pools
from .settings import Settings
from .threads import Threads
from .virtual_machines import VirtualMachines

KINDS = (VIRTUAL_MACHINE, DISK, IMAGE, NETWORK, ZONE, HOST)
WORKERS = 32
"""Objects worked on at the same time; most of the work is waiting for libvirt and Ceph."""

log = structlog.get_logger("nopal.node")


class RunsForEver(Protocol):
    """A watch."""

    def run(self) -> Coroutine[Any, Any, NoReturn]:
        """Watch until cancelled."""

    def renew(self) -> None:
        """Begin anew soon."""


class MakeWatch(Protocol):
    """Makes the watch that feeds the cache: kopf's, or a fake one."""

    def __call__(
        self,
        kinds: tuple[Kind, ...],
        *,
        cache: ObjectCache,
        on_change: Callable[[Key], None],
        field_selectors: dict[str, str],
        on_gap: Callable[[], None],
    ) -> RunsForEver:
        """Return the watch."""


class NodeDaemon:
    """One life of the daemon. It keeps nothing on disk: libvirt, Ceph and the API are its state."""

    def __init__(
        self,
        *,
        settings: Settings,
        kube: KubeApi,
        hypervisor: Hypervisor,
        network: HostNetwork,
        connect: Connect,
        make_watch: MakeWatch,
        facts: ReadFacts,
        wall: Callable[[], str],
        threads: Threads,
        lease_clock: Callable[[], float] = boot_clock,
        metrics: Metrics | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        node = settings.node_name
        self._settings, self._loop, self._threads = settings, loop, threads
        self._hypervisor = hypervisor
        self.cache = ObjectCache(selected=(VIRTUAL_MACHINE, DISK))
        self.queue: WorkQueue[Key] = WorkQueue(
            base=1.0, limit=settings.retry_limit_seconds, on_error=_log_error
        )
        self._metrics = metrics or Metrics()
        self._metrics.watch_depth(self.queue.depth)
        selectors = {
            VIRTUAL_MACHINE.kind: f"status.assignment.nodeName={node}",
            DISK.kind: f"status.executor.nodeName={node}",
            HOST.kind: f"metadata.name={node}",
        }
        self.sync = Sync(
            kube,
            self.cache,
            KINDS,
            on_change=self._changed,
            field_selectors=selectors,
            interval=settings.resync_seconds,
            on_restored=lambda: self.watch.renew(),
        )
        self.watch = make_watch(
            KINDS,
            cache=self.cache,
            on_change=self._changed,
            field_selectors=selectors,
            on_gap=self.sync.poke,
        )
        self.heartbeat = Heartbeat(
            kube,
            node,
            renew_seconds=settings.lease_renew_seconds,
            lease_seconds=settings.lease_seconds,
            clock=lease_clock,
        )
        self.state = HostState(
            settings=settings,
            kube=kube,
            cache=self.cache,
            writer=StatusWriter(kube, self.cache),
            hypervisor=hypervisor,
            network=network,
            pools=Pools(node_name=node, kube=kube, connect=connect, threads=threads),
            threads=threads,
            lease_fresh=self.heartbeat.fresh,
            mark=self.queue.mark,
            clock=loop.time,
            wall=wall,
            registered=Registration(),
        )
        self._host_key = Key(HOST.kind, "", node)
        self._images = Images(self.state)
        self._orphans = Orphans(self.state)
        self._hosts = Hosts(self.state, facts=facts, orphans=self._orphans)
        self._reconcilers: dict[str, Callable[[Key], Awaitable[float | None]]] = {
            VIRTUAL_MACHINE.kind: VirtualMachines(self.state).reconcile,
            DISK.kind: Disks(self.state).reconcile,
            IMAGE.kind: self._images.reconcile,
            HOST.kind: self._hosts.reconcile,
        }

    async def run(self) -> NoReturn:
        """Run until cancelled. Guests run on."""
        self._hypervisor.subscribe(self._domain_changed)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.heartbeat.run(), name="heartbeat")
                group.create_task(self.sync.run(), name="sync")
                group.create_task(self.watch.run(), name="watch")
                # Nothing is planned before every kind was listed: absent from the cache means
                # nothing until then.
                await self.sync.ready()
                await self._first_look()
                group.create_task(self.queue.run(WORKERS, self._reconcile), name="queue")
                group.create_task(self._poll(), name="poll")
                group.create_task(self._empty_trash(), name="trash")
        finally:
            await self._images.close()
            await self.state.pools.close()
        raise AssertionError("the daemon's tasks never end")

    async def _first_look(self) -> None:
        """Learn which Host this is and which pools it has: without them all would seem unwell."""
        while True:
            try:
                await self._hosts.reconcile(self._host_key)
            except NopalError as error:
                log.warning("host not registered", why=str(error))
            if self.state.registered.host_uid:
                return  # at worst its status could not be told
            await asyncio.sleep(1.0)

    def checks(self) -> dict[str, Check]:
        """Return the health checks: each says what is wrong, or None."""
        limit = 3 * self._settings.resync_seconds + 60.0
        return {"lists": not_older(self.sync.age, limit, "the last complete list")}

    async def _reconcile(self, key: Key) -> float | None:
        with self._metrics.reconcile(key.kind):
            return await self._reconcilers[key.kind](key)

    async def _poll(self) -> NoReturn:
        """Look at the host itself again and again: events are hints only."""
        while True:
            self.queue.mark(self._host_key)
            for record in self.cache.all(VIRTUAL_MACHINE):
                self.queue.mark(record.key)
            await _isolated(self._orphans.look)
            delay = self._settings.poll_seconds
            if self._orphans.verdict.first_seen:
                delay = min(delay, max(1.0, self._settings.orphan_wait_seconds / 2))
            await asyncio.sleep(delay)

    async def _empty_trash(self) -> NoReturn:
        """Remove what is due in the pools' trash; a large image takes its time."""
        while True:
            await asyncio.sleep(self._settings.poll_seconds)
            await _isolated(self.state.pools.empty_trash)

    def _changed(self, key: Key) -> None:
        if key.kind in self._reconcilers:
            self.queue.mark(key)
        if key.kind in (ZONE.kind, NETWORK.kind):
            self.queue.mark(self._host_key)
        if key.kind == VIRTUAL_MACHINE.kind and self.cache.get(key) is None:
            # A Disk whose VM is gone has its claim to release.
            for record in self.cache.all(DISK):
                claim = record.model(Disk).status.claim
                if record.namespace == key.namespace and claim and claim.vm_name == key.name:
                    self.queue.mark(record.key)

    def _domain_changed(self, vm_uid: str) -> None:
        """Take a hint of the hypervisor, from any thread."""
        self._loop.call_soon_threadsafe(self._mark_domain, vm_uid)

    def _mark_domain(self, vm_uid: str) -> None:
        record = self.cache.find_uid(VIRTUAL_MACHINE, vm_uid) if vm_uid else None
        if record is not None:
            self.queue.mark(record.key)
        elif not vm_uid:
            for record in self.cache.all(VIRTUAL_MACHINE):
                self.queue.mark(record.key)
            self.queue.mark(self._host_key)


async def _isolated(work: Callable[[], Awaitable[None]]) -> None:
    """Do work that is repeated anyway: an error of it must not end the daemon."""
    try:
        await work()
    except NopalError as error:
        log.info("put off", work=work.__qualname__, why=str(error))
    except Exception:
        log.exception("failed", work=work.__qualname__)


def _log_error(key: Key, error: NopalError, delay: float) -> None:
    log.warning("will be tried again", what=str(key), why=str(error), seconds=round(delay, 1))
