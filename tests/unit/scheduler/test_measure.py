# SPDX-License-Identifier: Apache-2.0
"""The parts of the score that are counted: broken rules, stuck hosts, who leaves, no proof."""

from dataclasses import replace
from typing import Any

import pytest

from nopal_scheduler.model import HOST, Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.moving.measure import Measure, score
from nopal_scheduler.moving.standing import Standing
from nopal_scheduler.proving.backups.prover import BackupProver
from nopal_scheduler.proving.cases.prover import CaseProver
from nopal_scheduler.state import State

DB = (("app", "db"),)
AWAY = Rule(RuleKind.ANTI_AFFINITY, DB)
NEAR = Rule(RuleKind.AFFINITY, DB, "rack")
EVEN = Rule(RuleKind.SPREAD, DB, "rack")
HOSTS = tuple(
    Host(name, Room(64, 64), networks=frozenset(networks), labels={"rack": rack} if rack else {})
    for name, rack, networks in (
        ("a", "1", {"lan"}),
        ("b", "2", {"lan"}),
        ("c", "3", {}),
        ("d", "", {}),
    )
)


def vm(name: str, at: str, *rules: Rule, app: str = "", **more: Any) -> Vm:
    labels = {"app": app} if app else {}
    return replace(Vm(name, Room(1, 8), at, labels=labels, rules=rules), **more)


@pytest.mark.parametrize(
    ("vms", "broken"),
    [
        ((vm("v", "a", AWAY, app="db"), vm("w", "a", AWAY)), 1),
        ((vm("v", "d", replace(AWAY, topology="rack")),), 1),
        ((vm("v", "a", NEAR, app="db"),), 0),
        ((vm("v", "a", NEAR, app="db"), vm("w", "b", NEAR, app="db")), 2),
        ((vm("v", "a", NEAR), vm("w", "a", app="db")), 0),
        ((vm("v", "a", NEAR), vm("w", "b", app="db")), 1),
        (
            # Rack 3 has none, which counts for who could use it.
            (
                vm("v", "a", EVEN, app="db", networks=("lan",)),
                vm("w", "a", EVEN, app="db"),
                vm("x", "b", app="db"),
            ),
            1,
        ),
        ((vm("v", "a", replace(AWAY, weight=5)), vm("w", "a", app="db")), 0),
    ],
)
def test_required_rules_that_are_broken(vms: tuple[Vm, ...], broken: int) -> None:
    state = State(Cluster(HOSTS, vms))
    assert Standing(state).required == broken
    # And the same if they come there one by one.
    elsewhere = State(Cluster(HOSTS, tuple(replace(each, host="c") for each in vms)))
    standing = Standing(elsewhere)
    for each in vms:
        target = elsewhere.index[each.host or ""]
        before = standing.required
        change = standing.change(each, 2, target)
        assert standing.required == before, "it only looks"
        standing.move(each, 2, target)
        assert standing.required == before + change[0]
    assert standing.required == broken


def test_preferred_rules_count_by_their_weight() -> None:
    vms = (vm("v", "a", replace(AWAY, weight=5), replace(NEAR, weight=3)), vm("w", "a", app="db"))
    standing = Standing(State(Cluster(HOSTS, vms)))
    assert standing.preferred == 5
    assert standing.change(vms[1], 0, 1) == (0, -5 + 3)


def test_a_blocked_host_is_stuck_only_where_it_is_to_be_emptied() -> None:
    hosts = (replace(HOSTS[0], blocked="not ready"), replace(HOSTS[1], capacity=Room(64, 4)))
    state = State(Cluster(hosts, (vm("v", "a"),)))
    assert Measure(state).stuck() == 0
    assert Measure(state, leave=(0,)).stuck() == 1


def test_a_host_is_stuck_where_the_others_are_to_be_emptied_too() -> None:
    small = replace(HOSTS[2], capacity=Room(64, 6))
    state = State(Cluster((*HOSTS[:2], small, replace(small, name="d")), (vm("v", "a"),)))
    assert Measure(state, leave=(0,)).stuck() == 0
    assert Measure(state, leave=(0, 1)).stuck() == 1, "room for it on c and d, but in two pieces"


def test_who_may_be_moved_is_still_to_leave() -> None:
    vms = (vm("v", "a"), vm("w", "a", movable=False), vm("x", "b"))
    state = State(Cluster(HOSTS, vms))
    measure = Measure(state, leave=(0,))
    assert measure.score().leaving == 1
    for each, source, target, left in ((vms[0], 0, 2, 0), (vms[2], 1, 0, 1), (vms[1], 0, 2, 1)):
        state.remove(each.name)
        state.add(each, target)
        measure.moved(each, source, target)
        assert measure.score().leaving == left


@pytest.mark.parametrize("prover", [CaseProver, BackupProver])
def test_without_proof_is_who_has_no_new_host(prover: type[CaseProver | BackupProver]) -> None:
    racks = (HOSTS[0], replace(HOSTS[1], labels={"rack": "1"}), HOSTS[2])
    vms = (vm("v", "a"), vm("w", "a", restarts=False), vm("x", "b"), vm("y", "c"))
    big = vm("z", "c", needs=Room(1, 40))

    def without(*vms: Vm, topology: str = HOST, failures: int = 1) -> tuple[str, ...]:
        return prover(State(Cluster(racks, vms, Redundancy(failures, topology)))).unplaced

    assert without(*vms) == ()
    assert without(*vms, big, topology="rack") == ()
    assert set(without(*vms, replace(big, needs=Room(1, 60)))) == {"z"}
    assert set(without(*vms, topology="rack", failures=2)) == {"v", "x", "y"}


def test_without_proof_counts_in_every_loss() -> None:
    """Of three hosts any two may be lost, and z fits on none but its own: that is in three."""
    vms = (vm("v", "a"), vm("w", "b"), vm("z", "c", needs=Room(1, 60)))
    found = CaseProver(State(Cluster(HOSTS[:3], vms, Redundancy(2)))).unplaced
    assert found.count("z") == 3
    assert score(State(Cluster(HOSTS[:3], vms)), len(set(found))).unproven == len(set(found))
