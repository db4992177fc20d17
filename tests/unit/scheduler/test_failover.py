# SPDX-License-Identifier: Apache-2.0
"""After a loss: the proof's places while they hold, the best that is left where they do not."""

from dataclasses import replace

import pytest

from nopal_scheduler.failover import FailoverPlan, plan_failover
from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.proof import Case, Proof

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


def test_the_case_of_just_this_loss_counts() -> None:
    both, one = Case(("a", "b"), {"v": "c"}), Case(("a",), {"v": "b"})
    cluster = Cluster((*THREE, host("d", 8)), (vm("v", "a"),), Redundancy(2))
    assert made(plan_failover(cluster, ["a"], Proof(Redundancy(2), (both, one)))) == ["v b*"]
    assert made(plan_failover(cluster, ["b", "a"], Proof(Redundancy(2), (one, both)))) == ["v c*"]


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


def test_promised_room_is_left_alone_in_every_attempt() -> None:
    hosts = (
        host("a", 20),
        host("b", 10, one="y", two="y"),
        host("c", 10, one="y"),
        host("d", 20, two="y"),
    )
    vms = (
        # Alone, the first would go to b where the load is spread, the second where it is packed.
        replace(vm("one", "a", 3, priority=1), node_selector={"one": "y"}),
        replace(vm("two", "a", 3, priority=1), node_selector={"two": "y"}),
        vm("v", "a", 4),
        vm("on-b", "b", 6),
        vm("on-c", "c", 7),
        vm("on-d", "d", 5),
    )
    plan = plan_failover(Cluster(hosts, vms, K1), ["a"], on_loss_of_a(v="b"))
    assert made(plan) == ["one c", "two d", "v b*"]


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
    # Who was promised it does not wait for it while others take what is left.
    vms = (vm("v", "a", 8, priority=1), vm("new", "a", 8))
    assert made(plan_failover(Cluster(hosts, vms, K1), ["a"], on_loss_of_a(v="b"))) == ["v c"]


def test_room_that_was_taken_meanwhile() -> None:
    vms = (vm("v", "a", 4), vm("late", "b", 5))
    plan = plan_failover(Cluster(THREE, vms, K1), ["a"], on_loss_of_a(v="b"))
    assert made(plan) == ["v c"]


def test_names_that_are_gone_from_the_zone() -> None:
    plan = plan_failover(
        Cluster(THREE, (vm("v", "a"),), K1), ["a"], on_loss_of_a(v="gone", old="b")
    )
    assert made(plan) == ["v b"]
    listed = Proof(K1, backups={"v": ("gone", "c")})
    assert made(plan_failover(Cluster(THREE, (vm("v", "a"),), K1), ["a"], listed)) == ["v c*"]


def test_more_is_lost_than_was_proven() -> None:
    vms = (vm("v", "a", 4), vm("w", "b", 4, priority=1), vm("x", "b", 8))
    proof = Proof(K1, (Case(("a",), {"v": "b"}), Case(("b",), {"w": "a", "x": "c"})))
    plan = plan_failover(Cluster(THREE, vms, K1), ["a", "b"], proof)
    assert made(plan) == ["w c", "v c"]
    assert [left.vm for left in plan.unplaced] == ["x"]
    assert plan.unplaced[0].reason.startswith("0/1 hosts fit: 1 insufficient cpu")


def test_backup_lists_prove_no_more_than_their_k() -> None:
    proof = Proof(K1, backups={"v": ("b", "c")})
    assert made(plan_failover(Cluster(THREE, (vm("v", "a"),), K1), ["a", "b"], proof)) == ["v c"]


def test_the_search_packs_where_spreading_does_not_find_room_for_all() -> None:
    hosts = (host("a", 20), host("b", 5), host("c", 10))
    vms = (vm("u", "a", 4, priority=1), vm("v", "a", 10))
    assert made(plan_failover(Cluster(hosts, vms), ["a"])) == ["u b", "v c"]
    assert made(plan_failover(Cluster(hosts, vms[:1]), ["a"])) == ["u c"]
    # Nor is packed for the sake of one that finds no room either way.
    three = (vm("u", "a", 4), vm("v", "a", 3), vm("x", "a", 9))
    assert made(plan_failover(Cluster((host("a", 99), *THREE[1:]), three), ["a"])) == ["u b", "v c"]


def test_packing_takes_the_largest_first_too() -> None:
    hosts = (host("a", 30), host("b", 5), host("c", 10), host("d", 6))
    vms = (vm("u", "a", 4, priority=1), vm("v", "a", 7), vm("w", "a", 3), vm("x", "a", 6))
    assert made(plan_failover(Cluster(hosts, vms), ["a"])) == ["u b", "v c", "x d", "w c"]


def test_of_one_priority_as_many_as_find_room() -> None:
    hosts = (host("a", 9), host("b", 4))
    vms = (vm("u", "a", 2), vm("v", "a", 2), vm("w", "a", 4))
    assert made(plan_failover(Cluster(hosts, vms), ["a"])) == ["u b", "v b"]
    larger = (*vms, vm("x", "a", 5), vm("y", "a", 5, priority=1))
    left = plan_failover(Cluster(hosts, larger), ["a"]).unplaced
    assert [each.vm for each in left] == ["y", "w", "x"]
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


def test_what_waits_for_a_lower_priority_keeps_its_promised_room() -> None:
    even = rule(RuleKind.SPREAD, "web", "rack")
    hosts = (host("a", rack="1"), host("b", 3, rack="2"), host("c", 1, rack="3"))
    vms = (
        vm("there", "b", app="web"),
        vm("v", "a", 2, even, priority=9, app="web"),
        vm("new", "a", 2, priority=7),
        vm("w", "a", priority=5, app="web"),
    )
    plan = plan_failover(Cluster(hosts, vms, K1), ["a"], on_loss_of_a(v="b", w="c"))
    assert made(plan) == ["w c*", "v b*"]


def test_what_waits_is_next_as_soon_as_it_fits() -> None:
    even = rule(RuleKind.SPREAD, "web", "rack")
    hosts = (host("a", rack="1"), host("b", rack="2"), host("c", 1, rack="3"))
    vms = (
        vm("there", "b", app="web"),
        vm("v", "a", 3, even, priority=9, app="web"),
        replace(vm("w", "a", priority=5, app="web"), node_selector={"rack": "3"}),
        vm("x", "a", 3, priority=1),
    )
    plan = plan_failover(Cluster(hosts, vms), ["a"])
    assert made(plan) == ["w c", "v b"]


def test_room_that_a_void_promise_sets_free_is_used() -> None:
    hosts = (host("a", 9), host("b", only="b"), host("c", 9, only="c"))
    vms = (
        vm("y", "a", 4, rule(RuleKind.AFFINITY, "db"), priority=9),
        replace(vm("x", "a", 4, priority=5), node_selector={"only": "b"}),
        replace(vm("db", "a", app="db"), node_selector={"only": "c"}),
    )
    plan = plan_failover(Cluster(hosts, vms, K1), ["a"], on_loss_of_a(y="b"))
    assert made(plan) == ["db c", "y c", "x b"]


@pytest.mark.parametrize(
    ("mine", "late", "app"),
    [
        ((), vm("late", "b", 1, rule(RuleKind.ANTI_AFFINITY, "v")), ""),
        ((rule(RuleKind.ANTI_AFFINITY, "db"),), vm("late", "b", 1, app="db"), "db"),
        ((rule(RuleKind.AFFINITY, "db"),), vm("moved", "c", 1, app="db"), ""),
    ],
)
def test_a_promise_that_a_rule_makes_void_is_not_waited_for(
    mine: tuple[Rule, ...], late: Vm, app: str
) -> None:
    hosts = (host("a", 8), host("b", 5), host("c", 5))
    vms = (vm("v", "a", 4, *mine, priority=9, app="v"), vm("x", "a", 4, app=app), late)
    plan = plan_failover(Cluster(hosts, vms, K1), ["a"], on_loss_of_a(v="b"))
    assert made(plan)[0] == "v c"


def test_of_many_anchors_the_one_that_is_promised_nearby() -> None:
    many = {f"db{i:02}": "b" for i in range(40)} | {"db99": "c"}
    hosts = (host("a", 99), host("b", 99), host("c", 99))
    vms = [vm(name, "a", app="db") for name in many]
    vms.append(vm("web", "a", 1, rule(RuleKind.AFFINITY, "db"), priority=9))
    plan = plan_failover(Cluster(hosts, tuple(vms), K1), ["a"], on_loss_of_a(web="c", **many))
    assert made(plan)[:2] == ["db99 c*", "web c*"]


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
