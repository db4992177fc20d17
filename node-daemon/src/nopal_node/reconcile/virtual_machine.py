# SPDX-License-Identifier: Apache-2.0
"""What to do next for one VM on this host: a pure function of what is wanted and what is seen.

The rules that keep a VM from running twice are here and in the steps' effects:
  - only the assigned host starts it, only at an epoch that it has not released;
  - a domain of a higher epoch than the API knows is left alone (a restored etcd);
  - a domain of a lower epoch is superseded and powered off before anything else.
"""

from dataclasses import dataclass

from nopal_api.virtualmachine import (
    Assignment,
    ExitReason,
    VirtualMachineSpec,
    VirtualMachineStatus,
)

from ..hypervisor.base import Domain, DomainState, Exit
from . import steps as do
from .memory import VmMemory

STOPPING_AFTER_SECONDS = 2.0
"""A shutdown that takes longer is worth a word in the status."""
LOOK_AGAIN_SECONDS = 1.0
"""Between two looks at a start that somebody else began."""
RESUME_SECONDS = 10.0
"""How often a guest that is paused on an I/O error may try again."""
RESUMED_AFTER_SECONDS = 3.0
"""A guest that runs so long after it was let go on does not hang on that error any more."""
_HAS_RUN = frozenset({"Running", "Paused", "Stopping", "Stopped", "Crashed"})
"""Words of status.power that a guest has only after it was started at that epoch."""


@dataclass(frozen=True, slots=True)
class VmView:
    """A VM as the API has it."""

    namespace: str
    name: str
    uid: str
    generation: int
    deleting: bool
    spec: VirtualMachineSpec
    status: VirtualMachineStatus


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of this host right now. `domain` None means known to be absent."""

    node_name: str
    domain: Domain | None
    last_exit: Exit | None
    memory: VmMemory
    now: float
    """Monotonic seconds."""
    time: str
    """The same moment on the wall clock, RFC 3339: for people."""
    backoff_base: float
    """Seconds before the second restart in a row."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The next steps, and what the status says once they are done."""

    phase: str
    """One of the phases below: what the VM is doing on this host."""
    steps: tuple[do.Step, ...] = ()
    wait: float | None = None
    """Seconds after which to look again though nothing happened."""
    reason: str = ""
    message: str = ""
    report: bool = True
    """Whether the status has news to tell."""


ELSEWHERE, RUNNING, STOPPING, EXITED, RELEASED, HELD, STARTING, SUPERSEDED, UNKNOWN = (
    "Elsewhere", "Running", "Stopping", "Exited", "Released", "Held", "Starting", "Superseded",
    "Unknown",
)  # fmt: skip


def plan(view: VmView, seen: Seen) -> Plan:
    """Return the next steps for the VM on this host."""
    assignment, domain = view.status.assignment, seen.domain
    if assignment is None or assignment.node_name != seen.node_name:
        return _not_ours(assignment, domain)
    if domain is not None and domain.ownership.epoch > assignment.epoch and not view.deleting:
        return _held(domain, assignment)
    if domain is not None and domain.ownership.epoch < assignment.epoch:
        # Forgotten too, so that its end is not taken for an exit of the next guest.
        return Plan(SUPERSEDED, (do.DestroyDomain(), do.ForgetDomain()), wait=0, report=False)
    released = (view.status.released_epoch or 0) >= assignment.epoch
    if released and domain is None:
        # A stop that was asked for after the guest had gone by itself is to be acknowledged.
        exit_reason = view.status.last_exit.reason if view.status.last_exit else None
        news = view.spec.power_state == "Stopped" and exit_reason != "Requested"
        return Plan(RELEASED, report=news and not view.deleting)
    if released or view.deleting or view.spec.power_state != "Running":
        return _stop(view, seen)
    if domain is None:
        return _start(view, seen, assignment)
    if domain.state is DomainState.STARTING:
        # Seen only where a daemon or a hypervisor died in the middle of a start.
        return Plan(STARTING, wait=LOOK_AGAIN_SECONDS)
    return _running(domain, seen)


def _not_ours(assignment: Assignment | None, domain: Domain | None) -> Plan:
    if domain is None:
        return Plan(ELSEWHERE, report=False)
    if assignment is None or assignment.epoch <= domain.ownership.epoch:
        return _held(domain, assignment)
    # Assigned elsewhere at a higher epoch: that only happens after this host was fenced.
    return Plan(SUPERSEDED, (do.DestroyDomain(), do.ForgetDomain()), report=False)


def _held(domain: Domain, assignment: Assignment | None) -> Plan:
    known = f"epoch {assignment.epoch}" if assignment else "no assignment"
    return Plan(
        HELD,
        reason="EpochAhead",
        message=f"the domain runs at epoch {domain.ownership.epoch} but the API knows {known}, as"
        " after a restore of etcd: it is left alone; delete the VirtualMachine, or power the"
        f" domain nopal-{domain.ownership.vm_uid} off by hand once you know which one is right",
    )


def _stop(view: VmView, seen: Seen) -> Plan:
    domain, asked = seen.domain, seen.memory.stop_asked
    if domain is None:
        return Plan(RELEASED, (do.ForgetDomain(), do.RemoveSeed()))
    grace = view.spec.shutdown.grace_period_seconds
    # A paused guest cannot react to the request.
    if grace == 0 or domain.state in (DomainState.PAUSED, DomainState.STARTING):
        return Plan(STOPPING, (do.DestroyDomain(),), wait=0, report=False)
    if asked is None:
        # Most guests are gone before anybody could read a status that says Stopping.
        wait = min(float(grace), STOPPING_AFTER_SECONDS)
        return Plan(STOPPING, (do.ShutDownDomain(),), wait=wait, report=False)
    left = asked + grace - seen.now
    if left <= 0:
        return Plan(STOPPING, (do.DestroyDomain(),), wait=0, report=False)
    # A guest that was just booting may have missed the first request: ask again.
    news = seen.now - asked >= STOPPING_AFTER_SECONDS
    return Plan(STOPPING, (do.ShutDownDomain(),), wait=min(left, 5.0), report=news)


def _running(domain: Domain, seen: Seen) -> Plan:
    resumed = seen.memory.resumed
    since = float("inf") if resumed is None else seen.now - resumed
    if domain.state is DomainState.PAUSED and domain.io_error:
        # Paced by the clock: letting it go on is itself an event, which leads back here at once.
        due = since >= RESUME_SECONDS
        return Plan(
            RUNNING,
            (do.ResumeDomain(),) if due else (),
            wait=RESUME_SECONDS if due else RESUME_SECONDS - since,
            reason="DiskError",
            message="the guest is paused because a disk refused a write: see that the pool has"
            " room and is healthy; it goes on by itself then",
        )
    if since < RESUMED_AFTER_SECONDS:
        return Plan(RUNNING, wait=RESUMED_AFTER_SECONDS - since, report=False)
    return Plan(RUNNING)


def exit_of(view: VmView, seen: Seen) -> ExitReason | None:
    """Tell how the guest went down by itself at this epoch.

    None if it has not run at this epoch yet, or went because it was asked to.
    """
    status, memory = view.status, seen.memory
    assert status.assignment is not None  # noqa: S101 - callers have looked
    ran = status.observed_epoch == status.assignment.epoch and status.power in _HAS_RUN
    if memory.exit is not None and memory.exited is not None:
        return memory.exit.reason
    by_accident = seen.last_exit in (Exit.CRASHED, Exit.ABANDONED)
    if _was_asked_to_stop(view, seen) and not by_accident:
        return None  # and has since been wanted again
    if seen.last_exit in (None, Exit.ABANDONED) and not ran and memory.started is None:
        return None  # a start that the hypervisor did not survive is no run
    match seen.last_exit:
        case Exit.GUEST_SHUTDOWN:
            return "GuestShutdown"
        case Exit.CRASHED | Exit.DESTROYED | Exit.ABANDONED:
            return "Crashed"
        case _:
            # Nobody watched. What the status said before counts, so that a restart of the daemon
            # between an exit and its restart does not change the reason.
            if status.power in ("Crashed", "Stopped") and status.last_exit is not None and ran:
                told = status.last_exit.reason
                return None if told in ("Requested", "Deleted") else told
            return "Unknown"


def _was_asked_to_stop(view: VmView, seen: Seen) -> bool:
    memory = seen.memory
    if memory.stop_asked is not None:
        return True
    grace = view.spec.shutdown.grace_period_seconds
    return memory.stop_withdrawn is not None and seen.now - memory.stop_withdrawn <= grace


def _start(view: VmView, seen: Seen, assignment: Assignment) -> Plan:
    reason = exit_of(view, seen)
    if reason is not None:
        policy = view.spec.restart_policy
        if policy == "Never" or (policy == "OnCrash" and reason == "GuestShutdown"):
            return _leave_down(view, assignment, reason)
        left = seen.memory.backoff_left(base=seen.backoff_base, now=seen.now)
        if left > 0:
            pause = seen.memory.backoff(base=seen.backoff_base)
            message = f"it is started again {pause:.0f} s after that"
            return Plan(EXITED, wait=left, reason=_words(reason), message=message)
    again = reason is not None or seen.last_exit is not None
    disks = assignment.disks
    steps: list[do.Step] = [do.ConfirmAssignment()]
    steps += [do.RequireBridge(i) for i in assignment.interfaces]
    steps += [do.EnsureDisk(d) for d in disks]
    if again:
        steps += [do.FenceDeadGuest(d) for d in disks]
    if view.spec.cloud_init is not None:
        steps.append(do.WriteSeed())
    # First the epoch, then the watchers: of two hosts that both believe to be the one, the lower
    # epoch cannot be written any more once the higher is, and the higher sees the lower's guest.
    steps += [do.ClaimEpoch(d) for d in disks]
    steps += [do.RefuseWatchers(d) for d in disks]
    steps += [do.ConfirmDisk(d) for d in disks]
    steps.append(do.StartDomain())
    return Plan(STARTING, tuple(steps), wait=0)


def _leave_down(view: VmView, assignment: Assignment, reason: ExitReason) -> Plan:
    """Release the guest, its exit told first: forgetting it loses the hypervisor's word on that."""
    status = view.status
    told = status.last_exit.reason if status.last_exit is not None else None
    here = status.observed_epoch == assignment.epoch and status.power in ("Stopped", "Crashed")
    if not here or told != reason:
        message = f"restartPolicy is {view.spec.restart_policy}, so it stays down"
        return Plan(EXITED, wait=0, reason=_words(reason), message=message)
    return Plan(RELEASED, (do.ForgetDomain(), do.RemoveSeed()), reason=_words(reason))


def _words(reason: ExitReason) -> str:
    return {"GuestShutdown": "GuestShutdown", "Crashed": "GuestCrashed"}.get(reason, "GuestGone")
