# SPDX-License-Identifier: Apache-2.0
"""The operator, put together: watch -> cache -> queue -> world -> plan -> effects -> status."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from contextlib import suppress
from random import random
from threading import Thread
from typing import Any, NoReturn, Protocol

import structlog

from nopal_api.kinds import (
    DISK,
    HOST,
    IMAGE,
    LEASE,
    NETWORK,
    NODE,
    VIRTUAL_MACHINE,
    ZONE,
    Kind,
)
from nopal_api.names import HOST_LEASE_NAMESPACE
from nopal_operator.dependents import Dirty, dependents, heartbeat_changed, room_given_back
from nopal_operator.effects import Effects
from nopal_operator.liveness import Liveness
from nopal_operator.reconcile import plan
from nopal_operator.schedulers import SearchingError
from nopal_operator.settings import Settings
from nopal_operator.world import World
from nopal_runtime.errors import NopalError
from nopal_runtime.health import Check, not_older
from nopal_runtime.kube.api import Key, KubeApi
from nopal_runtime.kube.cache import ObjectCache
from nopal_runtime.kube.queue import WorkQueue
from nopal_runtime.kube.sync import Sync
from nopal_runtime.metrics import Metrics
from nopal_scheduler import Cluster, Scheduler

KINDS = (ZONE, HOST, NETWORK, IMAGE, DISK, VIRTUAL_MACHINE, NODE)
_LEASES = f"metadata.namespace={HOST_LEASE_NAMESPACE}"
_SEARCHING = 60.0
"""Seconds after which to look again at what waits for a search, should its end go unnoticed."""
_SOON = 0.5
"""Seconds that the sums over many objects wait for more changes."""

log = structlog.get_logger("nopal.operator")


class RunsForEver(Protocol):
    """A watch."""

    def run(self) -> Coroutine[Any, Any, NoReturn]:
        """Watch until cancelled."""

    def renew(self) -> None:
        """Begin anew soon."""

    def age(self) -> float:
        """Return the seconds since the most silent kind was heard of."""


class MakeWatch(Protocol):
    """Makes the watch that feeds the cache: kopf's, or a fake one."""

    def __call__(
        self,
        kinds: Iterable[Kind],
        *,
        cache: ObjectCache,
        on_change: Callable[[Key], None],
        on_gap: Callable[[], None],
    ) -> RunsForEver:
        """Return the watch."""


class Operator:
    """One life of the operator. It keeps nothing: kube-apiserver has all its state.

    Args:
        settings: times and limits.
        kube: reads, and writes that are allowed only while this process leads.
        make_watch: makes the watch.
        metrics: counts and times what is done.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        kube: KubeApi,
        make_watch: MakeWatch,
        metrics: Metrics | None = None,
    ) -> None:
        clock = asyncio.get_running_loop().time
        self._settings, self._kube, self._clock = settings, kube, clock
        self.cache = ObjectCache()
        self.world = World(self.cache, patience=settings.patience, computed=time.thread_time)
        self.queue: WorkQueue[Key] = WorkQueue(on_error=_log_error)
        self.liveness = Liveness(
            self.world, clock=clock, longest_gap=3 * settings.heartbeat_seconds + 1.0
        )
        self.sync = Sync(
            kube,
            self.cache,
            KINDS,
            on_change=self._changed,
            interval=settings.resync_seconds,
            on_restored=lambda: self.watch.renew(),
        )
        self.watch = make_watch(
            KINDS, cache=self.cache, on_change=self._changed, on_gap=self.sync.poke
        )
        self._effects = Effects(
            kube, cache=self.cache, world=self.world, on_change=self._changed, clock=clock
        )
        self.world.schedulers.aside = self._search
        self._planning = False
        self._metrics = metrics or Metrics()
        self._metrics.watch_depth(self.queue.depth)

    async def run(self) -> NoReturn:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sync.run(), name="sync")
            # Nothing is planned before every kind was listed: absent from the cache means nothing
            # until then.
            await self.sync.ready()
            await self._look_at_leases()
            group.create_task(self.watch.run(), name="watch")
            group.create_task(self._heartbeats(), name="heartbeats")
            self._planning = True
            for kind in KINDS:
                for key in self.world.keys(kind):
                    if kind is not NODE:
                        self.queue.mark(key)
            log.info("planning", objects={k.kind: len(self.world.keys(k)) for k in KINDS})
            group.create_task(self.queue.run(self._settings.workers, self.reconcile), name="queue")
        raise AssertionError("the operator's tasks never end")

    async def reconcile(self, key: Key) -> float | None:
        """Plan and act for one object; return the seconds after which to look again."""
        with self._metrics.reconcile(key.kind):
            try:
                return await self._effects.carry_out(key, plan(self.world, key, now=self._clock()))
            except SearchingError:
                return _SEARCHING  # it is marked as soon as the search has ended
            finally:
                self._mark(room_given_back(self.world))

    def checks(self) -> dict[str, Check]:
        """Return what /healthz asks: each tells what is wrong, or nothing."""
        lists, leases = self._settings.resync_seconds, self._settings.heartbeat_seconds
        return {
            "lists": not_older(self.sync.age, 3 * lists + 60, "the last complete list"),
            "leases": not_older(self.liveness.age, 20 * leases + 60, "the list of hosts' Leases"),
        }

    def _changed(self, key: Key) -> None:
        """Take note of a change; events, lists and the answers to our own writes all come here."""
        try:
            change = self.world.changed(key, now=self._clock())
        except NopalError as error:
            log.error("object not understood", reason=error.reason, message=error.message)
            return
        if key.kind == HOST.kind:
            self.liveness.note_hosts((key.name,))
        if not self._planning:
            return
        if change.is_news:
            self._mark(dependents(self.world, key, change))
        elif key.kind != NODE.kind:
            # The sweep: everything is looked at again, slowly.
            self.queue.mark(key, self._settings.resync_seconds / 2 * random())  # noqa: S311

    def _mark(self, dirty: Dirty) -> None:
        for key in sorted(dirty.now):
            self.queue.mark(key)
        for key in sorted(dirty.soon):
            self.queue.mark(key, _SOON)

    def _search(self, zone: str, cluster: Cluster, like: Scheduler | None) -> Future[Scheduler]:
        """Build a scheduler in a thread; it ends with the process, however much is left to do."""
        result: Future[Scheduler] = Future()
        loop, began = asyncio.get_running_loop(), self._clock()

        def build() -> None:
            try:
                result.set_result(Scheduler(cluster, like=like))
            except Exception as error:
                result.set_exception(error)
            with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                loop.call_soon_threadsafe(ended)

        def ended() -> None:
            seconds = round(self._clock() - began, 1)
            log.info("zone searched", zone=zone, vms=len(cluster.vms), seconds=seconds)
            self._mark(Dirty(now={Key(ZONE.kind, "", zone), *self.world.waiting(zone)}))

        Thread(target=build, name=f"zone {zone}", daemon=True).start()
        return result

    async def _heartbeats(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._settings.heartbeat_seconds)
            await self._look_at_leases()

    async def _look_at_leases(self) -> None:
        """Read the hosts' Leases. A failure says nothing about any host."""
        try:
            listing = await self._kube.list(LEASE, field_selector=_LEASES)
        except NopalError as error:
            log.warning("leases not listed", reason=error.reason, message=error.message)
            return
        for node in self.liveness.observe(listing.items):
            log.info("heartbeat", host=node, fresh=self.world.heartbeats.get(node))
            if self._planning:
                self._mark(heartbeat_changed(self.world, node))


def _log_error(key: Key, error: NopalError, delay: float) -> None:
    log.warning(
        "will be tried again",
        key=str(key),
        reason=error.reason,
        message=error.message,
        seconds=round(delay, 1),
        exc_info=error if error.reason == "InternalError" else None,
    )
