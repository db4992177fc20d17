# SPDX-License-Identifier: Apache-2.0
"""Moves that make room: after them the virtual machine really fits."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.moving.plan import Limits
from nopal_scheduler.moving.room import make_room, mover
from nopal_scheduler.proof import Proof
from nopal_scheduler.scheduler import prover_for
from nopal_scheduler.state import State
from support.naiveplacing import fits
from support.tinyclusters import clusters, vms

QUICK = settings(max_examples=60, deadline=None, derandomize=True)


@QUICK
@given(cluster=clusters(max_vms=8), new=vms("new", ruled=True), failures=st.integers(0, 1))
def test_after_the_moves_it_fits(cluster: Cluster, new: Vm, failures: int) -> None:
    cluster = replace(cluster, redundancy=replace(cluster.redundancy, failures=failures))
    state = State(cluster)
    proven = isinstance(prover_for(State(cluster)).verdict(), Proof)
    room = make_room(state, new)
    assert sorted(state.vms) == sorted(vm.name for vm in cluster.vms), "it only looks"
    direct = any(fits(cluster, new, host) for host in cluster.hosts)
    if room is None:
        assert failures or not direct
        return
    hosts = {host.name: host for host in cluster.hosts}
    assert not (room.plan.moves and direct and not failures)
    for move in room.plan.moves:
        vm = next(vm for vm in cluster.vms if vm.name == move.vm)
        rest = replace(cluster, vms=tuple(v for v in cluster.vms if v.name != vm.name))
        assert vm.host == move.source
        assert fits(rest, vm, hosts[move.target])
        cluster = replace(rest, vms=(*rest.vms, replace(vm, host=move.target)))
    assert fits(cluster, new, hosts[room.host])
    with_it = replace(cluster, vms=(*cluster.vms, replace(new, host=room.host)))
    verdict = prover_for(State(with_it)).verdict()
    assert not proven or isinstance(verdict, Proof) or "impossible" not in verdict.message


def host(name: str, memory: int) -> Host:
    return Host(name, Room(64, memory))


def vm(name: str, at: str | None, memory: int) -> Vm:
    return Vm(name, Room(1, memory), host=at)


def test_one_move_is_enough_and_the_smallest_is_taken() -> None:
    state = State(
        Cluster((host("a", 16), host("b", 16)), (vm("x", "a", 6), vm("y", "a", 4), vm("z", "b", 9)))
    )
    room = make_room(state, vm("new", None, 10))
    assert room is not None
    assert room.message == "fits on a with 1 move: y from a to b"
    advice = mover()(state, vm("new", None, 10))
    assert advice is not None
    assert advice.message == room.message
    assert mover()(state, vm("new", None, 6)) is None, "it fits as it is: there is nothing to move"


def test_two_leave_one_host() -> None:
    hosts = (host("a", 16), host("b", 8), host("c", 8))
    vms = (vm("x", "a", 8), vm("y", "a", 8))
    room = make_room(State(Cluster(hosts, vms)), vm("new", None, 16))
    assert room is not None
    assert room.host == "a"
    assert len(room.plan.moves) == 2
    assert make_room(State(Cluster(hosts, vms)), vm("new", None, 16), Limits(moves=1)) is None


def test_who_gives_way_needs_another_to_give_way() -> None:
    hosts = (host("a", 16), host("b", 10), host("c", 4))
    vms = (vm("x", "a", 10), vm("y", "b", 4))
    room = make_room(State(Cluster(hosts, vms)), vm("new", None, 16))
    assert room is not None
    assert [(m.vm, m.target) for m in room.plan.moves] == [("y", "c"), ("x", "b")]


def test_a_rule_in_the_way_gives_way() -> None:
    apart = Rule(RuleKind.ANTI_AFFINITY, (("app", "db"),), topology="rack")
    hosts = (
        replace(host("a", 16), labels={"rack": "1"}),
        replace(host("b", 4), labels={"rack": "2"}),
    )
    there = replace(vm("x", "a", 4), labels={"app": "db"})
    new = replace(vm("new", None, 8), labels={"app": "db"}, rules=(apart,))
    room = make_room(State(Cluster(hosts, (there,))), new)
    assert room is not None
    assert room.message == "fits on a with 1 move: x from a to b"


def test_what_may_not_move_stays() -> None:
    vms = (replace(vm("x", "a", 10), movable=False),)
    state = State(Cluster((host("a", 16), host("b", 10)), vms))
    assert make_room(state, vm("new", None, 16)) is None


def test_the_proof_has_a_say_in_it() -> None:
    """Room is made by one move, but then nobody could restart the newcomer."""
    hosts = (host("a", 16), host("b", 10))
    vms = (vm("x", "a", 4),)
    assert make_room(State(Cluster(hosts, vms)), vm("new", None, 16)) is not None
    kept = State(Cluster(hosts, vms, Redundancy(1)))
    assert make_room(kept, vm("new", None, 16)) is None


def test_a_way_that_the_proof_refuses_leaves_everything_where_it_was() -> None:
    def labelled(each: Vm, app: str, *rules: Rule) -> Vm:
        return replace(each, labels={"app": app}, rules=rules)

    even = Rule(RuleKind.SPREAD, (("app", "db"),), topology="rack")
    alone = Rule(RuleKind.ANTI_AFFINITY, (("app", "web"),))
    hosts = tuple(
        replace(host(f"h{i}", memory), labels={"rack": f"r{i % 2}"})
        for i, memory in enumerate((12, 10, 10))
    )
    vms = (
        labelled(vm("v0", "h1", 3), "db", even),
        labelled(vm("v1", "h2", 2), "web"),
        labelled(vm("v2", "h1", 3), "web"),
    )
    new = labelled(vm("new", None, 3), "db", alone)
    room = make_room(State(Cluster(hosts, vms, Redundancy(1))), new)
    assert room is not None
    assert room.message == "fits on h2 with 1 move: v1 from h2 to h1"


def test_the_company_that_it_wants_does_not_give_way() -> None:
    """x has to go to a for it, w would have to leave a, and then nothing is near it on c."""
    hosts = tuple(
        replace(host(name, memory), labels={"rack": rack})
        for name, memory, rack in (("a", 10, "1"), ("b", 12, "2"), ("c", 12, "1"))
    )
    vms = (
        replace(vm("w", "a", 6), labels={"app": "web"}),
        replace(vm("v", "b", 6), labels={"app": "web"}),
        replace(vm("x", "c", 5), node_selector={"rack": "1"}),
    )
    near = Rule(RuleKind.AFFINITY, (("app", "web"),), topology="rack")
    new = vm("new", None, 9)
    assert make_room(State(Cluster(hosts, vms)), new) is not None
    assert make_room(State(Cluster(hosts, vms)), replace(new, rules=(near,))) is None


def test_what_nothing_can_help_is_none() -> None:
    state = State(Cluster((host("a", 16),)))
    assert make_room(state, replace(vm("new", None, 1), networks=("lan",))) is None
    assert make_room(state, Vm("new", Room(1, 1, {"gpu": 1}))) is None
    with pytest.raises(ValueError, match="already"):
        make_room(State(Cluster((host("a", 16),), (vm("x", "a", 1),))), vm("x", None, 1))


def test_nobody_gives_way_whose_leaving_breaks_a_rule_of_another() -> None:
    near = Rule(RuleKind.AFFINITY, (("app", "x"),))
    vms = (
        replace(vm("x", "a", 8), labels={"app": "x"}),
        replace(vm("y", "a", 1), rules=(near,)),
    )
    state = State(Cluster((host("a", 16), host("b", 11)), vms))
    assert make_room(state, vm("new", None, 12)) is None
    alone = State(Cluster((host("a", 16), host("b", 11)), vms[:1]))
    assert make_room(alone, vm("new", None, 12)) is not None
