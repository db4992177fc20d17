# SPDX-License-Identifier: Apache-2.0
"""What the daemon remembers of a VM between two passes. Losing it costs time, never correctness."""

from dataclasses import dataclass, replace

from nopal_api.virtualmachine import LastExit, VirtualMachineStatus

BACKOFF_LIMIT_SECONDS = 300.0
"""The longest pause between two starts, as the kubelet's (CrashLoopBackOff)."""
STABLE_SECONDS = 600.0
"""A guest that ran this long is not in a crash loop; the kubelet takes the same 10 minutes."""


@dataclass(frozen=True, slots=True)
class VmMemory:
    """Times are monotonic seconds."""

    epoch: int = 0
    """The assignment's epoch that the rest is about."""
    stop_asked: float | None = None
    """When the guest was asked to shut down."""
    stop_withdrawn: float | None = None
    """When it was asked to shut down for a stop that was taken back while it still ran."""
    resumed: float | None = None
    """When it was last let go on after an I/O error."""
    started: float | None = None
    """When the guest was last started."""
    exited: float | None = None
    """When it was first seen to be down again."""
    exit: LastExit | None = None
    """How it went down."""
    quick_exits: int = 0
    """How often in a row it went down soon after its start."""
    restarts: int = 0
    """How often it was started again by itself at this epoch."""

    def at_epoch(self, epoch: int, status: VirtualMachineStatus) -> "VmMemory":
        """Return the memory for that epoch.

        Another assignment starts afresh; another life of the daemon goes on with what the status
        tells.
        """
        if self.epoch == epoch:
            return self
        told = status.restart_count or 0
        return VmMemory(epoch=epoch, restarts=told if status.observed_epoch == epoch else 0)

    def saw_exit(self, last_exit: LastExit, *, now: float) -> "VmMemory":
        """Note that the guest is down; only the first sight counts."""
        if self.exited is not None:
            return self
        stable = self.started is not None and now - self.started >= STABLE_SECONDS
        quick = 1 if stable else self.quick_exits + 1
        return replace(self, exited=now, exit=last_exit, quick_exits=quick)

    def was_started(self, *, now: float) -> "VmMemory":
        """Note that the guest was started, for the first time or again."""
        again = 1 if self.exited is not None else 0
        return replace(
            self,
            started=now,
            exited=None,
            stop_asked=None,
            stop_withdrawn=None,
            resumed=None,
            restarts=self.restarts + again,
        )

    def was_asked_to_stop(self, *, now: float) -> "VmMemory":
        """Note when the guest was first asked to shut down."""
        return self if self.stop_asked is not None else replace(self, stop_asked=now)

    def is_wanted_running(self) -> "VmMemory":
        """Note that a guest that was asked to shut down is to run after all.

        The next stop has its full grace period; that the guest goes down now is still our doing.
        """
        if self.stop_asked is None:
            return self
        return replace(self, stop_asked=None, stop_withdrawn=self.stop_asked)

    def was_resumed(self, *, now: float) -> "VmMemory":
        """Note that the guest was let go on after an I/O error."""
        return replace(self, resumed=now)

    def backoff(self, *, base: float) -> float:
        """Return the seconds between an exit and the next start: 0, then base, doubled to 300 s."""
        if self.quick_exits <= 1:
            return 0.0
        return min(base * 2.0 ** min(self.quick_exits - 2, 30), BACKOFF_LIMIT_SECONDS)

    def backoff_left(self, *, base: float, now: float) -> float:
        """Return the seconds until the guest may be started again."""
        if self.exited is None:
            return 0.0
        return max(0.0, self.exited + self.backoff(base=base) - now)
