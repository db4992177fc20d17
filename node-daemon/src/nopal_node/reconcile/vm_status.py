# SPDX-License-Identifier: Apache-2.0
"""The status of a VM as its host tells it: a pure function of the plan and of what is seen."""

from typing import Any

from nopal_api.conditions import Condition, ConditionStatus, condition, find
from nopal_api.virtualmachine import LastExit, Power
from nopal_runtime.errors import NopalError

from ..hypervisor.base import DomainState
from .virtual_machine import (
    EXITED,
    HELD,
    RELEASED,
    RUNNING,
    STARTING,
    STOPPING,
    UNKNOWN,
    Plan,
    Seen,
    VmView,
)

DISK_REASONS = frozenset(
    {"AccessDenied", "CephSecretForbidden", "DataLost", "DiskNotClaimed", "DiskNotFound",
     "ForeignWatcher", "ImageConflict", "OwnershipUnclear", "ParentNotFound", "PoolFull",
     "PoolNotFound", "CephSecretNotFound", "ImageInUse", "StorageError", "StorageUnreachable",
     "WrongCluster", "ZoneNotFound"}
)  # fmt: skip
"""Reasons that are about a disk: DisksReady shows them."""


def vm_status(
    view: VmView, seen: Seen, made: Plan, *, problem: NopalError | None = None
) -> dict[str, Any] | None:
    """Return the complete set of fields of the node's field manager, None if there is no news.

    Args:
        view: the VM as the API has it.
        seen: what is known of this host.
        made: the plan that was carried out.
        problem: what stopped it, if something did.
    """
    assignment = view.status.assignment
    if assignment is None or assignment.node_name != seen.node_name:
        return None  # who does not know the current assignment writes nothing
    if not made.report and problem is None:
        return None
    released = view.status.released_epoch or 0
    if made.phase == RELEASED and problem is None:
        released = assignment.epoch
    last_exit = _last_exit(view, seen, made, problem)
    status: dict[str, Any] = {
        "power": _power(made, seen, last_exit, problem),
        "observedGeneration": view.generation,
        "observedEpoch": assignment.epoch,
        "conditions": _conditions(view, seen, made, problem, last_exit),
    }
    if released:
        status["releasedEpoch"] = released
    if seen.memory.restarts:
        status["restartCount"] = seen.memory.restarts
    if last_exit is not None:
        status["lastExit"] = last_exit.wire()
    return status


def _last_exit(view: VmView, seen: Seen, made: Plan, problem: NopalError | None) -> LastExit | None:
    if made.phase == RELEASED and not made.reason and problem is None:
        return LastExit(reason="Deleted" if view.deleting else "Requested", time=seen.time)
    return seen.memory.exit or view.status.last_exit


def _power(made: Plan, seen: Seen, last_exit: LastExit | None, problem: NopalError | None) -> Power:
    if made.phase == UNKNOWN or (problem and problem.reason == "HypervisorUnreachable"):
        return "Unknown"
    if seen.domain is not None:
        if made.phase == STOPPING:
            return "Stopping"
        if seen.domain.state is DomainState.STARTING:
            return "Starting"
        # One that was just let go on runs for a moment until the disk refuses again.
        paused = seen.domain.state is DomainState.PAUSED or made.reason == "DiskError"
        return "Paused" if paused else "Running"
    by_itself = made.phase == EXITED or (made.phase == RELEASED and made.reason)
    if by_itself and last_exit is not None and last_exit.reason != "GuestShutdown":
        return "Crashed"
    if made.phase == STARTING and seen.memory.exited is None:
        return "Starting"
    return "Stopped"


def _conditions(
    view: VmView, seen: Seen, made: Plan, problem: NopalError | None, last_exit: LastExit | None
) -> list[Condition]:
    generation = view.generation
    about_disks = problem is not None and problem.reason in DISK_REASONS
    if problem is not None and about_disks:
        disks = condition("DisksReady", False, reason=problem.reason, message=problem.message)
    elif problem is not None and made.phase in (STARTING, UNKNOWN):
        known = find(view.status.conditions, "DisksReady")
        disks = known or condition(
            "DisksReady", "Unknown", reason="Pending", message="not looked at yet"
        )
    else:
        disks = condition("DisksReady", True, reason="Ready")
    ready = _ready(view, seen, made, problem, last_exit)
    return [c.model_copy(update={"observed_generation": generation}) for c in (disks, ready)]


def _ready(
    view: VmView, seen: Seen, made: Plan, problem: NopalError | None, last_exit: LastExit | None
) -> Condition:
    if problem is not None:
        unknown = problem.reason == "HypervisorUnreachable"
        status: ConditionStatus = "Unknown" if unknown else "False"
        return condition("Ready", status, reason=problem.reason, message=problem.message)
    if made.phase == HELD:
        return condition("Ready", "Unknown", reason=made.reason, message=made.message)
    if made.phase == RUNNING and not made.reason:
        if seen.domain is not None and seen.domain.state is DomainState.PAUSED:
            message = "somebody paused the guest on its host: virsh resume lets it go on"
            return condition("Ready", False, reason="Paused", message=message)
        return condition("Ready", True, reason="Running")
    if made.phase == STOPPING:
        grace = view.spec.shutdown.grace_period_seconds
        message = f"the guest was asked to shut down; it is powered off {grace} s after that"
        return condition("Ready", False, reason="Stopping", message=message)
    if made.phase == EXITED:
        message = f"{_how(last_exit)}; {made.message}"
        return condition("Ready", False, reason=made.reason, message=message)
    if made.phase == RELEASED and made.reason:
        message = (
            f"{_how(last_exit)} and restartPolicy is {view.spec.restart_policy}: set powerState to"
            " Stopped and then to Running to start it again"
        )
        return condition("Ready", False, reason=made.reason, message=message)
    reason = {RELEASED: "Stopped", STARTING: "Starting"}.get(made.phase, made.reason or made.phase)
    return condition("Ready", False, reason=reason, message=made.message)


def _how(last_exit: LastExit | None) -> str:
    match last_exit.reason if last_exit else "Unknown":
        case "GuestShutdown":
            return "the guest shut itself down"
        case "Crashed":
            return "the guest's QEMU process died"
        case _:
            return "the guest was found gone"
