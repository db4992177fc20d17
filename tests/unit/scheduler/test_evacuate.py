# SPDX-License-Identifier: Apache-2.0
"""Hosts are emptied, or it is told who stays and why."""

from dataclasses import replace

import pytest
from hypothesis import given

from nopal_scheduler.model import Cluster, Redundancy, Rule, RuleKind
from nopal_scheduler.moving.balance import balance, evacuate
from nopal_scheduler.moving.plan import Limits
from nopal_scheduler.state import State
from support.balancing import EAGER, QUICK, NothingToB, host, is_right, steps, vm
from support.tinyclusters import clusters


@pytest.mark.slow
@QUICK
@given(cluster=clusters(max_vms=8))
def test_an_evacuation_empties_the_host_or_says_who_stays(cluster: Cluster) -> None:
    plan = evacuate(State(cluster), ["h0"], EAGER)
    is_right(cluster, plan)
    end = cluster
    for _, move, after in steps(cluster, plan):
        assert move.target != "h0"
        end = after
    left = sorted(vm.name for vm in end.vms if vm.host == "h0")
    assert left == [stay.vm for stay in plan.stays]
    assert all(stay.host == "h0" for stay in plan.stays)
    for stay in plan.stays:
        assert stay.why.startswith(f"0/{len(cluster.hosts) - 1} hosts fit: "), stay.why


@QUICK
@given(cluster=clusters(max_vms=8, failures=1))
def test_a_host_that_is_named_is_emptied_as_one_that_is_draining(cluster: Cluster) -> None:
    """But for the proof, in which a host takes restarts until it is draining."""
    cluster = replace(cluster, redundancy=Redundancy(0))
    hosts = (replace(h, draining=h.draining or h.name == "h0") for h in cluster.hosts)
    draining = replace(cluster, hosts=tuple(hosts))
    named = evacuate(State(cluster), ["h0"], EAGER)
    assert named == evacuate(State(draining), ["h0"], EAGER)


@pytest.mark.parametrize("most", [1, 2])
def test_what_was_moved_before_a_refusal_counts_for_the_limit(most: int) -> None:
    hosts = (host("a"), host("b"), host("c"), host("d"))
    vms = tuple(vm(f"v{i}", "a") for i in range(8))
    plan = balance(State(Cluster(hosts, vms)), Limits(moves=most), prover=NothingToB)
    assert len(plan.moves) == most


def test_who_cannot_leave_is_told_why() -> None:
    hosts = (host("a"), host("b", memory=7), host("c", blocked="not ready"))
    vms = (vm("fixed", "a", 1, movable=False), vm("v", "a"), vm("w", "a", 2))
    stays = evacuate(State(Cluster(hosts, vms)), ["a"]).stays
    assert [(stay.vm, stay.why) for stay in stays] == [
        ("fixed", "it may not be moved"),
        ("v", "0/2 hosts fit: 1 insufficient memory (needs 8, 5 free), 1 not ready"),
    ]
    reached = evacuate(State(Cluster(hosts, vms)), ["a"], Limits(moves=0)).stays
    assert reached[2].why == "the limit of 0 moves is reached"


def why(cluster: Cluster, *hosts: str) -> dict[str, str]:
    return {stay.vm: stay.why for stay in evacuate(State(cluster), hosts).stays}


def test_who_is_held_by_the_rule_of_another_is_told_whose() -> None:
    near = Rule(RuleKind.AFFINITY, (("app", "db"),))
    even = Rule(RuleKind.SPREAD, (("app", "db"),))
    hosts = (host("a"), host("b"), host("c", draining=True))
    db = vm("db", "a", labels={"app": "db"})
    held = "1 would break web's affinity to app=db in topology host"
    pair = Cluster(hosts, (db, vm("web", "a", rules=(near,))))
    assert why(pair, "a") == {
        "db": f"0/2 hosts fit: 1 draining, {held}",
        "web": "0/2 hosts fit: 1 affinity to app=db in topology host, 1 draining",
    }
    loose = vm("any", "a", rules=(replace(near, weight=5),))
    assert why(Cluster(hosts, (db, loose)), "a") == {}
    # One that looks on from elsewhere.
    db2 = vm("db2", "b", labels={"app": "db"})
    cluster = Cluster((*hosts, host("d")), (db, db2, vm("web", "b", rules=(even,))))
    assert why(cluster, "a") == {}
    assert [m.target for m in evacuate(State(cluster), ["a"]).moves] == ["d"]
    crowded = replace(cluster, hosts=(*hosts, host("d", memory=4)))
    assert why(crowded, "a")["db"] == (
        "0/3 hosts fit: 1 draining, 1 insufficient memory (needs 8, 4 free),"
        " 1 would break web's spread of app=db in topology host (at most 1 apart)"
    )


def test_where_all_hosts_are_emptied_none_is_left() -> None:
    cluster = Cluster((host("a"), host("b")), (vm("v", "a"), vm("w", "b", movable=False)))
    assert why(cluster, "a", "b") == {"v": "no host is left", "w": "it may not be moved"}


def test_others_make_room_for_what_must_leave() -> None:
    hosts = (host("a"), host("b"), host("c", memory=16))
    vms = (vm("v", "a", 60), vm("w", "b", 10))
    plan = evacuate(State(Cluster(hosts, vms)), ["a"])
    assert [(m.vm, m.target) for m in plan.moves] == [("w", "c"), ("v", "b")]
    assert [len(batch) for batch in plan.batches] == [1, 1], "w has to be gone first"


def test_an_unknown_host_cannot_be_evacuated() -> None:
    with pytest.raises(KeyError):
        evacuate(State(Cluster((host("a"),))), ["b"])
