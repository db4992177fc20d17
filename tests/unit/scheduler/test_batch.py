# SPDX-License-Identifier: Apache-2.0
"""Several virtual machines at once: together they fit where one after the other would not."""

import itertools
import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler.model import HOST, Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.placing.batch import Batch, place_batch
from nopal_scheduler.placing.place import Placement, place
from nopal_scheduler.proof import Case, NotProven, Proof
from nopal_scheduler.proving.unproven import PlainProver
from nopal_scheduler.scheduler import Scheduler, prover_for
from nopal_scheduler.state import State
from support import naiveplacing as naive
from support.tinyclusters import clusters, vms

WEB, DB = (("app", "web"),), (("app", "db"),)
promise = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def batches(draw: st.DrawFn, *, ruled: bool = True) -> tuple[Cluster, tuple[Vm, ...]]:
    cluster = draw(clusters(max_hosts=3, max_vms=3, ruled=ruled))
    names = [f"new{i}" for i in range(draw(st.integers(1, 5)))]
    return cluster, tuple(
        replace(vm, needs=vm.needs + Room(0, draw(st.integers(0, 3))))
        for vm in (draw(vms(name, ruled=ruled)) for name in names)
    )


def added(cluster: Cluster, batch: Batch, wanted: tuple[Vm, ...]) -> Cluster:
    """Return the cluster with the batch's placements; each of them fits when it comes."""
    by_name = {vm.name: vm for vm in wanted}
    for name, host in batch.placements.items():
        assert host in naive.fitting(cluster, by_name[name])
        cluster = replace(cluster, vms=(*cluster.vms, replace(by_name[name], host=host)))
    return cluster


def one_by_one(cluster: Cluster, wanted: tuple[Vm, ...]) -> list[int]:
    """Return how many of each priority are placed, the highest first, each in its turn."""
    state = State(cluster)
    for vm in sorted(wanted, key=lambda vm: (-vm.priority, vm.name)):
        answer = place(state, vm)
        if isinstance(answer, Placement):
            state.add(vm, state.index[answer.host])
    return by_priority(wanted, state.vms)


def by_priority(wanted: tuple[Vm, ...], placed: Iterable[str]) -> list[int]:
    priorities = sorted({vm.priority for vm in wanted}, reverse=True)
    there = {*placed}
    return [sum(vm.priority == p and vm.name in there for vm in wanted) for p in priorities]


@pytest.mark.slow
@given(batches())
@promise
def test_every_placement_fits_and_what_is_refused_does_not(
    asked: tuple[Cluster, tuple[Vm, ...]],
) -> None:
    cluster, wanted = asked
    state = State(cluster)
    batch = place_batch(state, wanted)
    then = added(cluster, batch, wanted)
    assert {*batch.placements, *batch.refused} == {vm.name for vm in wanted}
    assert batch.complete is not bool(batch.refused)
    for vm in wanted:
        if vm.name in batch.refused:
            assert not naive.fitting(then, vm)
            assert batch.refused[vm.name].refusals
    assert (state.free == State(cluster).free).all()
    assert {*state.vms} == {vm.name for vm in cluster.vms}


@pytest.mark.slow
@given(batches(), st.randoms(use_true_random=False))
@promise
def test_never_fewer_than_one_by_one_whatever_the_order(
    asked: tuple[Cluster, tuple[Vm, ...]], luck: random.Random
) -> None:
    cluster, wanted = asked
    batch = place_batch(State(cluster), wanted)
    assert by_priority(wanted, batch.placements) >= one_by_one(cluster, wanted)
    mixed = replace(cluster, hosts=cluster.hosts[::-1], vms=cluster.vms[::-1])
    assert place_batch(State(mixed), luck.sample(wanted, len(wanted))) == batch


@given(batches(ruled=False))
@promise
def test_without_rules_a_small_batch_is_solved_if_it_can_be(
    asked: tuple[Cluster, tuple[Vm, ...]],
) -> None:
    cluster, wanted = asked
    names = [host.name for host in cluster.hosts]
    by_name = {host.name: host for host in cluster.hosts}

    def solves(hosts: tuple[str, ...]) -> bool:
        placed = tuple(replace(vm, host=at) for vm, at in zip(wanted, hosts, strict=True))
        then = replace(cluster, vms=(*cluster.vms, *placed))
        return all(
            naive.eligible(vm, by_name[at]) and min(naive.left(then, by_name[at]).values()) >= 0
            for vm, at in zip(wanted, hosts, strict=True)
        )

    possible = any(map(solves, itertools.product(names, repeat=len(wanted))))
    assert place_batch(State(cluster), wanted).complete is possible


def hosts(count: int, memory: int = 10) -> tuple[Host, ...]:
    return tuple(Host(f"h{i}", Room(99, memory), labels={"rack": f"r{i}"}) for i in range(count))


def sized(*memory: int) -> tuple[Vm, ...]:
    return tuple(Vm(f"v{i}", Room(1, size)) for i, size in enumerate(memory))


def test_the_large_one_comes_first() -> None:
    cluster, wanted = Cluster(hosts(2, memory=6)), sized(2, 2, 2, 6)
    assert one_by_one(cluster, wanted) == [3]
    assert place_batch(State(cluster), wanted).placements == {
        "v3": "h0",
        "v0": "h1",
        "v1": "h1",
        "v2": "h1",
    }


def test_the_one_with_few_hosts_comes_first() -> None:
    special = replace(hosts(1)[0], networks=frozenset({"lan"}))
    cluster = Cluster((special, *hosts(2)[1:]))
    wanted = (*sized(6), Vm("w", Room(1, 5), networks=("lan",)))
    assert one_by_one(cluster, wanted) == [1]
    assert place_batch(State(cluster), wanted).placements == {"w": "h0", "v0": "h1"}


@pytest.mark.parametrize(
    "sizes", [(3, 2, 4, 4, 6, 5, 6), (3, 3, 2, 4, 6, 5, 3, 2, 2), (4, 2, 3, 6, 5, 6, 4)]
)
def test_what_no_order_solves_is_searched_within_the_budget(sizes: tuple[int, ...]) -> None:
    """Three hosts that are exactly full in the end."""
    assert place_batch(State(Cluster(hosts(3))), sized(*sizes)).complete
    assert not place_batch(State(Cluster(hosts(3))), sized(*sizes), budget=1).complete


def test_one_that_fits_nowhere_does_not_keep_the_others_from_being_searched() -> None:
    wanted = (*sized(3, 2, 4, 4, 6, 5, 6), Vm("x", Room(1, 11)))
    assert {*place_batch(State(Cluster(hosts(3))), wanted).refused} == {"x"}


@pytest.mark.parametrize(
    ("count", "sizes", "most"), [(2, (4, 5, 1, 2, 4, 7, 4), 6), (3, (3, 4, 6, 3, 2, 1, 6, 5), 7)]
)
def test_where_nothing_places_all_it_is_the_best_that_was_found(
    count: int, sizes: tuple[int, ...], most: int
) -> None:
    batch = place_batch(State(Cluster(hosts(count))), sized(*sizes), budget=1)
    assert len(batch.placements) == most


def test_the_search_tells_hosts_apart_that_differ_for_the_batch() -> None:
    """By what is on them and their domains where rules count, and by what they may take."""
    there: tuple[Vm, ...] = (Vm("db", Room(), "h2", labels=dict(DB)), Vm("x", Room(), "h0"))
    near = Rule(RuleKind.AFFINITY, DB, HOST)
    wanted = sized(6, 4, 6, 3, 4, 2, 5)
    wanted = (wanted[0], replace(wanted[1], rules=(near,)), *wanted[2:])
    assert place_batch(State(Cluster(hosts(3), there)), wanted).complete
    beside = Host("h3", Room(), labels={"rack": "r2"})
    there = (Vm("db", Room(), "h3", labels=dict(DB)),)
    wanted = (wanted[0], replace(wanted[1], rules=(replace(near, topology="rack"),)), *wanted[2:])
    assert place_batch(State(Cluster((*hosts(3), beside), there)), wanted).complete
    lan = (*hosts(2), replace(hosts(3)[2], networks=frozenset({"lan"})))
    wanted = sized(2, 3, 6, 6, 4, 2, 2, 5)
    wanted = tuple(replace(v, networks=("lan",)) if v.name in "v5 v6" else v for v in wanted)
    assert place_batch(State(Cluster(lan)), wanted).complete
    alone = Rule(RuleKind.ANTI_AFFINITY, WEB, "rack")
    there = (Vm("w", Room(), "h3", rules=(alone,)),)
    wanted = sized(3, 6, 4, 5, 2, 6, 3)
    wanted = tuple(replace(v, labels=dict(WEB)) if v.name in "v1 v4" else v for v in wanted)
    assert place_batch(State(Cluster((*hosts(3), beside), there)), wanted).complete


def test_the_search_takes_leaders_before_who_follows_them() -> None:
    near = Rule(RuleKind.AFFINITY, DB, HOST)
    first, second, *rest = sized(6, 4, 2, 3, 4, 6, 5)
    wanted = (replace(first, rules=(near,)), replace(second, labels=dict(DB)), *rest)
    assert place_batch(State(Cluster(hosts(3))), wanted).complete


def test_of_too_many_as_many_as_one_by_one() -> None:
    """The large ones first would leave out one more."""
    cluster, wanted = Cluster(hosts(3)), sized(3, 4, 5, 6, 3, 2, 4, 3, 3, 5)
    assert one_by_one(cluster, wanted) == [8]
    assert len(place_batch(State(cluster), wanted).placements) == 8


def test_who_must_be_near_another_comes_after_it() -> None:
    near = Rule(RuleKind.AFFINITY, DB, HOST)
    wanted = (
        Vm("a", Room(1, 8), rules=(near,)),
        Vm("b", Room(1, 2), labels=dict(DB)),
        Vm("c", Room(1, 7)),
    )
    batch = place_batch(State(Cluster(hosts(2))), wanted)
    assert batch.complete
    assert list(batch.placements).index("b") < list(batch.placements).index("a")
    assert batch.placements["a"] == batch.placements["b"] != batch.placements["c"]


def test_what_is_refused_is_said_with_the_rest_in_place() -> None:
    apart = Rule(RuleKind.ANTI_AFFINITY, WEB, "rack")
    wanted = tuple(Vm(f"w{i}", Room(1, 1), labels=dict(WEB), rules=(apart,)) for i in range(3))
    assert place_batch(State(Cluster(hosts(2))), wanted).message == (
        "2 of 3 virtual machines fit together;"
        " w2: 0/2 hosts fit: 2 anti-affinity to app=web in topology rack"
    )


def test_kept_all_or_nothing_or_what_is_placed() -> None:
    cluster = Cluster(hosts(2))
    state = State(cluster)
    assert not place_batch(state, sized(6, 6, 6), keep=True).complete
    assert not state.vms
    assert place_batch(state, sized(6, 6, 6), keep=True, partial=True).placements == {
        name: state.hosts[state.host_of(name)].name for name in state.vms
    }
    state = State(cluster)
    assert place_batch(state, sized(6, 6), keep=True).complete
    assert {*state.vms} == {"v0", "v1"}


def test_two_of_one_name_are_refused_before_anything_is_done() -> None:
    state = State(Cluster(hosts(2)))
    with pytest.raises(ValueError, match='a vm "v0" already'):
        place_batch(state, (*sized(1), *sized(1)))
    place_batch(state, sized(1), keep=True)
    with pytest.raises(ValueError, match='a vm "v0" already'):
        place_batch(state, sized(1))


@given(batches())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_with_a_prover_what_was_proven_stays_proven(
    asked: tuple[Cluster, tuple[Vm, ...]],
) -> None:
    cluster, wanted = asked
    cluster = replace(cluster, redundancy=Redundancy(1))
    state = State(cluster)
    prover = prover_for(state)
    proven = isinstance(prover.verdict(), Proof)
    batch = place_batch(state, wanted, prover=prover, keep=True, partial=True, budget=100)
    then = added(cluster, batch, wanted)
    assert {*state.vms} == {vm.name for vm in then.vms}
    if proven:
        assert isinstance(prover.verdict(), Proof)


def test_a_batch_keeps_room_for_the_restarts() -> None:
    """Four of 4 fill two hosts of 10 to 8; with N+1 only two of them fit."""
    cluster = Cluster(hosts(2), redundancy=Redundancy(1))
    scheduler = Scheduler(cluster)
    batch = place_batch(State(cluster), sized(4, 4, 4, 4), prover=None)
    assert batch.complete
    state = scheduler.state
    batch = place_batch(state, sized(4, 4, 4, 4), prover=prover_for(state), budget=50)
    assert len(batch.placements) == 2
    assert "2 N+1 " in batch.message
    assert not state.vms


class Fickle(PlainProver):
    """Refuses h0 always, and counts how often it is asked."""

    asked = 0

    def admit(self, vm: Vm, host: int) -> NotProven | None:  # type: ignore[override]
        self.asked += 1
        if host == 0:
            return NotProven(Case(("h1",)), (vm.name,))
        return super().admit(vm, host)


def test_the_budget_bounds_what_a_prover_is_asked() -> None:
    wanted = sized(*[2] * 12)
    asked = []
    for budget in (0, 10, 1000):
        state = State(Cluster(hosts(3), redundancy=Redundancy(1)))
        prover = Fickle(state)
        batch = place_batch(state, wanted, prover=prover, budget=budget)
        asked.append(prover.asked)
        assert len(batch.placements) == 10 if budget == 1000 else batch.placements
        assert "h0" not in batch.placements.values()
    assert asked == sorted(asked)
    # Without a budget every host is asked once for each, to say why it is refused.
    assert asked[0] <= 12 * 3
    assert asked[0] < asked[1] < asked[2]


def test_of_very_many_hosts_the_first_are_asked() -> None:
    state = State(Cluster(tuple(Host(f"h{i:02}", Room(9, 9)) for i in range(26))))

    class Never(PlainProver):
        def admit(self, vm: Vm, host: int) -> NotProven:  # type: ignore[override]
            return NotProven(Case(("h1",)), (vm.name,))

    why = place_batch(state, sized(1), prover=Never(state)).refused["v0"].message
    assert why.startswith("0/26 hosts fit: 24 N+0 not proven (")
    assert why.endswith("), 2 not tried")


def test_who_follows_one_that_the_proof_refuses_in_the_end_does_not_come_without_it() -> None:
    state = State(Cluster(hosts(2)))

    class Once(PlainProver):
        leaders = 0

        def admit(self, vm: Vm, host: int) -> NotProven | None:  # type: ignore[override]
            self.leaders += vm.name == "v0"
            if vm.name == "v0" and self.leaders > 1:
                return NotProven(Case(("h1",)), (vm.name,))
            return super().admit(vm, host)

    leader, follower = sized(1, 1)
    near = Rule(RuleKind.AFFINITY, DB, HOST)
    wanted = (replace(leader, labels=dict(DB)), replace(follower, rules=(near,)))
    batch = place_batch(state, wanted, prover=Once(state))
    assert {*batch.refused} == {"v0", "v1"}


def test_the_higher_priority_goes_first_where_not_all_fit() -> None:
    low, high = sized(6, 6)
    batch = place_batch(State(Cluster(hosts(1))), (low, replace(high, priority=1)))
    assert {*batch.placements} == {"v1"}
    # One of a higher priority is more than any number below it, and the rest fills what is left.
    large = Vm("w", Room(1, 8), priority=5)
    batch = place_batch(State(Cluster(hosts(1))), (*sized(2, 2, 2, 2, 2), large))
    assert {*batch.placements} == {"w", "v0"}


def test_priorities_cost_no_room_where_all_fit() -> None:
    """One after the other by priority, the small ones would be where the large one has to be."""
    cluster = Cluster(hosts(2, memory=6))
    wanted = tuple(replace(vm, priority=-i) for i, vm in enumerate(sized(2, 2, 2, 6)))
    assert one_by_one(cluster, wanted) == [1, 1, 1, 0]
    assert place_batch(State(cluster), wanted).complete


def test_those_of_high_priority_are_searched_for_as_a_whole() -> None:
    """They fit only together, which no greedy round finds, and nothing fits besides."""
    above = tuple(replace(vm, priority=1) for vm in sized(3, 2, 4, 4, 6, 5, 6))
    assert place_batch(State(Cluster(hosts(3))), above).complete
    low = Vm("w", Room(1, 1))
    batch = place_batch(State(Cluster(hosts(3))), (*above, low))
    assert {*batch.refused} == {"w"}


@pytest.mark.parametrize(
    ("count", "sizes", "priorities", "budget", "placed"),
    [
        (2, (4, 2, 3, 6, 7, 7, 4, 7, 5, 2), (1, 0, 1, 0, 1, 2, 1, 1, 1, 0), 2000, [1, 3, 0]),
        (2, (5, 5, 4, 3, 5, 2, 6, 5, 7), (1, 0, 1, 2, 0, 1, 2, 0, 1), 2000, [2, 3, 0]),
        (3, (3, 6, 5, 3, 3, 5, 5), (2, 0, 0, 1, 2, 0, 1), 40, [2, 2, 2]),
    ],
    ids=["important ones stay in front", "one by one is tried as well", "a budget of its own"],
)
def test_of_each_priority_as_many_as_are_found(
    count: int, sizes: tuple[int, ...], priorities: tuple[int, ...], budget: int, placed: list[int]
) -> None:
    wanted = tuple(replace(vm, priority=p) for vm, p in zip(sized(*sizes), priorities, strict=True))
    batch = place_batch(State(Cluster(hosts(count))), wanted, budget=budget)
    assert by_priority(wanted, batch.placements) == placed


def test_what_becomes_free_in_the_end_goes_to_the_higher_priority() -> None:
    class Once(PlainProver):
        asked = 0

        def admit(self, vm: Vm, host: int) -> NotProven | None:  # type: ignore[override]
            self.asked += vm.name == "v2"
            if vm.name == "v2" and self.asked > 1:
                return NotProven(Case(("h1",)), (vm.name,))
            return super().admit(vm, host)

    wanted = tuple(replace(vm, priority=i) for i, vm in enumerate(sized(6, 6, 6)))
    state = State(Cluster(hosts(1)))
    assert {*place_batch(state, wanted, prover=Once(state)).placements} == {"v1"}


def test_hosts_that_are_to_come_first() -> None:
    wanted = sized(2, 2)
    last = np.array([False, False, True])
    batch = place_batch(State(Cluster(hosts(3))), wanted, first=lambda vm: last)
    assert {*batch.placements.values()} == {"h2"}
