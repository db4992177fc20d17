# SPDX-License-Identifier: Apache-2.0
"""The search under balance: what it finds has room and keeps the rules, and wins what it says."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.moving.anneal import anneal
from nopal_scheduler.moving.board import Board
from nopal_scheduler.moving.course import Course
from nopal_scheduler.moving.plan import Limits, Move, batched
from nopal_scheduler.moving.score import DEFAULT_WEIGHTS, Weights
from nopal_scheduler.moving.search import search
from nopal_scheduler.scheduler import prover_for
from nopal_scheduler.state import State
from support.balancing import broken, without
from support.killer import overfull
from support.naiveplacing import fits
from support.tinyclusters import clusters

QUICK = settings(max_examples=60, deadline=None, derandomize=True)


def now(board: Board, cluster: Cluster) -> Cluster:
    """The cluster as the board has it."""
    state = board.state
    places = {name: state.hosts[state.host_of(name)].name for name in state.vms}
    return replace(cluster, vms=tuple(replace(vm, host=places[vm.name]) for vm in cluster.vms))


def possible(cluster: Cluster) -> dict[tuple[str, str], Cluster]:
    """Every move with room that breaks no rule of anyone, and the cluster after it."""
    found = {}
    for vm in cluster.vms:
        rest = without(cluster, vm.name)
        for host in cluster.hosts:
            after = replace(rest, vms=(*rest.vms, replace(vm, host=host.name)))
            good = host.name != vm.host and fits(rest, vm, host)
            if good and broken(after) <= broken(cluster):
                found[vm.name, host.name] = after
    return found


@pytest.mark.slow
@QUICK
@given(cluster=clusters(max_vms=7))
def test_the_best_move_is_the_best_of_all_that_are_possible(cluster: Cluster) -> None:
    board = Board(State(cluster), Weights(stuck=0))
    names = [host.name for host in board.state.hosts]
    blocked = {host.name for host in cluster.hosts if host.blocked}
    moves = possible(cluster)
    for vm in cluster.vms:
        for host in cluster.hosts:
            if host.name != vm.host:
                there = (vm.name, host.name) in moves
                assert board.fits(vm.name, names.index(host.name)) == there
    before = board.measure.total
    totals = {
        key: Board(State(after), board.measure.weights).measure.total
        for key, after in moves.items()
        if next(vm for vm in cluster.vms if vm.name == key[0]).host not in blocked
    }
    found = board.best(float("-inf"))
    assert (found is None) == (not totals)
    if found is not None:
        assert (found.vm, names[found.target]) in totals
        assert found.gain == pytest.approx(before - min(totals.values()), abs=1e-7)
        board.move(found.vm, found.target)
        assert before - board.measure.total == pytest.approx(found.gain, abs=1e-7)


@pytest.mark.slow
@QUICK
@given(cluster=clusters(max_vms=8, ruled=False), moves=st.integers(0, 4))
def test_what_the_search_wants_has_room_all_together(cluster: Cluster, moves: int) -> None:
    board = Board(State(cluster), Weights(stuck=0))
    before = board.measure.total
    wanted = search(board, moves=moves, least=1e-6, enough=0, effort=400)
    assert len(wanted) <= moves
    after = now(board, cluster)
    full = overfull(cluster, {vm.name: vm.host or "" for vm in cluster.vms})
    assert overfull(after, {vm.name: vm.host or "" for vm in after.vms}) <= full
    assert board.measure.total <= before + 1e-9
    assert Board(State(after), board.measure.weights).measure.total == pytest.approx(
        board.measure.total, abs=1e-7
    )


def zone() -> Cluster:
    chance = Random(3)  # noqa: S311 - a generator of loads
    hosts = tuple(Host(f"h{i:02}", Room(64, 64)) for i in range(12))
    free, vms = dict.fromkeys((host.name for host in hosts), 64), []
    for i in range(90):
        size = chance.choice((1, 2, 4, 8, 16))
        at = chance.choice([name for name, left in free.items() if left >= size])
        free[at] -= size
        vms.append(Vm(f"v{i:02}", Room(chance.choice((1, 2, 4)), size), host=at))
    return Cluster(hosts, tuple(vms))


def greedy(board: Board, moves: int) -> None:
    for _ in range(moves):
        found = board.best(0)
        assert found is not None
        board.move(found.vm, found.target)


def test_going_through_all_choices_again_is_better_than_greedy() -> None:
    board = Board(State(zone()), DEFAULT_WEIGHTS)
    greedy(board, 10)
    first = board.measure.total
    anneal(board, 5000, 0.001)
    assert board.measure.total < 0.98 * first
    assert len(board.moved) == 10
    assert not overfull(zone(), {vm.name: vm.host or "" for vm in now(board, zone()).vms})


def test_a_score_to_reach_is_reached_with_fewer_moves_than_greedy() -> None:
    board = Board(State(zone()), DEFAULT_WEIGHTS)
    greedy(board, 14)
    enough = board.measure.total
    board = Board(State(zone()), DEFAULT_WEIGHTS)
    assert len(search(board, moves=50, least=1e-4, enough=enough, effort=20_000)) < 14
    assert board.measure.total <= enough


def test_a_move_that_has_become_useless_is_dropped() -> None:
    """What wins little once everything else is in its place goes back, and not below the limit."""
    board = Board(State(zone()), DEFAULT_WEIGHTS)
    wanted = search(board, moves=50, least=0.004, enough=0, effort=5000)
    assert wanted
    for name in wanted:
        if board.has_room(name, board.moved[name]):
            assert -board.gains([name], [board.moved[name]])[0] >= 0.004


def test_what_is_barred_or_fixed_is_not_found() -> None:
    hosts = (Host("a", Room(8, 8)), Host("b", Room(8, 8)))
    state = State(Cluster(hosts, (Vm("v", Room(1, 4), host="a"), Vm("w", Room(1, 3), host="a"))))
    board = Board(state, DEFAULT_WEIGHTS)
    first = board.best(0)
    assert first is not None
    assert first.vm == "v"
    board.bar("v", 1)
    second = board.best(0)
    assert second is not None
    assert second.vm == "w"
    assert Board(state, DEFAULT_WEIGHTS, fixed=("v", "w")).best(0) is None
    alike = tuple(Vm(name, Room(1, 3), host="a") for name in "vw")
    twins = Board(State(Cluster(hosts, alike)), DEFAULT_WEIGHTS)
    assert twins.best(0)
    twins.bar("v", 1)
    second = twins.best(0)
    assert second is not None
    assert second.vm == "w", "it is like v, but not barred"


def test_off_a_blocked_host_only_where_it_is_to_be_emptied() -> None:
    hosts = (Host("a", Room(8, 8), blocked="not ready"), Host("b", Room(8, 8)))
    state = State(Cluster(hosts, (Vm("v", Room(1, 4), host="a"),)))
    assert Board(state, DEFAULT_WEIGHTS).best(float("-inf")) is None
    found = Board(state, DEFAULT_WEIGHTS, leave=(0,)).best(0)
    assert found is not None
    assert (found.vm, found.target) == ("v", 1)


def test_who_may_change_places() -> None:
    hosts = (Host("a", Room(9, 100)), Host("b", Room(9, 100)))
    large = (Vm(f"big{i}", Room(0, 20), host="a") for i in range(4))
    vms = (*large, *(Vm(f"small{i}", Room(0, 10), host="b") for i in range(4)))
    even = Weights(vms=100)

    def found(*hosts: Host, vms: tuple[Vm, ...] = vms, **more: Any) -> tuple[str, ...]:
        pair = Board(State(Cluster(hosts, vms)), even, **more).exchange(0)
        return tuple(each.vm for each in pair) if pair else ()

    assert found(*hosts) == ("big0", "small0")
    assert found(*hosts, price=1.0) == ()
    assert found(*hosts, leave=(0,)) == ()
    apart = Rule(RuleKind.ANTI_AFFINITY, (("app", "db"),))
    assert found(*hosts, vms=tuple(replace(vm, rules=(apart,)) for vm in vms)) == ()
    # One of them goes first, so there has to be room for it before the other leaves.
    assert found(Host("a", Room(9, 85)), Host("b", Room(9, 55))) == ()
    board = Board(State(Cluster(hosts, vms)), even)
    board.bar("big0", 1)
    pair = board.exchange(0)
    assert pair is not None
    assert pair[0].vm == "big1"


def move(name: str, source: str, target: str) -> Move:
    return Move(name, source, target, 0.0, 1)


def test_who_takes_what_another_gives_back_goes_a_batch_later() -> None:
    moves = [move("v", "a", "b"), move("w", "c", "a"), move("x", "d", "e")]
    wide = Limits(concurrent=3, per_host=2)
    assert [len(batch) for batch in batched(moves, wide, lambda *_: True)] == [1, 2]
    apart = [move("v", "a", "b"), move("w", "c", "d"), move("x", "e", "f")]
    assert [len(batch) for batch in batched(apart, wide, lambda *_: True)] == [3]
    alone = lambda batch, one: "x" not in {each.vm for each in (*batch, one)}  # noqa: E731
    assert [len(batch) for batch in batched(apart, wide, alone)] == [2, 1]
    assert [len(batch) for batch in batched(apart, Limits(concurrent=2), lambda *_: True)] == [2, 1]


def test_where_nothing_is_proven_a_move_does_not_make_it_worse() -> None:
    hosts = (Host("a", Room(8, 10)), Host("b", Room(8, 10)), Host("c", Room(8, 10)))
    vms = (
        Vm("big", Room(1, 9), host="a"),
        Vm("x", Room(1, 2), host="b"),
        Vm("y", Room(1, 2), host="c"),
    )
    course = Course(State(Cluster(hosts, vms, Redundancy(1))), DEFAULT_WEIGHTS, prover_for)
    assert not course.proven
    before = course.score()
    assert before.unproven == 1
    assert course.move("y", 1) is None, "c takes big now"
    assert course.proven
    assert course.score().unproven == 0
    assert course.move("y", 2) is not None, "what is proven stays so"
    other = Course(State(Cluster(hosts[:2], vms[:2], Redundancy(1))), DEFAULT_WEIGHTS, prover_for)
    worse = other.move("x", 0)
    assert worse is None or other.score().unproven <= before.unproven


def test_a_worse_proof_is_refused_and_leaves_no_trace() -> None:
    hosts = (*(Host(name, Room(8, 10)) for name in "abc"), Host("d", Room(8, 12)))
    vms = (
        Vm("p", Room(1, 6), host="a"),
        Vm("u", Room(1, 4), host="a"),
        Vm("q", Room(1, 6), host="b"),
        Vm("s", Room(1, 3), host="c"),
        Vm("z", Room(1, 11), host="d"),
    )
    state = State(Cluster(hosts, vms, Redundancy(1)))
    course = Course(state, DEFAULT_WEIGHTS, prover_for)
    assert not course.proven
    before, total = course.score(), course.state.free.tolist()
    refused = []
    for name in course.state.vms.copy():
        for host in range(4):
            vm, home = course.state.vms[name], course.state.host_of(name)
            if host == home or not (course.state.free[:, host] >= course.state.needs(vm)).all():
                continue
            if course.move(name, host) is None:
                assert course.score().unproven <= before.unproven
                assert course.moved == {name}
                course.undo(name, home)
            else:
                refused.append((name, home, host))
            assert course.state.free.tolist() == total
            assert course.moved == set()
            assert course.score().spread == pytest.approx(before.spread)
    assert ("u", 0, 2) in refused, "p has no new host then"
    # Off a host that is to be empty it may.
    name, home, host = refused[0]
    leaving = Course(state, DEFAULT_WEIGHTS, prover_for, leave=(home,))
    assert leaving.move(name, host) is None
    assert leaving.score().unproven > before.unproven


def test_asking_whether_one_more_is_admitted_changes_nothing() -> None:
    hosts = tuple(Host(name, Room(8, 10)) for name in "ab")
    small, large = Vm("s", Room(1, 5)), Vm("l", Room(1, 6))
    course = Course(State(Cluster(hosts, redundancy=Redundancy(1))), DEFAULT_WEIGHTS, prover_for)
    assert course.takes(small, 0) is None
    assert course.takes(large, 0) is None
    assert not course.state.vms
    there = (Vm("p", Room(1, 5), "a"),)
    proven = Course(State(Cluster(hosts, there, Redundancy(1))), DEFAULT_WEIGHTS, prover_for)
    assert proven.takes(small, 1) is None
    assert proven.takes(large, 1) is not None
    # Where nothing is proven anyway, room is enough.
    alone = State(Cluster(hosts[:1], there, Redundancy(1)))
    assert Course(alone, DEFAULT_WEIGHTS, prover_for).takes(small, 0) is None


def test_who_is_seen_by_a_preference_is_ruled_too() -> None:
    rather = Rule(RuleKind.AFFINITY, (("app", "db"),), weight=5)
    db = Vm("w", Room(1, 1), "a", labels={"app": "db"})
    vms = (Vm("v", Room(1, 1), "a", rules=(rather,)), db, Vm("x", Room(1, 1), "a"))
    course = Course(State(Cluster((Host("a", Room(8, 8)),), vms)), DEFAULT_WEIGHTS, prover_for)
    assert [course.is_ruled(name) for name in "vwx"] == [True, True, False]
