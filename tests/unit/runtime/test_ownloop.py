# SPDX-License-Identifier: Apache-2.0
"""A loop in a thread goes on while the main loop computes, and ends what it was given."""

import asyncio
import threading
import time

import pytest

from nopal_runtime.ownloop import OwnLoop


async def test_it_runs_elsewhere_and_brings_back_what_came_of_it() -> None:
    async def where() -> int:
        await asyncio.sleep(0)
        return threading.get_ident()

    async def fail() -> None:
        raise LookupError("why")

    async with OwnLoop("own") as own:
        assert await own.run(where()) != threading.get_ident()
        with pytest.raises(LookupError, match="why"):
            await own.run(fail())


async def test_it_goes_on_while_the_main_loop_is_blocked() -> None:
    async def work() -> None:
        for _ in range(5):
            await asyncio.sleep(0.01)
        done.set()

    done = threading.Event()
    async with OwnLoop("own") as own:
        task = asyncio.create_task(own.run(work()))
        await asyncio.sleep(0)
        assert done.wait(30), "this blocks the main loop"
        await task


async def test_who_is_cancelled_ends_after_the_work_has() -> None:
    began, undone = threading.Event(), []

    async def work() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            time.sleep(0.05)  # noqa: ASYNC251
            undone.append(True)

    async with OwnLoop("own") as own:
        for wait in (False, True):
            task = asyncio.create_task(own.run(work()))
            await asyncio.sleep(0)
            while wait and not began.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            began.clear()
    assert undone, "the second one had begun"
