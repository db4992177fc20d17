# SPDX-License-Identifier: Apache-2.0
"""The boot-sector guests in a real QEMU: they count, go on after a reboot, and power off."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nopal_dev.bootsector import BootSector, Counter, read_counter
from nopal_dev.processes import wait_until

pytestmark = pytest.mark.real


@contextmanager
def qemu(
    folder: Path, machine: str, *, stdin: int = subprocess.DEVNULL
) -> Iterator["subprocess.Popen[bytes]"]:
    argv = [
        *("qemu-system-x86_64", "-machine", f"{machine},accel=tcg", "-m", "32"),
        *("-display", "none", "-nodefaults", "-serial", f"file:{folder / 'serial'}"),
        *("-drive", f"file={folder / 'disk'},format=raw,if=virtio", "-monitor", "stdio"),
    ]
    with subprocess.Popen(argv, stdin=stdin, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def counter(folder: Path) -> Counter | None:
    with (folder / "disk").open("rb") as disk:
        return read_counter(disk.read(1024))


def reached(folder: Path, value: int, boots: int) -> bool:
    now = counter(folder)
    return now is not None and now.value >= value and now.boots == boots


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_it_counts_on_after_a_power_cut_and_obeys_the_button(tmp_path: Path, machine: str) -> None:
    BootSector(ticks=2).image(tmp_path / "disk")
    with qemu(tmp_path, machine):
        wait_until("it counts", lambda: reached(tmp_path, 3, 1), timeout=60.0)
    before = counter(tmp_path)
    assert before is not None
    with qemu(tmp_path, machine, stdin=subprocess.PIPE) as process:
        wait_until("it counts on", lambda: reached(tmp_path, before.value + 2, 2), timeout=60.0)
        assert process.stdin is not None
        process.stdin.write(b"system_powerdown\n")
        process.stdin.flush()
        assert process.wait(timeout=30) == 0
    last = counter(tmp_path)
    assert last is not None
    lines = (tmp_path / "serial").read_text().split()
    assert lines[0:2] == ["nopal:", "boot"]
    assert lines[-2:] == ["nopal:", "off"]
    # Every number from the first to the last, and the last is what the disk says.
    numbers = [int(line, 16) for line in lines[2:-2]]
    assert numbers == list(range(before.value + 1, last.value + 1))


def test_it_powers_itself_off(tmp_path: Path) -> None:
    BootSector(ticks=1, power_off_after=3).image(tmp_path / "disk")
    with qemu(tmp_path, "q35") as process:
        assert process.wait(timeout=60) == 0
    assert counter(tmp_path) == Counter(value=3, boots=1)


def test_one_that_is_deaf_stays(tmp_path: Path) -> None:
    BootSector(counts=False, obeys_power_button=False).image(tmp_path / "disk")
    with qemu(tmp_path, "q35", stdin=subprocess.PIPE) as process:
        serial = tmp_path / "serial"
        wait_until(
            "it boots", lambda: serial.exists() and "boot" in serial.read_text(), timeout=60.0
        )
        assert process.stdin is not None
        process.stdin.write(b"system_powerdown\n")
        process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)
    assert counter(tmp_path) is None
