# SPDX-License-Identifier: Apache-2.0
"""The machine as procfs tells it, from copies of its files."""

from pathlib import Path

import pytest

from nopal_node.host.clock import judge
from nopal_node.host.facts import HostFacts, read_facts
from nopal_runtime.errors import TransientError

STAT = """\
cpu  4705 150 1120 1444 511 0 0 0 0 0
cpu0 1393280 32966 572056 13343292 6130 0 17875 0 23933 0
cpu1 1393280 32966 572056 13343292 6130 0 17875 0 23933 0
cpu10 1393280 32966 572056 13343292 6130 0 17875 0 23933 0
intr 54056 0 0
btime 1769000000
"""
MEMINFO = "MemTotal:       16384000 kB\nMemFree:          {free} kB\n"
BOOT = "ddc6c09d-90cd-4d9a-84f0-0778aade3778"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    files = {
        "stat": STAT,
        "meminfo": MEMINFO.format(free=1000),
        "uptime": "10.0 20.0\n",
        "sys/kernel/osrelease": "6.1.0-18-amd64\n",
        "sys/kernel/random/boot_id": f"{BOOT}\n",
        "sys/net/bridge/bridge-nf-call-iptables": "0\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_it_reads_the_machine(proc: Path) -> None:
    assert read_facts(proc, clock=lambda: True) == HostFacts(
        cpu_threads=3,
        memory=16384000 * 1024,
        kernel="6.1.0-18-amd64",
        boot_id=BOOT,
        bridge_filter=False,
        clock_synchronized=True,
    )


def test_what_changes_by_itself_changes_no_fact(proc: Path) -> None:
    before = read_facts(proc, clock=lambda: True)
    (proc / "meminfo").write_text(MEMINFO.format(free=77))
    (proc / "stat").write_text(STAT.replace("4705", "9999"))
    (proc / "uptime").write_text("99.0 99.0\n")
    assert read_facts(proc, clock=lambda: True) == before


def test_a_filtered_bridge(proc: Path) -> None:
    path = proc / "sys/net/bridge/bridge-nf-call-iptables"
    path.write_text("1\n")
    assert read_facts(proc).bridge_filter is True
    path.unlink()
    assert read_facts(proc).bridge_filter is False, "br_netfilter is not loaded"


def test_a_clock_that_does_not_say_is_unknown(proc: Path) -> None:
    assert read_facts(proc, clock=lambda: None).clock_synchronized is None


@pytest.mark.parametrize("name", ["stat", "meminfo", "sys/kernel/random/boot_id"])
def test_what_cannot_be_read_is_an_error_and_no_zero(proc: Path, name: str) -> None:
    (proc / name).write_text("") if name != "sys/kernel/random/boot_id" else (proc / name).unlink()
    with pytest.raises(TransientError) as error:
        read_facts(proc)
    assert error.value.reason == "HostUnreadable"


@pytest.mark.parametrize(
    ("result", "status", "wanted"),
    [
        (0, 0x2001, True),  # TIME_OK, STA_PLL | STA_NANO
        (5, 0x0041, False),  # TIME_ERROR, STA_PLL | STA_UNSYNC
        (0, 0x0040, False),
        (5, 0x0000, False),
    ],
)
def test_the_clocks_own_words(result: int, status: int, wanted: bool) -> None:
    assert judge(result, status) is wanted


def test_this_machine_can_be_read() -> None:
    facts = read_facts()
    assert facts.cpu_threads >= 1
    assert facts.memory > 2**20
    assert facts == read_facts()
