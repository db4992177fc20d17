# SPDX-License-Identifier: Apache-2.0
"""Daemons are recorded, found again, and nobody else is ever killed."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nopal_dev import proc
from nopal_dev.errors import CommandError, NotReadyError
from nopal_dev.processes import Processes, kill_all, wait_until

MARK = {"NOPAL_DEV_CLUSTER": f"unit@{os.getpid()}"}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path / "records", tmp_path / "logs", MARK)
    yield started
    for name in started.names():
        started.kill(name)


def test_a_daemon_outlives_its_record_being_read_anew(processes: Processes, tmp_path: Path) -> None:
    process = processes.start("sleeper", ["sleep", "60"], env={"COLOUR": "blue"})
    other = Processes(tmp_path / "records", tmp_path / "logs", MARK)
    assert other.find("sleeper") == process
    assert other.start("sleeper", ["sleep", "60"]).pid == process.pid
    assert os.getsid(process.pid) == process.pid


def test_restart_keeps_command_and_environment(processes: Processes) -> None:
    first = processes.start("sleeper", ["sleep", "60"], env={"COLOUR": "blue"})
    second = processes.restart("sleeper")
    assert not first.alive
    assert second.pid != first.pid
    wait_until("exec", lambda: proc.command_line(second.pid) == ["sleep", "60"], timeout=10.0)
    assert second.pid in proc.with_environment("COLOUR", "blue")


def test_every_daemon_carries_the_marker_and_no_cluster_of_the_shell(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/of/another/cluster")
    process = processes.start("sleeper", ["sleep", "60"])
    found = next(iter(MARK.items()))
    wait_until("exec", lambda: process.pid in proc.with_environment(*found), timeout=10.0)
    assert process.pid not in proc.with_environment("KUBECONFIG", "/of/another/cluster")


def test_a_stranger_with_the_same_pid_is_left_alone(processes: Processes, tmp_path: Path) -> None:
    stranger = processes.start("stranger", ["sleep", "60"])
    record = tmp_path / "records" / "stranger.json"
    data = json.loads(record.read_text())
    (tmp_path / "records" / "old.json").write_text(
        json.dumps({**data, "name": "old", "start_time": data["start_time"] - 1})
    )
    assert processes.find("old") is None
    processes.kill("old")
    processes.stop("old")
    assert stranger.alive


def test_stop_is_sigterm_and_then_sigkill(processes: Processes) -> None:
    deaf = processes.start("deaf", ["sh", "-c", "trap '' TERM; echo ready; sleep 60 & wait; wait"])
    processes.wait("deaf", lambda: "ready" in Path(deaf.log).read_text(), timeout=10.0)
    processes.stop("deaf", grace=0.2)
    assert processes.find("deaf") is None
    kill_all(proc.with_environment(*next(iter(MARK.items()))))


def test_waiting_names_the_log_and_shows_its_end(processes: Processes) -> None:
    processes.start("brief", ["sh", "-c", "echo it is broken; exit 3"])
    with pytest.raises(NotReadyError, match=r"(?s)ended before.*brief\.log.*it is broken"):
        processes.wait("brief", lambda: False, timeout=10.0)
    processes.start("slow", ["sleep", "60"])
    with pytest.raises(NotReadyError, match="not ready after"):
        processes.wait("slow", lambda: False, timeout=0.1)
    with pytest.raises(NotReadyError, match="the moon is full"):
        wait_until("the moon is full", lambda: False, timeout=0.1)


def test_a_program_that_is_absent_is_named(processes: Processes) -> None:
    with pytest.raises(CommandError, match="no-such-program"):
        processes.start("none", ["no-such-program"])


def test_leftovers_are_found_by_marker_but_never_our_own_line(
    processes: Processes,
) -> None:
    process = processes.start("sleeper", ["sleep", "60"])
    wait_until("exec", lambda: bool(proc.command_line(process.pid)), timeout=10.0)
    os.kill(process.pid, signal.SIGSTOP)
    found = proc.with_environment(*next(iter(MARK.items())))
    assert found == [process.pid]
    assert kill_all(found) == []
    assert proc.start_time(os.getpid()) is not None
