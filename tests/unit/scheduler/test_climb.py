# SPDX-License-Identifier: Apache-2.0
"""Single moves by the whole score, at the end of a plan."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nopal_scheduler.model import Cluster, Room, Rule, RuleKind
from nopal_scheduler.moving.balance import balance
from nopal_scheduler.moving.climb import climb
from nopal_scheduler.moving.course import Course
from nopal_scheduler.moving.measure import score
from nopal_scheduler.moving.plan import Limits
from nopal_scheduler.moving.score import DEFAULT_WEIGHTS
from nopal_scheduler.moving.steps import Steps
from nopal_scheduler.state import State
from support.balancing import QUICK, NothingToB, full, host, singles, steps, vm


def nothing_is_left(cluster: Cluster, limits: Limits) -> None:
    """No move of one that has not moved wins what a move must win."""
    plan = balance(State(cluster), limits)
    end = cluster
    for _, _, after in steps(cluster, plan):
        end = after
    places = {vm.name: vm.host for vm in end.vms}
    gone = {move.vm for move in plan.moves}
    total = score(State(end)).total
    assert total == pytest.approx(plan.after.total, abs=1e-7)
    least = limits.gain / max(1, sum(not host.refusal for host in cluster.hosts))
    for after in singles(end):
        name = next(vm.name for vm in after.vms if vm.host != places[vm.name])
        assert name in gone or total - score(State(after)).total < least + 1e-7


@pytest.mark.slow
@QUICK
@given(seed=st.integers(0, 2**32), hosts=st.integers(4, 6), ruled=st.booleans())
def test_no_single_move_above_the_threshold_is_left(seed: int, hosts: int, ruled: bool) -> None:
    chance = Random(seed)  # noqa: S311 - loads, not secrets
    cluster = full(chance, hosts, failures=0)
    apart = Rule(RuleKind.ANTI_AFFINITY, (("app", "db"),))
    some = {vm.name for vm in cluster.vms if ruled and chance.random() < 0.3}
    db = {"labels": {"app": "db"}, "rules": (apart,)}
    vms = (replace(vm, **db) if vm.name in some else vm for vm in cluster.vms)  # type: ignore[arg-type]
    nothing_is_left(replace(cluster, vms=tuple(vms)), Limits(effort=1000))


def test_a_host_that_cannot_be_emptied_does_not_cost_the_whole_plan() -> None:
    """What is most even leaves no room for the large ones elsewhere; one move less does."""
    sizes = {"a": (2, 4), "b": (16, 4, 2, 8, 8), "c": (32, 32), "d": (2, 40, 16, 2)}
    vms = (vm(f"{at}{i}", at, size) for at, there in sizes.items() for i, size in enumerate(there))
    cluster = Cluster(tuple(host(name, memory=64) for name in sizes), tuple(vms))
    plan = balance(State(cluster))
    assert ("d2", "a") in [(move.vm, move.target) for move in plan.moves]
    assert plan.after.stuck == 0
    assert plan.after.total < 0.7 * plan.before.total


def test_what_climbs_is_asked_of_the_proof_and_stops_at_what_is_enough() -> None:
    hosts = (host("a"), host("b"), host("c", allocated=Room(1, 0)))
    state = State(Cluster(hosts, (vm("v1", "a"), vm("v2", "a"))))

    def climbed(limits: Limits) -> list[tuple[str, str]]:
        steps = Steps(Course(state, DEFAULT_WEIGHTS, NothingToB), limits)
        climb(steps)
        return [(move.vm, move.target) for move in steps.moves]

    assert climbed(Limits()) == [("v1", "c")]
    assert climbed(Limits(moves=0)) == []
    assert climbed(Limits(enough=1.0)) == []
    assert climbed(Limits(gain=5.0)) == []
