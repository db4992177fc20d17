# SPDX-License-Identifier: Apache-2.0
"""Reads /proc: whether a process is still the one that was started, and what belongs to whom."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError, NotADirectoryError)


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone or a zombie.

    One whose main thread alone has ended is neither: it may still hold its sockets.

    A pid alone names nobody: the kernel gives it to the next one. Pid and start time do.
    """
    # Our own dead children stay zombies until they are reaped.
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except _GONE:
        return None
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZX" and not _has_other_threads(pid):
        return None
    return int(fields[19])


def _has_other_threads(pid: int) -> bool:
    try:
        return len(list((_PROC / str(pid) / "task").iterdir())) > 1
    except _GONE:
        return False


def pids() -> Iterator[int]:
    """Every process of the machine that this process sees."""
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            yield int(entry.name)


def with_environment(variable: str, value: str) -> list[int]:
    """The processes that were started with this environment variable, except our own line."""
    wanted = f"{variable}={value}".encode()
    found = []
    for pid in set(pids()) - _own_line():
        with suppress(*_GONE):
            if wanted in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def in_network_namespace(namespace: Path) -> list[int]:
    """The processes whose network namespace is the one that this file (/run/netns/X) holds."""
    try:
        wanted = namespace.stat()
    except _GONE:
        return []
    found = []
    for pid in set(pids()) - _own_line():
        with suppress(*_GONE):
            seen = (_PROC / str(pid) / "ns" / "net").stat()
            if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.append(pid)
    return found


def command_line(pid: int) -> list[str]:
    """The arguments of a process; empty when it is gone."""
    try:
        data = (_PROC / str(pid) / "cmdline").read_bytes()
    except _GONE:
        return []
    return data.decode(errors="replace").rstrip("\0").split("\0") if data else []


def _own_line() -> set[int]:
    """This process and those that started it: never to be killed as a leftover."""
    line = set()
    pid = os.getpid()
    while pid > 1 and pid not in line:
        line.add(pid)
        try:
            text = (_PROC / str(pid) / "stat").read_text(errors="replace")
        except _GONE:
            break
        pid = int(text.rpartition(")")[2].split()[1])
    return line


def cpus() -> set[int]:
    """The processors that this process may use."""
    return os.sched_getaffinity(0)
