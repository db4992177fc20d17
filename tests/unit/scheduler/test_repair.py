# SPDX-License-Identifier: Apache-2.0
"""Moves that give a zone its proof back."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nopal_scheduler.model import Cluster, Redundancy
from nopal_scheduler.moving.balance import balance
from nopal_scheduler.moving.course import Course
from nopal_scheduler.moving.plan import Limits, Move
from nopal_scheduler.moving.score import DEFAULT_WEIGHTS
from nopal_scheduler.scheduler import prover_for
from nopal_scheduler.state import State
from support.balancing import EAGER, QUICK, full, host, is_right, singles, steps, vm


def survives(cluster: Cluster) -> bool:
    """Whether any host may be lost, by memory alone: every way to restart is tried."""
    used = {
        h.name: sum(v.needs.memory for v in cluster.vms if v.host == h.name) for h in cluster.hosts
    }

    def goes(lost: list[int], left: list[int]) -> bool:
        if not lost:
            return True
        return any(
            goes(lost[1:], [*left[:i], room - lost[0], *left[i + 1 :]])
            for i, room in enumerate(left)
            if room >= lost[0]
        )

    return all(
        goes(
            sorted((v.needs.memory for v in cluster.vms if v.host == gone.name), reverse=True),
            [h.capacity.memory - used[h.name] for h in cluster.hosts if h is not gone],
        )
        for gone in cluster.hosts
    )


@pytest.mark.slow
@QUICK
@given(seed=st.integers(0, 2**32))
def test_where_one_move_gives_the_proof_it_is_found(seed: int) -> None:
    cluster = full(Random(seed), 4, failures=1)  # noqa: S311 - loads, not secrets
    if survives(cluster) or not any(map(survives, singles(cluster))):
        return
    plan = balance(State(cluster), replace(EAGER, moves=1))
    assert plan.before.unproven > plan.after.unproven == 0
    assert [survives(after) for _, _, after in steps(cluster, plan)] == [True]


def tight(hosts: int) -> Cluster:
    """Every second host has one that fits nowhere else, until one of the others makes room."""
    vms = [vm(f"big{i:02}", f"h{i:02}", 28) for i in range(0, hosts, 2)]
    vms += [vm(f"s{i:02}", f"h{i:02}", 8) for i in range(1, hosts, 2)]
    return Cluster(tuple(host(f"h{i:02}", memory=32) for i in range(hosts)), tuple(vms))


@pytest.mark.parametrize("hosts", [4, 30])
def test_debt_is_paid_in_zones_of_any_size(hosts: int) -> None:
    """One host without its small one is room for the large one of each of the others."""
    cluster = replace(tight(hosts), redundancy=Redundancy(1))
    plan = balance(State(cluster), Limits(gain=1.5))
    assert plan.before.unproven == hosts // 2
    assert plan.after.unproven == 0
    assert len(plan.moves) == 1


def test_debt_is_paid_by_two_moves_where_one_does_not() -> None:
    """Both small ones have to leave b, and nobody has room for both."""
    hosts = tuple(host(name, memory=20) for name in "abcd")
    fixed = (vm("p", "c", 13, restarts=False), vm("q", "d", 13, restarts=False))
    vms = (vm("big", "a", 18), vm("x", "b", 4), vm("y", "b", 4), *fixed)
    cluster = Cluster(hosts, vms, Redundancy(1))
    assert not any(prover_for(State(each)).is_proven for each in singles(cluster))
    plan = balance(State(cluster), Limits(gain=1.5))
    assert len(plan.moves) == 2
    is_right(cluster, plan)
    assert plan.after.unproven == 0


def test_a_proof_that_a_move_gave_counts_from_there_on() -> None:
    """So that those which run at once later keep it, and taken back it is gone."""
    state = State(replace(tight(4), redundancy=Redundancy(1)))
    course = Course(state, DEFAULT_WEIGHTS, prover_for)
    assert course.move("s01", state.index["h03"]) is None
    assert course.proven
    course.undo("s01", state.index["h01"])
    assert not course.proven
    assert course.score().unproven == 2
    course.repeat(Move("s01", "h01", "h03", 0.0, 8))
    assert course.proven
    course.rewind([Move("s01", "h01", "h03", 0.0, 8)])
    assert not course.proven


def test_the_limit_of_moves_holds_for_debt() -> None:
    cluster = replace(tight(4), redundancy=Redundancy(1))
    assert balance(State(cluster), Limits(moves=0)).moves == ()
