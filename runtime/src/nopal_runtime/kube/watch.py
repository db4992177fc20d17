# SPDX-License-Identifier: Apache-2.0
"""Feeds the cache from watch events, and never gives up.

kopf runs in a thread with an event loop of its own. In ours it would take the signal handlers, and
on its end it would cancel every task that was made after its start.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NoReturn

import structlog

from nopal_api.kinds import Kind
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import ObjectCache, key_of
from nopal_runtime.kube.credentials import Credentials
from nopal_runtime.kube.kopfshell import SERVER_TIMEOUT, Listener, listen

STALE = 2.0 * SERVER_TIMEOUT
"""Seconds of silence, not even a renewed watch, after which the watch is started anew."""
_FIRST_WATCH = 30.0
_CHECK = 2.0
_AGAIN = 1.0
"""Seconds before the first new start; doubled by each that follows soon."""
_TELL_EVERY = 30.0
_BATCH = 200
_STOP_SECONDS = 15.0

log = structlog.get_logger("nopal.watch")


class Watch:
    """Keeps a cache warm from kube-apiserver's events. Start it when the first lists are in.

    It survives every outage; an event may be lost, so the lists (`Sync`) stay the authority.

    Args:
        on_change: is told the key of every event, also of one's own writes.
        field_selectors: by kind name; a DELETED there means only "left the selection".
        on_gap: is called when deletions may have been missed: list again (`Sync.poke`).
    """

    def __init__(
        self,
        kinds: Iterable[Kind],
        *,
        cache: ObjectCache,
        on_change: Callable[[Key], None],
        credentials: Credentials,
        field_selectors: Mapping[str, str] | None = None,
        on_gap: Callable[[], None] = lambda: None,
    ) -> None:
        self._kinds = tuple(kinds)
        self._cache, self._on_change, self._on_gap = cache, on_change, on_gap
        self._credentials = credentials
        self._selectors = dict(field_selectors or {})
        self._began: float | None = None
        self._heard: dict[str, float] = {}
        self._opened: set[str] = set()
        self._listed: set[str] = set()
        self._events: deque[tuple[Kind, str | None, dict[str, Any]]] = deque()
        self._draining = False
        self._told = float("-inf")
        self._renew = False

    def renew(self) -> None:
        """Begin anew soon, with lists: the versions that the watch goes on from are no good."""
        self._renew = True

    def age(self) -> float:
        """Return the seconds since the most silent kind was heard of; infinite before `run`."""
        if self._began is None:
            return float("inf")
        heard = min(self._heard.get(kind.kind, self._began) for kind in self._kinds)
        return time.monotonic() - heard

    def live(self) -> bool:
        """Tell whether a watch of every kind was opened since the last (re)start."""
        return len(self._opened) == len(self._kinds)

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        self._began = time.monotonic()
        delay = _AGAIN
        while True:
            began = time.monotonic()
            await self._attempt()
            if time.monotonic() - began > STALE:
                delay = _AGAIN
            log.warning("watch ended, starts anew", seconds=delay)
            await asyncio.sleep(delay)
            delay = min(30.0, delay * 2)
            self._on_gap()

    async def _attempt(self) -> None:
        """Run kopf until it ends or falls silent."""
        shell = _Shell(asyncio.get_running_loop())
        listener = Listener(
            event=partial(shell.tell, self._event),
            watching=partial(shell.tell, self._watching),
            listed=partial(shell.tell, self._relisted),
            failed=partial(shell.tell, self._failed),
        )
        self._opened.clear()
        self._renew = False
        shell.start(
            partial(
                listen,
                self._kinds,
                credentials=self._credentials,
                field_selectors=self._selectors,
                listener=listener,
            )
        )
        began = time.monotonic()
        try:
            while not (shell.ended.is_set() or self._renew):
                limit = STALE if self.live() else _FIRST_WATCH
                if min(self.age(), time.monotonic() - began) > limit:
                    silent = [k.kind for k in self._kinds if k.kind not in self._opened]
                    log.warning("watch is silent", kinds=silent or "all")
                    break
                try:
                    async with asyncio.timeout(_CHECK):
                        await shell.ended.wait()
                except TimeoutError:
                    continue
        finally:
            await shell.stop()

    # Called in our loop, in the order of the events

    def _event(self, kind: Kind, event: str | None, body: dict[str, Any]) -> None:
        self._events.append((kind, event, body))
        if not self._draining:
            self._draining = True
            self._drain()

    def _drain(self) -> None:
        for _ in range(min(_BATCH, len(self._events))):
            kind, event, body = self._events.popleft()
            self._heard[kind.kind] = time.monotonic()
            if event == "DELETED":
                news = self._cache.offer_deleted(kind, body)
            else:
                news = self._cache.offer(kind, body)
            if news:  # one's own writes come back as events: they are known already
                self._on_change(key_of(kind, body))
        self._draining = bool(self._events)
        if self._draining:  # let the others have their turn during a storm
            asyncio.get_running_loop().call_soon(self._drain)

    def _watching(self, kind: Kind) -> None:
        self._opened.add(kind.kind)
        self._heard[kind.kind] = time.monotonic()

    def _relisted(self, kind: Kind) -> None:
        if kind.kind in self._listed:
            log.info("watch was begun anew", kind=kind.kind)
            self._on_gap()
        self._listed.add(kind.kind)

    def _failed(self, kind: Kind, error: str) -> None:
        now = time.monotonic()
        if now - self._told > _TELL_EVERY:
            self._told = now
            log.warning("watch cannot reach kube-apiserver", kind=kind.kind, error=error)


class _Shell:
    """kopf's thread: started, told from, stopped."""

    def __init__(self, ours: asyncio.AbstractEventLoop) -> None:
        self._ours = ours
        self.ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._open = True

    def start(self, listen_: Callable[..., Any]) -> None:
        """Run it in a daemon thread: it never holds up the end of the process."""
        threading.Thread(target=self._thread, args=(listen_,), name="watch", daemon=True).start()

    def tell(self, callback: Callable[..., None], *args: Any) -> None:
        """Have our loop call back; for use in the thread."""
        if self._open:
            try:
                self._ours.call_soon_threadsafe(self._call, callback, *args)
            except RuntimeError:  # our loop is closed: the process ends
                self._open = False

    async def stop(self) -> None:
        """End the thread; one that does not end is left behind, unheard."""
        self._open = False
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self.ended.wait()
        except TimeoutError:
            log.warning("the watch thread did not end", seconds=_STOP_SECONDS)

    def _call(self, callback: Callable[..., None], *args: Any) -> None:
        if self._open:
            callback(*args)

    def _thread(self, listen_: Callable[..., Any]) -> None:
        try:
            asyncio.run(self._main(listen_))
        except Exception as error:  # whatever ended kopf, Watch.run starts it anew
            log.warning("watch failed", error=f"{type(error).__name__}: {error}")
        finally:
            try:
                self._ours.call_soon_threadsafe(self.ended.set)
            except RuntimeError:  # our loop is closed: the process ends
                self._open = False

    async def _main(self, listen_: Callable[..., Any]) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if not self._open:
            return
        await listen_(stop=self._stop)
