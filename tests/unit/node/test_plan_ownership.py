# SPDX-License-Identifier: Apache-2.0
"""The rules of a VM's plan that keep it from running twice."""

import pytest

from nopal_node.hypervisor.base import DomainState
from nopal_node.reconcile import steps as do
from nopal_node.reconcile.virtual_machine import (
    ELSEWHERE,
    HELD,
    RELEASED,
    STARTING,
    STOPPING,
    SUPERSEDED,
    plan,
)
from nopal_node.reconcile.vm_status import vm_status
from support.nodeplan import OTHER, assignment, domain, seen, told, vm


@pytest.mark.parametrize("status", [{}, {"assignment": assignment(node=OTHER)}])
def test_a_vm_that_is_not_assigned_here_is_not_started(status: dict[str, object]) -> None:
    made = plan(vm(status=status), seen())
    assert (made.phase, made.steps, made.report) == (ELSEWHERE, (), False)


@pytest.mark.parametrize(
    "status",
    [{}, {"assignment": assignment(node=OTHER, epoch=1)}],
    ids=["no assignment", "elsewhere at the same epoch"],
)
def test_a_domain_that_the_api_does_not_supersede_is_left_alone(status: dict[str, object]) -> None:
    made = plan(vm(status=status), seen(domain(epoch=1)))
    assert (made.phase, made.steps) == (HELD, ())


def test_a_domain_that_is_superseded_elsewhere_is_powered_off() -> None:
    made = plan(vm(status={"assignment": assignment(node=OTHER, epoch=2)}), seen(domain(epoch=1)))
    assert made.phase == SUPERSEDED
    assert made.steps == (do.DestroyDomain(), do.ForgetDomain())


def test_a_domain_of_a_higher_epoch_is_left_alone() -> None:
    made = plan(vm(), seen(domain(epoch=2)))
    assert (made.phase, made.steps, made.reason) == (HELD, (), "EpochAhead")
    assert "virsh" in made.message or "by hand" in made.message


@pytest.mark.parametrize("power", ["Running", "Stopped"])
def test_a_domain_of_a_higher_epoch_is_not_even_stopped(power: str) -> None:
    assert plan(vm(powerState=power), seen(domain(epoch=2))).phase == HELD


def test_a_domain_of_a_higher_epoch_goes_when_its_vm_is_deleted() -> None:
    made = plan(vm(deleting=True), seen(domain(epoch=2)))
    assert (made.phase, made.steps) == (STOPPING, (do.ShutDownDomain(),))


def test_a_domain_of_a_lower_epoch_goes_before_anything_else_and_is_no_exit() -> None:
    view = vm(status={"assignment": assignment(epoch=2)})
    made = plan(view, seen(domain(epoch=1)))
    assert made.phase == SUPERSEDED
    assert made.steps == (do.DestroyDomain(), do.ForgetDomain())
    assert made.wait == 0
    assert not made.report


@pytest.mark.parametrize("released", [1, 2])
def test_a_released_epoch_is_never_started_again(released: int) -> None:
    made = plan(vm(status=told("Stopped", releasedEpoch=released)), seen())
    assert (made.phase, made.steps, made.report) == (RELEASED, (), False)


def test_a_newer_epoch_than_the_released_one_is_started() -> None:
    view = vm(status={"assignment": assignment(epoch=2), "releasedEpoch": 1})
    assert plan(view, seen()).phase == STARTING


def test_a_guest_that_runs_at_a_released_epoch_is_stopped() -> None:
    made = plan(vm(status=told("Stopped", releasedEpoch=1)), seen(domain()))
    assert (made.phase, made.steps) == (STOPPING, (do.ShutDownDomain(),))


def test_a_start_asks_the_api_first() -> None:
    made = plan(vm(), seen())
    assert made.steps[0] == do.ConfirmAssignment()
    assert made.steps[-1] == do.StartDomain()


def test_a_start_claims_the_epoch_of_every_disk_and_then_looks_for_watchers() -> None:
    view = vm()
    made = plan(view, seen())
    (disk,) = view.status.assignment.disks if view.status.assignment else ()
    (interface,) = view.status.assignment.interfaces if view.status.assignment else ()
    order = [
        do.RequireBridge(interface),
        do.EnsureDisk(disk),
        do.ClaimEpoch(disk),
        do.RefuseWatchers(disk),
        do.ConfirmDisk(disk),
        do.StartDomain(),
    ]
    places = [made.steps.index(step) for step in order]
    assert places == sorted(places)


def test_no_lock_is_broken_at_a_first_start() -> None:
    kinds = {type(step) for step in plan(vm(), seen()).steps}
    assert do.FenceDeadGuest not in kinds


def test_the_seed_is_written_only_for_a_vm_with_cloud_init() -> None:
    assert do.WriteSeed() not in plan(vm(), seen()).steps
    assert do.WriteSeed() in plan(vm(cloudInit={"userData": "#cloud-config"}), seen()).steps


@pytest.mark.parametrize("state", list(DomainState))
def test_who_does_not_know_the_assignment_tells_nothing(state: DomainState) -> None:
    for status in ({}, {"assignment": assignment(node=OTHER)}):
        view, now = vm(status=status), seen(domain(state=state))
        assert vm_status(view, now, plan(view, now)) is None
