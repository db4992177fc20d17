# SPDX-License-Identifier: Apache-2.0
"""An event loop whose clock jumps ahead when nothing is left to do: hours pass in milliseconds."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_STEP = 1e-7


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: tells the loop's clock how long it would have waited."""

    waited = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            # Only another thread can wake the loop now (run_in_executor): wait for it really.
            return super().select(5)
        # Never less than a step that a float of this size can show: else time would stand still.
        self.waited += max(timeout, _STEP) if timeout > 0 else 0.0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time: loop.time() starts at 0 and advances only by waiting."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = _STEP / 10

    def time(self) -> float:
        return self._jumping.waited


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
