# SPDX-License-Identifier: Apache-2.0
"""List every kind at the start and again and again: the authority on what exists."""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

import structlog

from nopal_api.kinds import Kind
from nopal_runtime.errors import NopalError
from nopal_runtime.kube.api import Key, KubeApi
from nopal_runtime.kube.cache import ObjectCache

_RETRY_BASE = 0.5
_RETRY_LIMIT = 30.0

log = structlog.get_logger("nopal.sync")


class Sync:
    """Keeps the cache true by complete lists; events only make it faster.

    A list that fails is "unknown": it changes nothing and is tried again with back-off.

    Args:
        on_change: is told every key that a list changed, and at every list all keys of the kind
            (the sweep): planning is cheap and writes nothing in steady state.
        field_selectors: by kind name, as for the watch.
        interval: seconds between the lists of a kind.
        on_restored: is called when a list is older than what was known: etcd was restored from a
            backup. A watch from a version that is still to come brings nothing: start it anew.
    """

    def __init__(
        self,
        api: KubeApi,
        cache: ObjectCache,
        kinds: Iterable[Kind],
        *,
        on_change: Callable[[Key], None],
        field_selectors: Mapping[str, str] | None = None,
        interval: float = 300.0,
        on_restored: Callable[[], None] = lambda: None,
    ) -> None:
        self._api, self._cache, self._kinds = api, cache, tuple(kinds)
        self._on_change = on_change
        self._selectors = field_selectors or {}
        self._interval = interval
        self._on_restored = on_restored
        self._pokes = {kind.kind: asyncio.Event() for kind in self._kinds}
        self._listed_at: dict[str, float] = {}
        self._ready = asyncio.Event()

    async def run(self) -> NoReturn:
        """List for ever."""
        async with asyncio.TaskGroup() as group:
            for kind in self._kinds:
                group.create_task(self._keep(kind), name=f"sync {kind}")
        raise AssertionError("the lists never end")

    async def ready(self) -> None:
        """Return when every kind was listed completely: before that nothing may be planned."""
        await self._ready.wait()

    def poke(self) -> None:
        """List again soon: events may have been missed."""
        for event in self._pokes.values():
            event.set()

    def age(self) -> float:
        """Return the seconds since the oldest of the newest lists; infinite before the first."""
        if len(self._listed_at) < len(self._kinds):
            return float("inf")
        return asyncio.get_running_loop().time() - min(self._listed_at.values(), default=0.0)

    async def once(self, kind: Kind) -> None:
        """List one kind now. Raises what `KubeApi.list` raises, and then changes nothing."""
        started = asyncio.get_running_loop().time()
        since, restores = self._cache.versions(kind), self._cache.restores
        listing = await self._api.list(kind, field_selector=self._selectors.get(kind.kind, ""))
        changed = self._cache.sync(kind, listing, since=since)
        if self._cache.restores > restores:
            log.warning("kube-apiserver went back in time: all is read again", kind=str(kind))
            self.poke()
            self._on_restored()
        self._listed_at[kind.kind] = started
        for key in sorted(changed.union(record.key for record in self._cache.all(kind))):
            self._on_change(key)
        if len(self._listed_at) == len(self._kinds):
            self._ready.set()

    async def _keep(self, kind: Kind) -> NoReturn:
        poked = self._pokes[kind.kind]
        failures = 0
        while True:
            poked.clear()
            try:
                await self.once(kind)
            except NopalError as error:
                delay = min(_RETRY_LIMIT, _RETRY_BASE * 2 ** min(failures, 10))
                failures += 1
                log.warning("list failed", kind=str(kind), reason=error.reason, message=str(error))
            else:
                failures, delay = 0, self._interval
            # Several processes and kinds must not list at the same moment.
            delay *= 1 - 0.1 * random.random()  # noqa: S311
            try:
                async with asyncio.timeout(delay):
                    await poked.wait()
            except TimeoutError:
                continue
