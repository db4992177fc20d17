# SPDX-License-Identifier: Apache-2.0
"""What a VM's status says of it."""

from typing import Any

import pytest

from nopal_api.conditions import Condition
from nopal_node.hypervisor.base import DomainState
from nopal_node.reconcile.memory import VmMemory
from nopal_node.reconcile.virtual_machine import UNKNOWN, Plan, Seen, VmView, plan
from nopal_node.reconcile.vm_status import vm_status
from nopal_runtime.errors import NopalError, TerminalError, TransientError
from support.nodeplan import TIME, assignment, domain, seen, told, vm


def tell(view: VmView, now: Seen, problem: NopalError | None = None) -> dict[str, Any]:
    status = vm_status(view, now, plan(view, now), problem=problem)
    assert status is not None
    return status


def found(status: dict[str, Any], kind: str) -> Condition:
    (condition,) = [c for c in status["conditions"] if c.type == kind]
    assert isinstance(condition, Condition)
    return condition


def test_a_running_guest() -> None:
    status = tell(vm(), seen(domain()))
    assert status["power"] == "Running"
    assert (status["observedEpoch"], status["observedGeneration"]) == (1, 3)
    assert found(status, "Ready").status == "True"
    assert found(status, "DisksReady").status == "True"
    assert all(c.observed_generation == 3 for c in status["conditions"])
    assert not {"releasedEpoch", "restartCount", "lastExit"} & set(status)


def test_a_running_guest_is_told_the_same_whenever_it_is_looked_at() -> None:
    memory = VmMemory(epoch=1, started=1.0)
    assert tell(vm(), seen(domain(), memory=memory, now=5.0)) == tell(
        vm(), seen(domain(), memory=memory, now=5000.0)
    )


def test_restarts_and_the_last_exit_stay_told() -> None:
    exit_ = {"reason": "Crashed", "time": TIME}
    view = vm(status=told("Running", lastExit=exit_, restartCount=2))
    status = tell(view, seen(domain(), memory=VmMemory(epoch=1, restarts=2)))
    assert (status["restartCount"], status["lastExit"]) == (2, exit_)


@pytest.mark.parametrize("reason", ["StorageUnreachable", "PoolFull", "ForeignWatcher", "DataLost"])
def test_what_is_wrong_with_a_disk_is_said_of_the_disks_too(reason: str) -> None:
    status = tell(vm(), seen(), TransientError(reason, "what, and the remedy"))
    assert status["power"] == "Starting"
    for kind in ("Ready", "DisksReady"):
        told_of = found(status, kind)
        assert (told_of.status, told_of.reason) == ("False", reason)
        assert told_of.message == "what, and the remedy"


def test_what_is_wrong_elsewhere_leaves_the_disks_unknown_until_they_were_looked_at() -> None:
    problem = TransientError("NetworkNotRealized", "no bridge")
    assert found(tell(vm(), seen(), problem), "DisksReady").status == "Unknown"
    known = {"type": "DisksReady", "status": "True", "reason": "Ready", "lastTransitionTime": TIME}
    view = vm(status={"assignment": assignment(), "conditions": [known]})
    assert found(tell(view, seen(), problem), "DisksReady").status == "True"


def test_a_terminal_problem_is_told_as_well() -> None:
    status = tell(vm(), seen(), TerminalError("StartFailed", "QEMU says no"))
    assert found(status, "Ready").message == "QEMU says no"


@pytest.mark.parametrize("reason", ["HypervisorUnreachable", "ForeignDomain"])
def test_unknown_is_neither_running_nor_stopped(reason: str) -> None:
    view = vm(status=told("Running", releasedEpoch=0, restartCount=3))
    now = seen(memory=VmMemory(epoch=1, restarts=3))
    status = vm_status(view, now, Plan(UNKNOWN), problem=TransientError(reason, "why"))
    assert status is not None
    assert status["power"] == "Unknown"
    assert "releasedEpoch" not in status
    assert status["restartCount"] == 3
    expected = "Unknown" if reason == "HypervisorUnreachable" else "False"
    assert found(status, "Ready").status == expected


def test_a_domain_that_is_ahead_of_the_api_is_reported() -> None:
    status = tell(vm(), seen(domain(epoch=5)))
    assert (found(status, "Ready").status, found(status, "Ready").reason) == (
        "Unknown",
        "EpochAhead",
    )
    assert "epoch 5" in found(status, "Ready").message


@pytest.mark.parametrize("state", [DomainState.PAUSED, DomainState.RUNNING])
def test_a_disk_error_is_told_the_same_while_the_guest_tries_again(state: DomainState) -> None:
    """Between two tries the guest runs for a moment: that is no news."""
    view, before = vm(), seen(domain(state=DomainState.PAUSED, io_error=True))
    made = plan(view, before)
    status = vm_status(view, seen(domain(state=state, io_error=True)), made)
    assert status is not None
    assert status["power"] == "Paused"
    assert found(status, "Ready").reason == "DiskError"


def test_nothing_is_told_without_news_unless_there_is_a_problem() -> None:
    view, now = vm(powerState="Stopped"), seen(domain())
    made = plan(view, now)
    assert not made.report
    assert vm_status(view, now, made) is None
    assert vm_status(view, now, made, problem=TransientError("Any", "thing")) is not None
