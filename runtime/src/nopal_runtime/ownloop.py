# SPDX-License-Identifier: Apache-2.0
"""An event loop of its own in a thread: for what must go on while the main loop computes."""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class OwnLoop:
    """A thread with an event loop. What runs there must not share anything bound to another loop.

    The thread ends with the process, whatever it is doing.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there; return, or raise, what it does.

        If the caller is cancelled, so is the work, and the caller ends only after the work has.
        """
        here = asyncio.get_running_loop()
        ended = asyncio.Event()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(lambda _: here.call_soon_threadsafe(ended.set))

        self._loop.call_soon_threadsafe(start)
        try:
            await ended.wait()
        except asyncio.CancelledError:
            # Callbacks keep their order: it was started before this.
            self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            await ended.wait()
            raise
        return tasks[0].result()
