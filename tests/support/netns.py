# SPDX-License-Identifier: Apache-2.0
"""A network namespace that lives as long as one thread: nothing of it is ever left over."""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_CLONE_NEWNET = 0x40000000


class NetworkNamespace:
    """Runs functions, and the programs that they start, in a fresh network namespace."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.submit(function, *args, **kwargs).result(timeout=60)

    def ip(self, *args: str) -> str:
        return self.run(_ip, *args)


@contextmanager
def network_namespace() -> Iterator[NetworkNamespace]:
    """Needs root."""
    with ThreadPoolExecutor(max_workers=1, initializer=_unshare) as thread:
        yield NetworkNamespace(thread)


def _unshare() -> None:
    # os.unshare came with Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")


def _ip(*args: str) -> str:
    return subprocess.run(["ip", *args], check=True, capture_output=True, text=True).stdout
