# SPDX-License-Identifier: Apache-2.0
"""Starts daemons that outlive the command which started them, and kills only those.

Each process is recorded with its pid and start time, its command and its log, so that the next
command (or a test) finds it, restarts it with the same flags, and never hits a stranger that
got the same pid.
"""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nopal_dev import proc
from nopal_dev.errors import CommandError, DevError, NotReadyError

_POLL = 0.05
_NOT_INHERITED = ("KUBECONFIG", "CEPH_CONF", "CEPH_ARGS", "NOTIFY_SOCKET", "LISTEN_FDS")


@dataclass(frozen=True, slots=True)
class Process:
    """One daemon, as recorded when it was started."""

    name: str
    pid: int
    start_time: int
    log: str
    argv: tuple[str, ...]
    env: dict[str, str]

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return proc.start_time(self.pid) == self.start_time

    def signal(self, number: int) -> None:
        """Send a signal, if the process is still the recorded one."""
        if self.alive:
            os.kill(self.pid, number)

    def stop(self, *, grace: float) -> None:
        """SIGTERM, then SIGKILL after ``grace`` seconds; returns when it is gone."""
        self.signal(signal.SIGTERM)
        if not _gone(self, grace):
            _kill(self)


class Processes:
    """The daemons of one cluster.

    Args:
        records: Folder with one file per daemon.
        logs: Folder with one log per daemon.
        marker: Environment that every daemon gets, by which leftovers are found.
    """

    def __init__(self, records: Path, logs: Path, marker: Mapping[str, str]) -> None:
        self._records = records
        self._logs = logs
        self._marker = dict(marker)

    @property
    def folder(self) -> Path:
        """Where the records are."""
        return self._records

    def start(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a daemon in its own session with its output in its log; one that runs is kept."""
        running = self.find(name)
        if running is not None:
            return running
        program = shutil.which(argv[0])
        if program is None:
            raise CommandError(argv, "not found", "")
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self.log(name)
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        extra = dict(env or {})
        # A shell's own choice of cluster must not leak into a daemon.
        inherited = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
        pid = os.posix_spawn(
            program,
            list(argv),
            {**inherited, **self._marker, **extra},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o640),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGINT],
        )
        process = Process(
            name=name,
            pid=pid,
            start_time=proc.start_time(pid) or 0,
            log=str(log),
            argv=tuple(argv),
            env=extra,
        )
        record = self._record(name)
        draft = record.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(process)))
        draft.rename(record)
        return process

    def log(self, name: str) -> Path:
        """Where a daemon's output goes."""
        return self._logs / f"{name}.log"

    def recorded(self, name: str) -> Process | None:
        """The daemon as it was started last, running or not."""
        try:
            data = json.loads(self._record(name).read_text())
        except FileNotFoundError:
            return None
        return Process(**{**data, "argv": tuple(data["argv"])})

    def find(self, name: str) -> Process | None:
        """The daemon if it runs."""
        process = self.recorded(name)
        return process if process is not None and process.alive else None

    def names(self) -> list[str]:
        """The names of all daemons that were ever started and not forgotten."""
        return sorted(path.stem for path in self._records.glob("*.json"))

    def stop(self, name: str, *, grace: float = 5.0) -> None:
        """End a daemon: SIGTERM, then SIGKILL after ``grace`` seconds."""
        process = self.find(name)
        if process is not None:
            process.stop(grace=grace)

    def kill(self, name: str) -> None:
        """``kill -9`` a daemon and wait until it is gone."""
        process = self.find(name)
        if process is not None:
            _kill(process)

    def restart(self, name: str, *, grace: float = 5.0) -> Process:
        """End a daemon and start it again with the same command and environment."""
        process = self.recorded(name)
        if process is None:
            raise DevError(f"{name} was never started")
        self.stop(name, grace=grace)
        return self.start(name, process.argv, env=process.env)

    def wait(
        self, name: str, ready: Callable[[], bool], *, timeout: float, what: str = "ready"
    ) -> None:
        """Wait until a daemon is ready.

        Raises:
            NotReadyError: It ended, or is not ready after ``timeout`` seconds; names its log.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if self.find(name) is None:
                raise NotReadyError(name, "ended before it was ready", self.log(name))
            if time.monotonic() > deadline:
                raise NotReadyError(name, f"not {what} after {timeout:.0f} s", self.log(name))
            time.sleep(_POLL)

    def _record(self, name: str) -> Path:
        return self._records / f"{name}.json"


def wait_until(what: str, ready: Callable[[], bool], *, timeout: float, every: float = 0.1) -> None:
    """Wait until something is so.

    Raises:
        NotReadyError: It is not after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise NotReadyError(what, f"not so after {timeout:.0f} s")
        time.sleep(every)


def listening(address: str, port: int) -> bool:
    """Whether somebody accepts TCP connections there."""
    try:
        with socket.create_connection((address, port), timeout=1.0):
            return True
    except OSError:
        return False


def kill_all(pids: Sequence[int], *, timeout: float = 10.0) -> list[int]:
    """``kill -9`` these processes; gives those that are still there after ``timeout`` seconds."""
    alive = {pid: started for pid in pids if (started := proc.start_time(pid)) is not None}
    for pid in alive:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + timeout
    while True:
        alive = {pid: started for pid, started in alive.items() if proc.start_time(pid) == started}
        if not alive or time.monotonic() > deadline:
            return sorted(alive)
        time.sleep(_POLL)


def _kill(process: Process) -> None:
    process.signal(signal.SIGKILL)
    if not _gone(process, 60.0):  # much memory is given back, on a machine that is busy
        raise DevError(f"{process.name} (pid {process.pid}) does not end after SIGKILL")


def _gone(process: Process, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while process.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL / 2)
    return True
