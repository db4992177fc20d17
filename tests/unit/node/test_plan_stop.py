# SPDX-License-Identifier: Apache-2.0
"""Stopping a VM: asked, then powered off, then released."""

from typing import Any

import pytest

from nopal_node.hypervisor.base import DomainState, Exit
from nopal_node.reconcile import steps as do
from nopal_node.reconcile.memory import VmMemory
from nopal_node.reconcile.virtual_machine import (
    RELEASED,
    RUNNING,
    STARTING,
    STOPPING,
    exit_of,
    plan,
)
from nopal_node.reconcile.vm_status import vm_status
from nopal_runtime.errors import TransientError
from support.nodeplan import assignment, domain, seen, told, vm

ASKED = VmMemory(epoch=1, stop_asked=1000.0)
STOPS: list[dict[str, Any]] = [{"powerState": "Stopped"}, {"deleting": True}]


@pytest.mark.parametrize("how", STOPS)
def test_the_guest_is_asked_first(how: dict[str, Any]) -> None:
    made = plan(vm(**how), seen(domain()))
    assert (made.phase, made.steps) == (STOPPING, (do.ShutDownDomain(),))
    assert made.wait is not None
    assert 0 < made.wait <= 60
    assert not made.report  # most guests are gone before anybody could read it


def test_a_guest_that_takes_long_is_asked_again_and_the_status_says_stopping() -> None:
    view, now = vm(powerState="Stopped"), seen(domain(), memory=ASKED, now=1010.0)
    made = plan(view, now)
    assert made.steps == (do.ShutDownDomain(),)
    status = vm_status(view, now, made)
    assert status is not None
    assert status["power"] == "Stopping"
    assert "releasedEpoch" not in status


@pytest.mark.parametrize("how", STOPS)
def test_the_guest_is_powered_off_after_the_grace_period(how: dict[str, Any]) -> None:
    view = vm(**how, shutdown={"gracePeriodSeconds": 30})
    assert plan(view, seen(domain(), memory=ASKED, now=1029.0)).steps == (do.ShutDownDomain(),)
    made = plan(view, seen(domain(), memory=ASKED, now=1030.0))
    assert (made.steps, made.wait) == ((do.DestroyDomain(),), 0)


def test_the_wait_ends_with_the_grace_period() -> None:
    view = vm(powerState="Stopped", shutdown={"gracePeriodSeconds": 30})
    assert plan(view, seen(domain(), memory=ASKED, now=1028.0)).wait == 2.0


@pytest.mark.parametrize("how", STOPS)
def test_without_grace_it_is_powered_off_at_once(how: dict[str, Any]) -> None:
    view = vm(**how, shutdown={"gracePeriodSeconds": 0})
    assert plan(view, seen(domain())).steps == (do.DestroyDomain(),)


def test_a_paused_guest_cannot_hear_the_request() -> None:
    made = plan(vm(powerState="Stopped"), seen(domain(state=DomainState.PAUSED)))
    assert made.steps == (do.DestroyDomain(),)


@pytest.mark.parametrize(
    ("how", "reason"), [(STOPS[0], "Requested"), (STOPS[1], "Deleted")], ids=["stop", "delete"]
)
def test_when_it_is_gone_all_is_tidied_and_the_epoch_released(
    how: dict[str, Any], reason: str
) -> None:
    view, now = vm(**how, status=told("Running")), seen()
    made = plan(view, now)
    assert (made.phase, made.steps) == (RELEASED, (do.ForgetDomain(), do.RemoveSeed()))
    status = vm_status(view, now, made)
    assert status is not None
    assert (status["power"], status["releasedEpoch"]) == ("Stopped", 1)
    assert status["lastExit"]["reason"] == reason


def test_what_is_not_tidied_is_not_released_and_says_no_new_time() -> None:
    """A new time at every try would be an event, and so the next try, for ever."""
    view, now = vm(deleting=True, status=told("Running")), seen()
    problem = TransientError("StorageUnreachable", "Ceph does not answer")
    status = vm_status(view, now, plan(view, now), problem=problem)
    assert status is not None
    assert "releasedEpoch" not in status
    assert "lastExit" not in status


def test_an_earlier_release_is_told_on() -> None:
    """Who leaves a field out of an apply removes it."""
    status = told("Running", epoch=3, releasedEpoch=2, assignment=assignment(epoch=3))
    view, now = vm(status=status), seen(domain(epoch=3), memory=VmMemory(epoch=3))
    told_next = vm_status(view, now, plan(view, now))
    assert told_next is not None
    assert told_next["releasedEpoch"] == 2


def test_a_stop_asked_for_after_the_guest_had_gone_is_acknowledged_once() -> None:
    exit_ = {"reason": "GuestShutdown", "time": "2026-01-01T00:00:00Z"}
    view = vm(powerState="Stopped", status=told("Stopped", releasedEpoch=1, lastExit=exit_))
    made = plan(view, seen())
    assert made.report
    status = vm_status(view, seen(), made)
    assert status is not None
    assert status["lastExit"]["reason"] == "Requested"
    done = vm(
        powerState="Stopped", status=told("Stopped", releasedEpoch=1, lastExit=status["lastExit"])
    )
    assert not plan(done, seen()).report


def test_a_stopped_vm_that_is_deleted_is_told_nothing_more() -> None:
    exit_ = {"reason": "Deleted", "time": "2026-01-01T00:00:00Z"}
    view = vm(
        powerState="Stopped", deleting=True, status=told("Stopped", releasedEpoch=1, lastExit=exit_)
    )
    assert not plan(view, seen()).report


def test_a_stop_that_is_taken_back_while_the_guest_runs_leaves_it_running() -> None:
    assert plan(vm(), seen(domain(), memory=ASKED)).phase == RUNNING


@pytest.mark.parametrize("policy", ["Always", "OnCrash", "Never"])
def test_a_guest_that_goes_down_by_a_stop_that_was_taken_back_is_started_again(policy: str) -> None:
    view = vm(restartPolicy=policy, status=told("Running"))
    for memory in (ASKED, ASKED.is_wanted_running()):
        now = seen(memory=memory, last_exit=Exit.GUEST_SHUTDOWN, now=1010.0)
        assert exit_of(view, now) is None
        assert plan(view, now).phase == STARTING


def test_a_stop_that_was_taken_back_long_ago_excuses_nothing() -> None:
    view = vm(restartPolicy="OnCrash", status=told("Running"))
    now = seen(memory=ASKED.is_wanted_running(), last_exit=Exit.GUEST_SHUTDOWN, now=1061.0)
    assert exit_of(view, now) == "GuestShutdown"


def test_a_stop_that_was_taken_back_does_not_shorten_the_next_one() -> None:
    memory = ASKED.is_wanted_running()
    made = plan(vm(powerState="Stopped"), seen(domain(), memory=memory, now=5000.0))
    assert made.steps == (do.ShutDownDomain(),)
