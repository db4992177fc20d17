# SPDX-License-Identifier: Apache-2.0
"""QEMU as the kernel sees it, tried on a stand-in."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nopal_node.hypervisor import qemu_process

UID = "7d2f0a3e-5f52-4f0e-9d0c-2a8f5b1c0d11"
SLEEP = "import time; print(flush=True); time.sleep(60)"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-c", SLEEP, "-uuid", UID]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()  # by now its command line is its own
        yield running
        running.kill()


def pid_file(folder: Path, text: str) -> Path:
    path = folder / "nopal.pid"
    path.write_text(text)
    return path


def test_finds_and_kills(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    found = qemu_process.find(pid_file(tmp_path, f"{child.pid}\n"), UID)
    assert found is not None
    assert found.pid == child.pid
    assert found.alive
    assert not found.wait(0)
    found.kill()
    # Nobody has reaped it yet: a zombie is gone all the same.
    assert found.wait(10)
    assert qemu_process.find(pid_file(tmp_path, f"{child.pid}"), UID) is None
    found.kill()


def test_a_pid_alone_names_nobody(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    other = UID.replace("7", "8")
    assert qemu_process.find(pid_file(tmp_path, str(child.pid)), other) is None
    reused = qemu_process.QemuProcess(child.pid, started=1)
    assert not reused.alive
    reused.kill()
    assert child.poll() is None


@pytest.mark.parametrize("text", ["", "x", "-1", "99999999999999", "1 2"])
def test_what_is_no_pid(text: str, tmp_path: Path) -> None:
    assert qemu_process.find(pid_file(tmp_path, text), UID) is None


def test_no_pid_file(tmp_path: Path) -> None:
    assert qemu_process.find(tmp_path / "absent", UID) is None
