# SPDX-License-Identifier: Apache-2.0
"""After a loss: the proof's places while they hold, the best that is left where they do not."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from nopal_scheduler.failover import FailoverPlan, plan_failover
from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.proof import Case, Proof
from support.killer import find_proof, misplaced, overfull
from support.tinyclusters import clusters

few = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
K1 = Redundancy(1)


def host(name: str, room: int = 4, **labels: str) -> Host:
    return Host(name, Room(room, room), labels=labels)


def vm(name: str, at: str, size: int = 1, *rules: Rule, priority: int = 0, app: str = "") -> Vm:
    labels = {"app": app} if app else {}
    return Vm(name, Room(size, size), at, labels=labels, rules=rules, priority=priority)


def rule(kind: RuleKind, app: str, topology: str = "host") -> Rule:
    return Rule(kind, (("app", app),), topology)


def made(plan: FailoverPlan) -> list[str]:
    """The plan in short: "v b*" is v on b, as proven."""
    return [f"{r.vm} {r.host}{'*' if r.proven else ''}" for r in plan.restarts]


def on_loss_of_a(**places: str) -> Proof:
    return Proof(K1, (Case(("a",), places),))


# What the proof says.

THREE = (host("a", 8), host("b", 8), host("c", 8))


def test_the_proofs_places_by_priority_then_name() -> None:
    vms = (vm("w", "a"), vm("v", "a"), vm("x", "a", priority=5), vm("y", "b"))
    plan = plan_failover(Cluster(THREE, vms, K1), ["a"], on_loss_of_a(v="c", w="b", x="c"))
    assert made(plan) == ["x c*", "v c*", "w b*"]
    assert not plan.unplaced
    assert not plan.stays_off


def test_backups_say_the_first_host_that_is_not_lost_with_it() -> None:
    hosts = (host("a", rack="1"), host("b", rack="1"), host("c", rack="2"), host("d", rack="3"))
    proof = Proof(Redundancy(1, "rack"), backups={"v": ("b", "d", "c")})
    cluster = Cluster(hosts, (vm("v", "a"),), Redundancy(1, "rack"))
    assert made(plan_failover(cluster, ["a"], proof)) == ["v d*"]


def test_one_host_of_a_larger_domain_is_covered() -> None:
    hosts = (host("a", rack="1"), host("b", rack="1"), host("c", rack="2"))
    proof = Proof(Redundancy(1, "rack"), (Case(("1",), {"v": "c", "w": "c"}),))
    cluster = Cluster(hosts, (vm("v", "a"), vm("w", "b")), Redundancy(1, "rack"))
    assert made(plan_failover(cluster, ["a"], proof)) == ["v c*"]


def test_what_does_not_restart_is_named() -> None:
    off = replace(vm("v", "a"), restarts=False)
    plan = plan_failover(Cluster(THREE, (off,), K1), ["a"])
    assert plan == FailoverPlan((), (), ("v",))


def test_a_lost_host_must_be_there() -> None:
    with pytest.raises(ValueError, match='host "x" is not there'):
        plan_failover(Cluster(THREE), ["a", "x"])


# Where the world has changed.


def test_a_vm_that_the_proof_does_not_know_leaves_promised_room_alone() -> None:
    hosts = (host("a", 8), host("b", 4), host("c", 3))
    vms = (vm("new", "a", 3, priority=1), vm("v", "a", 4))
    assert made(plan_failover(Cluster(hosts, vms, K1), ["a"], on_loss_of_a(v="b"))) == [
        "new c",
        "v b*",
    ]


def test_but_takes_it_from_a_lower_priority_where_nothing_else_is_left() -> None:
    hosts = (host("a", 8), host("b", 4), host("c", 2))
    vms = (vm("new", "a", 3, priority=1), vm("v", "a", 4))
    plan = plan_failover(Cluster(hosts, vms, K1), ["a"], on_loss_of_a(v="b"))
    assert made(plan) == ["new b"]
    assert [left.vm for left in plan.unplaced] == ["v"]
    assert "insufficient memory" in plan.unplaced[0].reason
    vms = (replace(vms[0], priority=-1), vms[1])
    assert made(plan_failover(Cluster(hosts, vms, K1), ["a"], on_loss_of_a(v="b"))) == ["v b*"]


def test_a_host_that_is_blocked_now_is_no_place_any_more() -> None:
    hosts = (THREE[0], replace(THREE[1], blocked="not ready"), THREE[2])
    vms = (vm("v", "a"), vm("w", "a"))
    plan = plan_failover(Cluster(hosts, vms, K1), ["a"], on_loss_of_a(v="b", w="c"))
    assert made(plan) == ["w c*", "v c"]


def test_room_that_was_taken_meanwhile() -> None:
    vms = (vm("v", "a", 4), vm("late", "b", 5))
    plan = plan_failover(Cluster(THREE, vms, K1), ["a"], on_loss_of_a(v="b"))
    assert made(plan) == ["v c"]


def test_names_that_are_gone_from_the_zone() -> None:
    plan = plan_failover(
        Cluster(THREE, (vm("v", "a"),), K1), ["a"], on_loss_of_a(v="gone", old="b")
    )
    assert made(plan) == ["v b"]


def test_more_is_lost_than_was_proven() -> None:
    vms = (vm("v", "a", 4), vm("w", "b", 4, priority=1), vm("x", "b", 8))
    proof = Proof(K1, (Case(("a",), {"v": "b"}), Case(("b",), {"w": "a", "x": "c"})))
    plan = plan_failover(Cluster(THREE, vms, K1), ["a", "b"], proof)
    assert made(plan) == ["w c", "v c"]
    assert [left.vm for left in plan.unplaced] == ["x"]
    assert plan.unplaced[0].reason.startswith("0/1 hosts fit: 1 insufficient cpu")


def test_the_search_packs_where_spreading_does_not_find_room_for_all() -> None:
    hosts = (host("a", 9), host("b", 5), host("c", 4))
    vms = (vm("u", "a", 2), vm("v", "a", 2), vm("w", "a", 5))
    assert plan_failover(Cluster(hosts, vms), ["a"]).unplaced == ()


def test_of_one_priority_as_many_as_find_room() -> None:
    hosts = (host("a", 9), host("b", 4))
    vms = (vm("u", "a", 2), vm("v", "a", 2), vm("w", "a", 4))
    assert made(plan_failover(Cluster(hosts, vms), ["a"])) == ["u b", "v b"]
    urgent = (*vms[:2], replace(vms[2], priority=1))
    assert made(plan_failover(Cluster(hosts, urgent), ["a"])) == ["w b"]


# Rules on the way.


def test_an_anchor_comes_before_the_one_that_waits_for_it() -> None:
    near = rule(RuleKind.AFFINITY, "db")
    vms = (
        vm("web", "a", 1, near, priority=9),
        vm("middle", "a", priority=5),
        vm("db", "a", app="db"),
    )
    for proof in (on_loss_of_a(web="c", db="c", middle="b"), None):
        plan = plan_failover(Cluster(THREE, vms, K1), ["a"], proof)
        assert [restart.vm for restart in plan.restarts] == ["db", "web", "middle"]
        assert plan.restarts[0].host == plan.restarts[1].host


def test_an_anchor_that_does_not_help_goes_back_to_its_turn() -> None:
    near = rule(RuleKind.AFFINITY, "db")
    vms = (
        vm("web", "a", 9, near, priority=9),
        vm("v", "a", 8, priority=5),
        vm("db", "a", app="db"),
    )
    plan = plan_failover(Cluster((host("a", 32), host("b", 8)), vms, K1), ["a"])
    assert made(plan) == ["v b"]


def test_spread_in_an_order_in_which_every_step_is_even() -> None:
    even = rule(RuleKind.SPREAD, "web", "rack")
    hosts = (host("a", rack="1"), host("b", rack="2"), host("c", rack="3"))
    vms = (
        vm("there", "b", app="web"),
        vm("v", "a", 1, even, app="web"),
        vm("w", "a", 1, even, app="web"),
    )
    plan = plan_failover(Cluster(hosts, vms, K1), ["a"], on_loss_of_a(v="b", w="c"))
    assert made(plan) == ["w c*", "v b*"]


def test_a_circle_that_the_proof_places_comes_as_a_block() -> None:
    vms = (
        vm("v", "a", 1, rule(RuleKind.AFFINITY, "w"), app="v"),
        vm("w", "a", 1, rule(RuleKind.AFFINITY, "v"), app="w"),
        vm("x", "a"),
    )
    cluster = Cluster(THREE, vms, K1)
    plan = plan_failover(cluster, ["a"], on_loss_of_a(v="c", w="c", x="b"))
    assert made(plan) == ["x b*", "v c*", "w c*"]
    assert [left.vm for left in plan_failover(cluster, ["a"]).unplaced] == ["v", "w"]
    apart = plan_failover(cluster, ["a"], on_loss_of_a(v="c", w="b", x="b"))
    assert [left.vm for left in apart.unplaced] == ["v", "w"]


# Promises for every cluster.


@st.composite
def lost(draw: st.DrawFn, *, ruled: bool = True) -> tuple[Cluster, list[str]]:
    cluster = draw(clusters(max_vms=8, ruled=ruled))
    names = [each.name for each in cluster.hosts]
    return cluster, draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))


@st.composite
def proofs(draw: st.DrawFn, cluster: Cluster) -> Proof | None:
    """Anything that calls itself a proof: places that hold, or once did, or never."""
    if draw(st.booleans()):
        return None
    hosts = st.sampled_from([each.name for each in cluster.hosts])
    backups = {v.name: (draw(hosts), draw(hosts)) for v in cluster.vms if draw(st.booleans())}
    return Proof(Redundancy(2), backups=backups)


def rest(cluster: Cluster, gone: list[str], plan: FailoverPlan) -> tuple[Cluster, dict[str, str]]:
    """What is left of a cluster, and where everything is when the plan was followed."""
    places = {v.name: v.host for v in cluster.vms if v.host and v.host not in gone}
    places |= {restart.vm: restart.host for restart in plan.restarts}
    alive = tuple(each for each in cluster.hosts if each.name not in gone)
    vms = tuple(v for v in cluster.vms if v.host not in gone or v.name in places)
    return Cluster(alive, vms), places


@given(lost(), st.data())
@few
def test_every_restart_fits_at_its_moment(
    made: tuple[Cluster, list[str]], data: st.DataObject
) -> None:
    cluster, gone = made
    plan = plan_failover(cluster, gone, data.draw(proofs(cluster)))
    expected = {v.name for v in cluster.vms if v.host in gone and v.restarts}
    names = [restart.vm for restart in plan.restarts]
    assert sorted(names + [left.vm for left in plan.unplaced]) == sorted(expected)
    for count in range(len(names)):
        now, places = rest(cluster, gone, replace(plan, restarts=plan.restarts[: count + 1]))
        last = plan.restarts[count]
        assert last.host not in overfull(now, places) | set(gone)
        if misplaced(now, places, [last.vm]):
            # A circle of the proof: its rules hold when it is closed.
            assert last.proven
            end, final = rest(cluster, gone, plan)
            assert not misplaced(end, final, [last.vm])
            event("circle")


@given(clusters(max_vms=6))
@few
def test_an_unchanged_world_goes_by_the_proof(cluster: Cluster) -> None:
    proof = find_proof(cluster)
    assume(proof is not None)
    assert proof is not None
    for case in proof.cases:
        gone = [
            each.name
            for each in cluster.hosts
            if (each.domain(proof.redundancy.topology) or f"[{each.name}]") in case.lost
        ]
        plan = plan_failover(cluster, gone, proof)
        assert {restart.vm: restart.host for restart in plan.restarts} == case.restarts
        assert all(restart.proven for restart in plan.restarts)
        assert plan.unplaced == ()


def wants_company(each: Vm) -> bool:
    return any(r.required and r.kind is not RuleKind.ANTI_AFFINITY for r in each.rules)


@given(lost(), st.data())
@few
def test_no_lower_priority_takes_the_room_of_a_higher(
    made: tuple[Cluster, list[str]], data: st.DataObject
) -> None:
    cluster, gone = made
    # So full that something is left over.
    hosts = tuple(replace(h, capacity=Room(h.capacity.cpu, 5)) for h in cluster.hosts)
    vms = tuple(
        replace(v, rules=() if wants_company(v) else v.rules, restarts=True) for v in cluster.vms
    )
    cluster = replace(cluster, hosts=hosts, vms=vms)
    plan = plan_failover(cluster, gone, data.draw(proofs(cluster)))
    by_name = {v.name: v for v in vms}
    for left in plan.unplaced:
        v = by_name[left.vm]
        above = [r for r in plan.restarts if by_name[r.vm].priority >= v.priority]
        event(f"lower ones restarted: {len(above) < len(plan.restarts)}")
        for each in hosts:
            if each.name not in gone:
                higher = replace(plan, restarts=tuple(above))
                now, places = rest(cluster, gone, higher)
                now = replace(now, vms=(*now.vms, v))
                places[v.name] = each.name
                full = each.name in overfull(now, places)
                assert full or misplaced(now, places, [v.name])


@given(lost(ruled=False))
@few
def test_without_rules_the_order_is_by_priority(made: tuple[Cluster, list[str]]) -> None:
    cluster, gone = made
    priority = {v.name: v.priority for v in cluster.vms}
    plan = plan_failover(cluster, gone)
    assert all(priority[a.vm] >= priority[b.vm] for a, b in pairwise(plan.restarts))


@given(lost(), st.data())
@few
def test_the_order_of_the_input_decides_nothing(
    made: tuple[Cluster, list[str]], data: st.DataObject
) -> None:
    cluster, gone = made
    proof = data.draw(proofs(cluster))
    hosts, vms = data.draw(st.permutations(cluster.hosts)), data.draw(st.permutations(cluster.vms))
    shuffled = replace(cluster, hosts=tuple(hosts), vms=tuple(vms))
    assert plan_failover(shuffled, gone[::-1], proof) == plan_failover(cluster, gone, proof)
