# SPDX-License-Identifier: Apache-2.0
"""Restarts the workloads of a demo when they end, as a kubelet would.

Run as ``python -m nopal_dev.supervisor NAME...`` with the folder of the records in
``$NOPAL_DEV_PROCESSES``. Tests that kill a workload do without it.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nopal_dev.processes import Processes
from nopal_dev.state import MARKER

_EVERY = 1.0
_FIRST = 1.0
_LONGEST = 60.0
_STABLE = 120.0


def supervise(processes: Processes, names: Sequence[str]) -> None:
    """Look every second; wait twice as long after each end, 60 s at most."""
    delays = dict.fromkeys(names, _FIRST)
    started = dict.fromkeys(names, time.monotonic())
    while True:
        time.sleep(_EVERY)
        for name in names:
            now = time.monotonic()
            if processes.find(name) is not None:
                if now - started[name] > _STABLE:
                    delays[name] = _FIRST
            elif now - started[name] > delays[name]:
                processes.restart(name)
                started[name] = now
                delays[name] = min(_LONGEST, delays[name] * 2)


if __name__ == "__main__":
    _folder = Path(os.environ["NOPAL_DEV_PROCESSES"])
    _marker = {MARKER: os.environ[MARKER]}
    supervise(Processes(_folder, _folder.parent / "logs", _marker), sys.argv[1:])
