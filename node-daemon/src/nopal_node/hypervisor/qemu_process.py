# SPDX-License-Identifier: Apache-2.0
"""QEMU as the kernel sees it: libvirt's word is checked against the process itself.

Needs the host's pid namespace (`hostPID`).
"""

import os
import re
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_PROC = Path("/proc")
_GONE = (FileNotFoundError, ProcessLookupError)
_POLL = 0.02
_NUMBER = re.compile(r"\d{1,10}")


@dataclass(frozen=True, slots=True)
class QemuProcess:
    """One QEMU: a pid names it only together with the time it started."""

    pid: int
    started: int
    """Clock ticks since boot."""

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; a zombie holds nothing any more."""
        return _started(self.pid) == self.started

    def wait(self, seconds: float) -> bool:
        """Wait until it is gone; False if it is not after so many seconds."""
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    def kill(self) -> None:
        """`kill -9`, never of another process that got the same pid."""
        with suppress(*_GONE):
            handle = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)


def find(pid_file: Path, uuid: str) -> QemuProcess | None:
    """Return the QEMU that a pid file names, if it runs and was started for that domain UUID."""
    try:
        text = pid_file.read_text().strip()
    except FileNotFoundError:
        return None
    if not _NUMBER.fullmatch(text):
        return None
    pid = int(text)
    started = _started(pid)
    if started is None or not _is_qemu_of(pid, uuid):
        return None
    return QemuProcess(pid, started)


def _started(pid: int) -> int | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except _GONE:
        return None
    # The command name in parentheses may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _is_qemu_of(pid: int, uuid: str) -> bool:
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except _GONE:
        return False
    return (b"-uuid", uuid.encode()) in pairwise(words)
