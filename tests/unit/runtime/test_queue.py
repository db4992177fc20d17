# SPDX-License-Identifier: Apache-2.0
"""The work queue: each key once, one worker per key, failures back off."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from nopal_runtime.errors import ConflictError, NopalError, TerminalError, TransientError
from nopal_runtime.kube.queue import Handler, WorkQueue
from support.virtualtime import run_virtual


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


def scenario(
    queue: WorkQueue[str],
    handler: Handler[str],
    script: Callable[[], Coroutine[Any, Any, None]],
    workers: int = 2,
) -> None:
    async def main() -> None:
        task = asyncio.create_task(queue.run(workers, handler))
        await script()
        assert not task.done()
        task.cancel()

    run_virtual(main())


def test_marks_of_one_key_are_one_look() -> None:
    looks: list[str] = []
    queue: WorkQueue[str] = WorkQueue()

    async def handler(key: str) -> None:
        looks.append(key)

    async def script() -> None:
        for key in ("a", "b", "a", "a"):
            queue.mark(key)
        await queue.idle()
        assert sorted(looks) == ["a", "b"]

    scenario(queue, handler, script)


def test_a_mark_during_the_look_is_another_look_and_never_two_at_once() -> None:
    running, looks = set[str](), list[float]()
    queue: WorkQueue[str] = WorkQueue()

    async def handler(key: str) -> None:
        assert key not in running
        running.add(key)
        looks.append(now())
        await asyncio.sleep(5)
        running.discard(key)

    async def script() -> None:
        queue.mark("a")
        await asyncio.sleep(1)
        queue.mark("a")
        queue.mark("a")
        await asyncio.sleep(60)
        assert looks == [0, 5]

    scenario(queue, handler, script, workers=4)


def test_keys_are_worked_on_side_by_side() -> None:
    ended: list[float] = []
    queue: WorkQueue[str] = WorkQueue()

    async def handler(_key: str) -> None:
        await asyncio.sleep(1)
        ended.append(now())

    async def script() -> None:
        for key in "abcd":
            queue.mark(key)
        await asyncio.sleep(10)
        assert ended == [1, 1, 2, 2]

    scenario(queue, handler, script, workers=2)


def test_others_have_a_turn_between_two_that_begin_at_once() -> None:
    """Handlers that compute for long before they wait must not do so in one go."""
    seen: list[str] = []
    queue: WorkQueue[str] = WorkQueue()

    async def handler(key: str) -> None:
        seen.append(key)
        # As an answer from a socket: it is there as soon as anybody looks.
        asyncio.get_running_loop().call_later(0, seen.append, f"answer {key}")
        await asyncio.sleep(1)

    async def script() -> None:
        for key in "abcd":
            queue.mark(key)
        await queue.idle()
        assert seen.index("answer a") < seen.index("c")
        assert seen.index("answer b") < seen.index("d")

    scenario(queue, handler, script, workers=4)


def test_delays() -> None:
    looks: list[tuple[float, str]] = []
    queue: WorkQueue[str] = WorkQueue()

    async def handler(key: str) -> float | None:
        looks.append((now(), key))
        return 7 if key == "again" and len(looks) < 4 else None

    async def script() -> None:
        queue.mark("late", 10)
        queue.mark("late", 3)  # the earlier one counts
        queue.mark("late", 20)
        queue.mark("again")
        await asyncio.sleep(100)
        assert looks == [(0, "again"), (3, "late"), (7, "again"), (14, "again")]

    scenario(queue, handler, script)


@pytest.mark.parametrize("error", [TransientError, ConflictError, RuntimeError])
def test_failures_back_off_and_success_resets(error: Callable[..., Exception]) -> None:
    looks, told = list[float](), list[tuple[str, str, float]]()
    fail = [True]
    queue: WorkQueue[str] = WorkQueue(
        base=1,
        limit=8,
        random=lambda: 0,
        on_error=lambda key, e, delay: told.append((key, e.reason, delay)),
    )

    async def handler(_key: str) -> None:
        looks.append(now())
        if fail[0]:
            raise error("Why", "because")

    async def script() -> None:
        queue.mark("a")
        await asyncio.sleep(30)
        assert looks == [0, 1, 3, 7, 15, 23]
        assert told[0] == ("a", "InternalError" if error is RuntimeError else "Why", 1)
        fail[0] = False
        await asyncio.sleep(30)
        fail[0] = True
        looks.clear()
        queue.mark("a")
        await asyncio.sleep(2)
        assert looks == [60, 61]

    scenario(queue, handler, script)


def test_what_somebody_must_change_is_not_hammered() -> None:
    looks: list[float] = []
    queue: WorkQueue[str] = WorkQueue(base=1, limit=60, random=lambda: 0)

    async def handler(_key: str) -> None:
        looks.append(now())
        raise TerminalError("Why", "because")

    async def script() -> None:
        queue.mark("a")
        await asyncio.sleep(100)
        assert looks == [0, 60]
        queue.mark("a")  # it changed
        await asyncio.sleep(1)
        assert looks == [0, 60, 100]

    scenario(queue, handler, script)


def test_retries_of_many_keys_spread() -> None:
    delays: list[float] = []
    queue: WorkQueue[str] = WorkQueue(
        base=10, jitter=0.5, on_error=lambda _k, _e, delay: delays.append(delay)
    )

    async def handler(_key: str) -> None:
        raise TransientError("Why", "because")

    async def script() -> None:
        for key in range(50):
            queue.mark(str(key))
        await asyncio.sleep(1)
        assert len({round(delay, 3) for delay in delays}) > 25
        assert all(5 <= delay <= 10 for delay in delays)

    scenario(queue, handler, script)


def test_one_broken_key_does_not_stop_the_others() -> None:
    looks: list[str] = []
    errors: list[NopalError] = []
    queue: WorkQueue[str] = WorkQueue(on_error=lambda _k, error, _d: errors.append(error))

    async def handler(key: str) -> None:
        if key == "broken":
            raise KeyError("fault")
        looks.append(key)

    async def script() -> None:
        queue.mark("broken")
        queue.mark("fine")
        await asyncio.sleep(0.5)
        assert looks == ["fine"]
        assert isinstance(errors[0].__cause__, KeyError)

    scenario(queue, handler, script, workers=1)
