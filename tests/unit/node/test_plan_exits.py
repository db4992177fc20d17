# SPDX-License-Identifier: Apache-2.0
"""A guest that goes down by itself: told apart, started again with back-off, or left down."""

import pytest

from nopal_api.virtualmachine import LastExit
from nopal_node.hypervisor.base import DomainState, Exit
from nopal_node.reconcile import steps as do
from nopal_node.reconcile.memory import VmMemory
from nopal_node.reconcile.virtual_machine import (
    EXITED,
    RELEASED,
    RUNNING,
    STARTING,
    exit_of,
    plan,
)
from nopal_node.reconcile.vm_status import vm_status
from support.nodeplan import TIME, assignment, domain, seen, told, vm

RAN = VmMemory(epoch=1, started=900.0)


def crashed(reason: str) -> VmMemory:
    return RAN.saw_exit(LastExit.model_validate({"reason": reason, "time": TIME}), now=1000.0)


@pytest.mark.parametrize(
    ("last_exit", "reason"),
    [
        (Exit.GUEST_SHUTDOWN, "GuestShutdown"),
        (Exit.CRASHED, "Crashed"),
        (Exit.DESTROYED, "Crashed"),
        (Exit.ABANDONED, "Crashed"),
        (Exit.UNKNOWN, "Unknown"),
        (None, "Unknown"),
    ],
)
def test_the_hypervisor_tells_how_it_went(last_exit: Exit | None, reason: str) -> None:
    assert exit_of(vm(status=told("Running")), seen(last_exit=last_exit, memory=RAN)) == reason


@pytest.mark.parametrize("status", [None, told("Starting"), told("Running", epoch=7)])
def test_a_guest_that_never_ran_at_this_epoch_has_not_exited(status: object) -> None:
    """Starting is told while a first start is hindered; another epoch's run does not count."""
    assert exit_of(vm(status=status), seen()) is None


def test_a_start_that_the_hypervisor_did_not_survive_is_begun_anew() -> None:
    view = vm(restartPolicy="Never")
    made = plan(view, seen(last_exit=Exit.ABANDONED))
    assert made.phase == STARTING
    assert do.FenceDeadGuest in [type(step) for step in made.steps], "its QEMU may hold a lock"
    ran = plan(vm(restartPolicy="Never", status=told("Running")), seen(last_exit=Exit.ABANDONED))
    assert ran.phase == EXITED


def test_a_start_in_between_is_not_told_as_a_run() -> None:
    view = vm(restartPolicy="Never")
    now = seen(domain(state=DomainState.STARTING))
    made = plan(view, now)
    assert made.steps == ()
    assert made.wait is not None
    status = vm_status(view, now, made)
    assert status is not None
    assert status["power"] == "Starting"
    again = vm(restartPolicy="Never", status={"assignment": assignment(), **status})
    assert plan(again, seen(last_exit=Exit.ABANDONED)).phase == STARTING
    assert do.DestroyDomain() in plan(vm(powerState="Stopped"), now).steps


@pytest.mark.parametrize("power", ["Running", "Paused", "Stopping", "Crashed"])
def test_a_guest_that_was_told_to_run_at_this_epoch_has_exited(power: str) -> None:
    assert exit_of(vm(status=told(power)), seen()) == "Unknown"


def test_a_restarted_daemon_takes_the_exit_from_the_hypervisor_before_the_status_tells() -> None:
    assert exit_of(vm(), seen(last_exit=Exit.GUEST_SHUTDOWN)) == "GuestShutdown"


@pytest.mark.parametrize(
    ("reason", "still"),
    [("GuestShutdown", "GuestShutdown"), ("Crashed", "Crashed"), ("Requested", None)],
)
def test_a_restarted_daemon_goes_on_with_the_exit_that_was_told(
    reason: str, still: str | None
) -> None:
    status = told("Stopped", lastExit={"reason": reason, "time": TIME})
    assert exit_of(vm(status=status), seen()) == still


def test_the_first_sight_of_an_exit_counts() -> None:
    now = seen(last_exit=Exit.DESTROYED, memory=crashed("GuestShutdown"))
    assert exit_of(vm(), now) == "GuestShutdown"


@pytest.mark.parametrize(
    ("policy", "reason", "again"),
    [
        ("Always", "GuestShutdown", True),
        ("Always", "Crashed", True),
        ("Always", "Unknown", True),
        ("OnCrash", "GuestShutdown", False),
        ("OnCrash", "Crashed", True),
        ("OnCrash", "Unknown", True),
        ("Never", "GuestShutdown", False),
        ("Never", "Crashed", False),
        ("Never", "Unknown", False),
    ],
)
def test_the_restart_policy(policy: str, reason: str, again: bool) -> None:
    made = plan(vm(restartPolicy=policy), seen(memory=crashed(reason)))
    assert (made.phase == STARTING) == again


def test_what_is_left_down_is_told_first_and_released_then() -> None:
    """Forgetting the domain loses the hypervisor's word on how it went."""
    view, now = vm(restartPolicy="OnCrash"), seen(memory=crashed("GuestShutdown"))
    first = plan(view, now)
    assert (first.phase, first.steps, first.wait) == (EXITED, (), 0)
    status = vm_status(view, now, first)
    assert status is not None
    assert "releasedEpoch" not in status
    assert status["lastExit"]["reason"] == "GuestShutdown"

    view = vm(restartPolicy="OnCrash", status={"assignment": assignment(), **status})
    second = plan(view, seen())  # even a new life of the daemon, with the domain forgotten
    assert (second.phase, second.reason) == (RELEASED, "GuestShutdown")
    assert second.steps == (do.ForgetDomain(), do.RemoveSeed())
    status = vm_status(view, seen(), second)
    assert status is not None
    assert (status["releasedEpoch"], status["power"]) == (1, "Stopped")
    assert status["lastExit"]["reason"] == "GuestShutdown"
    ready = next(c for c in status["conditions"] if c.type == "Ready")
    assert ready.reason == "GuestShutdown"
    assert "powerState" in ready.message


def test_another_start_frees_the_disks_of_the_dead_guest_first() -> None:
    view = vm()
    steps = plan(view, seen(memory=crashed("Crashed"))).steps
    (disk,) = view.status.assignment.disks if view.status.assignment else ()
    assert steps.index(do.FenceDeadGuest(disk)) < steps.index(do.ClaimEpoch(disk))


def test_the_first_restart_is_at_once_the_next_ones_wait() -> None:
    memory, pauses = VmMemory(epoch=1), []
    for turn in range(8):
        memory = memory.was_started(now=turn * 100.0)
        exit_ = LastExit(reason="Crashed", time=TIME)
        memory = memory.saw_exit(exit_, now=turn * 100.0 + 1)
        pauses.append(memory.backoff_left(base=10.0, now=turn * 100.0 + 1))
    assert pauses == [0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert memory.restarts == 7


def test_a_guest_that_was_stable_starts_the_count_anew() -> None:
    memory = crashed("Crashed").was_started(now=1000.0)
    memory = memory.saw_exit(LastExit(reason="Crashed", time=TIME), now=1600.0)
    assert memory.backoff_left(base=10.0, now=1600.0) == 0.0


def test_backing_off_is_told_with_words_that_stay_the_same() -> None:
    memory = crashed("Crashed").was_started(now=1000.0)
    memory = memory.saw_exit(LastExit(reason="Crashed", time=TIME), now=1001.0)
    view, texts = vm(), set()
    for now in (1001.0, 1004.0, 1010.0):
        looked = seen(memory=memory, now=now)
        made = plan(view, looked)
        assert made.phase == EXITED
        assert made.wait == 1011.0 - now
        status = vm_status(view, looked, made)
        assert status is not None
        assert status["power"] == "Crashed"
        texts.add(str(status))
    assert len(texts) == 1
    assert plan(view, seen(memory=memory, now=1011.0)).phase == STARTING


def test_another_epoch_forgets_the_restarts_and_another_life_of_the_daemon_does_not() -> None:
    status = vm(status=told("Running", restartCount=5)).status
    assert VmMemory().at_epoch(1, status).restarts == 5
    assert VmMemory(epoch=1, restarts=7).at_epoch(1, status).restarts == 7
    assert VmMemory(epoch=1, restarts=7).at_epoch(2, status).restarts == 0


def test_a_guest_that_a_disk_refused_is_let_go_on_at_a_steady_pace() -> None:
    """Letting it go on is an event that leads to the next plan at once."""
    paused = domain(state=DomainState.PAUSED, io_error=True)
    first = plan(vm(), seen(paused, now=1000.0))
    assert (first.phase, first.steps, first.reason) == (RUNNING, (do.ResumeDomain(),), "DiskError")
    resumed = VmMemory(epoch=1).was_resumed(now=1000.0)
    second = plan(vm(), seen(paused, memory=resumed, now=1004.0))
    assert (second.steps, second.wait) == ((), 6.0)
    assert plan(vm(), seen(paused, memory=resumed, now=1010.0)).steps == (do.ResumeDomain(),)


def test_a_guest_that_was_let_go_on_is_well_only_after_a_while() -> None:
    resumed = VmMemory(epoch=1).was_resumed(now=1000.0)
    assert not plan(vm(), seen(domain(), memory=resumed, now=1001.0)).report
    assert plan(vm(), seen(domain(), memory=resumed, now=1003.0)).report


def test_a_guest_that_somebody_paused_is_not_touched() -> None:
    view, now = vm(), seen(domain(state=DomainState.PAUSED))
    made = plan(view, now)
    assert made.steps == ()
    status = vm_status(view, now, made)
    assert status is not None
    assert status["power"] == "Paused"
    assert [c.reason for c in status["conditions"] if c.type == "Ready"] == ["Paused"]
