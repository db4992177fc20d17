# SPDX-License-Identifier: Apache-2.0
"""A queue of dirty keys: each once, one worker per key, failures back off."""

import asyncio
import heapq
import itertools
import random as _random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NoReturn, TypeVar

from nopal_runtime.errors import NopalError, TerminalError, TransientError

K = TypeVar("K", bound=Hashable)
_SHORTEST = 0.001
Handler = Callable[[K], Awaitable[float | None]]


class WorkQueue(Generic[K]):
    """Keys that need a look.

    A key that is marked while a worker has it is looked at again afterwards. A handler that fails
    is called again after a back-off that doubles; success resets it. Use from one event loop only.

    Args:
        base: seconds before the first retry.
        limit: the longest back-off, in seconds; a TerminalError waits that long at once.
        jitter: part of the back-off that is random, so that many keys do not retry together.
        clock: monotonic seconds; the event loop's clock if left out.
        random: a number in [0, 1).
        on_error: is told the key, the error and the seconds until the next try.
    """

    def __init__(
        self,
        *,
        base: float = 1.0,
        limit: float = 60.0,
        jitter: float = 0.2,
        clock: Callable[[], float] | None = None,
        random: Callable[[], float] = _random.random,
        on_error: Callable[[K, NopalError, float], None] | None = None,
    ) -> None:
        self._base, self._limit, self._jitter = base, limit, jitter
        self._clock, self._random, self._on_error = clock, random, on_error
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._running: set[K] = set()
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()

    def mark(self, key: K, delay: float = 0.0) -> None:
        """Have the key looked at after the delay, or earlier if it is due earlier already."""
        due = self._now() + delay
        known = self._due.get(key)
        if known is None or due < known:
            self._due[key] = due
            heapq.heappush(self._heap, (due, next(self._order), key))
            self._changed.set()

    def depth(self) -> int:
        """Return how many keys are due now or are being worked on."""
        now = self._now()
        return len(self._running) + sum(due <= now for due in self._due.values())

    async def idle(self) -> None:
        """Return when nothing is due and nothing is being worked on."""
        # No event tells this: a key also falls due by the clock alone.
        while self.depth():  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def run(self, workers: int, handler: Handler[K]) -> NoReturn:
        """Work for ever, at most `workers` keys at a time.

        The handler returns None when the key needs no further look, or the seconds until one.
        """
        free = asyncio.Semaphore(workers)
        async with asyncio.TaskGroup() as group:
            while True:
                # One waits for keys, not every worker: a mark wakes one task, however many rest.
                await free.acquire()
                group.create_task(self._work(await self._take(), handler, free))
                # A handler may compute for long before it first waits. So they begin one at a time,
                # and the loop looks at its sockets and timers in between.
                await asyncio.sleep(0)

    async def _work(self, key: K, handler: Handler[K], free: asyncio.Semaphore) -> None:
        try:
            again = await self._handle(key, handler)
        finally:
            self._running.discard(key)
            self._changed.set()
            free.release()
        if again is not None:
            # A rest of a nanosecond, as differences of times leave it, is no pause at all.
            self.mark(key, max(again, _SHORTEST) if again else 0.0)

    async def _handle(self, key: K, handler: Handler[K]) -> float | None:
        try:
            again = await handler(key)
        except NopalError as error:
            return self._failed(key, error)
        except Exception as error:
            # A fault of ours with one object must not stop the others: it is shown and tried again.
            text = f"{type(error).__name__}: {error}. This is a fault of Nopal: report it."
            wrapped = TransientError("InternalError", text)
            wrapped.__cause__ = error
            return self._failed(key, wrapped)
        self._failures.pop(key, None)
        return again

    def _failed(self, key: K, error: NopalError) -> float:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = self._limit
        if not isinstance(error, TerminalError):
            delay = min(self._limit, self._base * 2 ** min(count, 30))
        delay *= 1 - self._jitter * self._random()
        if self._on_error is not None:
            self._on_error(key, error, delay)
        return delay

    async def _take(self) -> K:
        while True:
            self._changed.clear()
            now = self._now()
            waiting = None
            skipped = []
            while self._heap:
                due, order, key = heapq.heappop(self._heap)
                if self._due.get(key) != due:
                    continue  # marked again for an earlier time
                if key in self._running:
                    skipped.append((due, order, key))
                elif due <= now:
                    del self._due[key]
                    self._running.add(key)
                    self._restore(skipped)
                    return key
                else:
                    waiting = due - now
                    skipped.append((due, order, key))
                    break
            self._restore(skipped)
            await self._sleep(waiting)

    def _restore(self, entries: list[tuple[float, int, K]]) -> None:
        for entry in entries:
            heapq.heappush(self._heap, entry)

    async def _sleep(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def _now(self) -> float:
        return self._clock() if self._clock else asyncio.get_running_loop().time()
