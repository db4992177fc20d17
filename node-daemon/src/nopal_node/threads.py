# SPDX-License-Identifier: Apache-2.0
"""A bounded pool of threads for calls that block: libvirt, rados, netlink."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """Runs blocking calls off the event loop, at most `size` at a time.

    Enough that calls which wait for a Ceph that is down leave some for libvirt: guests can be
    stopped then, too.
    """

    def __init__(self, size: int = 32) -> None:
        self._executor = ThreadPoolExecutor(size, thread_name_prefix="nopal-blocking")

    async def run(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run the call in a thread and return its result."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(call, *args, **kwargs))

    def close(self) -> None:
        """Let running calls end and take no more."""
        self._executor.shutdown(wait=False, cancel_futures=True)
