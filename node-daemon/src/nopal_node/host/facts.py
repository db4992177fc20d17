# SPDX-License-Identifier: Apache-2.0
"""What this machine is, read from the kernel: steady values only, nothing that changes by itself.

Uptime, load and free memory are left out on purpose: they would make every status another one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nopal_runtime.errors import TransientError

from .clock import clock_synchronized


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The machine as a place for guests. None stands for "unknown"."""

    cpu_threads: int
    """Hardware threads that are online."""
    memory: int
    """All memory in bytes, as the kernel counts it."""
    kernel: str
    """Release of the kernel, for example 6.1.0-18-amd64."""
    boot_id: str
    """Another one after each boot."""
    bridge_filter: bool | None = None
    """Whether iptables sees what crosses a bridge (net.bridge.bridge-nf-call-iptables)."""
    clock_synchronized: bool | None = None
    """Whether the kernel's clock is held by a time server."""


def read_facts(
    proc: Path = Path("/proc"), *, clock: Callable[[], bool | None] = clock_synchronized
) -> HostFacts:
    """Read the facts.

    Args:
        proc: Where procfs is.
        clock: Tells whether the clock is synchronized.

    Raises:
        TransientError: reason HostUnreadable, when procfs cannot be read.
    """
    try:
        return HostFacts(
            cpu_threads=_threads((proc / "stat").read_text()),
            memory=_memory((proc / "meminfo").read_text()),
            kernel=(proc / "sys/kernel/osrelease").read_text().strip(),
            boot_id=(proc / "sys/kernel/random/boot_id").read_text().strip(),
            bridge_filter=_bridge_filter(proc / "sys/net/bridge/bridge-nf-call-iptables"),
            clock_synchronized=clock(),
        )
    except (OSError, ValueError) as error:
        raise TransientError(
            "HostUnreadable", f"the machine's facts cannot be read from {proc}: {error}"
        ) from error


def _threads(stat: str) -> int:
    """Count cpu0, cpu1...: the threads of the machine, whatever this process may use of them."""
    words = (line.split(maxsplit=1)[0] for line in stat.splitlines() if line)
    count = sum(word.startswith("cpu") and word != "cpu" for word in words)
    if not count:
        raise ValueError("stat names no cpu")
    return count


def _memory(meminfo: str) -> int:
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    raise ValueError("meminfo has no MemTotal")


def _bridge_filter(path: Path) -> bool:
    try:
        return path.read_text().strip() != "0"
    except FileNotFoundError:
        # The module br_netfilter is not loaded: nothing filters.
        return False
