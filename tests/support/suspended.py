# SPDX-License-Identifier: Apache-2.0
"""A process that is alive and does nothing."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGSTOP


@contextmanager
def suspended(*pids: int) -> Iterator[None]:
    """Stop processes, and have them go on afterwards.

    SIGSTOP alone does not wait: until one thread has taken the signal, which is long on a busy
    machine, the others go on and answer.
    """
    try:
        for pid in pids:
            os.kill(pid, SIGSTOP)
        deadline = time.monotonic() + 60
        while not all(_stands(pid) for pid in pids):
            assert time.monotonic() < deadline, f"of {pids} not all stopped"
            time.sleep(0.01)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, SIGCONT)


def _stands(pid: int) -> bool:
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            # The name before it may hold anything, brackets too.
            if task.read_text().rpartition(")")[2].split()[0] != "T":
                return False
    return True
