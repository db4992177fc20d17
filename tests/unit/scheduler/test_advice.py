# SPDX-License-Identifier: Apache-2.0
"""What would help: only what is true, and the smallest lack first."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler.model import HOST, Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.placing.advice import Advice, Way, help_for
from nopal_scheduler.placing.place import NoPlacement, Placement, place, ranking
from nopal_scheduler.state import State
from support.tinyclusters import clusters, vms

GIB = 2**30
WEB = (("app", "web"),)
APART = Rule(RuleKind.ANTI_AFFINITY, WEB, "rack")
LAN = frozenset({"lan"})


@st.composite
def misfits(draw: st.DrawFn) -> tuple[Cluster, Vm]:
    """A cluster and a virtual machine that wants much of it."""
    cluster = draw(clusters(max_hosts=4, max_vms=5))
    vm = draw(vms("new", ruled=True))
    more = draw(vms("more", ruled=True))
    labels = draw(st.sampled_from(({}, {}, {"disk": "ssd"}, {"rack": "r1"})))
    return cluster, replace(
        vm,
        needs=vm.needs + Room(draw(st.integers(0, 5)), draw(st.integers(0, 6))),
        networks=draw(st.sampled_from(((), ("lan",), ("lan", "dmz")))),
        node_selector=labels,
        rules=vm.rules + more.rules,
    )


@pytest.mark.slow
@given(misfits())
@settings(max_examples=80, deadline=None, derandomize=True)
def test_every_way_is_enough(misfit: tuple[Cluster, Vm]) -> None:
    cluster, vm = misfit
    state = State(cluster)
    advices = help_for(state, vm, most=100)
    if isinstance(place(state, vm), Placement):
        assert not advices
    for advice in advices:
        if advice.message.startswith("a larger host"):
            assert not advice.ways
            empty = (replace(h, blocked="", draining=False) for h in cluster.hosts)
            alone = State(Cluster(tuple(empty)))
            assert isinstance(place(alone, replace(vm, rules=())), NoPlacement)
            continue
        assert advice.message.startswith("fits ")
        assert advice.ways
        for way in advice.ways:
            then = State(way.applied(cluster))
            assert isinstance(place(then, way.vm), Placement), advice
            if way.host is not None:
                assert then.index[way.host.name] in ranking(then, way.vm), advice
    assert help_for(State(replace(cluster, vms=cluster.vms[::-1])), vm, most=100) == advices


@pytest.mark.slow
@given(misfits())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_one_byte_less_is_not_enough(misfit: tuple[Cluster, Vm]) -> None:
    """The lack is what it says, to the last byte and processor."""
    cluster, vm = misfit
    state = State(cluster)
    there = {host.name: host for host in cluster.hosts}
    for advice in help_for(state, vm, most=100):
        for way in advice.ways:
            if " free on " in advice.message and way.host is not None:
                old = there[way.host.name].allocated
                for less in (Room(1, 0), Room(0, 1)):
                    now = way.host.allocated + less
                    if now.cpu <= old.cpu and now.memory <= old.memory:
                        host = replace(way.host, allocated=now)
                        then = State(Way(vm, host).applied(cluster))
                        assert then.index[host.name] not in ranking(then, vm)


def host(name: str, rack: str = "", **more: object) -> Host:
    made = Host(name, Room(8, 8 * GIB), labels={"rack": rack} if rack else {})
    return replace(made, **more)  # type: ignore[arg-type]


def full(**taken: int) -> tuple[Vm, ...]:
    """Return a virtual machine of so many GiB for each host that is named."""
    return tuple(Vm(f"on-{name}", Room(0, gib * GIB), name) for name, gib in taken.items())


def advice(vm: Vm, *hosts: Host, there: tuple[Vm, ...] = (), over: str = HOST) -> list[str]:
    state = State(Cluster(hosts, there, Redundancy(0, over)))
    return [advice.message for advice in help_for(state, vm)]


def test_room_by_failure_domain_the_smallest_lack_first() -> None:
    hosts = (
        *(host("a1", "a"), host("a2", "a"), host("b1", "b"), host("b2", "b")),
        *(host("c1", "c"), host("c2", "c", blocked="not ready"), host("d1")),
    )
    there = full(a1=7, a2=7, b1=6, b2=7, c1=7, c2=5, d1=8)
    assert advice(Vm("x", Room(2, 3 * GIB)), *hosts, there=there, over="rack") == [
        "fits if 3Gi of memory were free on any host of rack b (b1 lacks the least: 1Gi of memory)",
        "fits if 3Gi of memory were free on any host of rack a (a1 lacks the least: 2Gi of memory)",
        "fits if 3Gi of memory were free on host c1 of rack c (it lacks 2Gi of memory)",
        "fits on host c2 if it took virtual machines again (not ready)",
    ]


def test_one_lack_is_less_than_two_and_a_host_that_is_too_small_is_none() -> None:
    hosts = (host("a"), host("b"), host("c", allocated=Room(0, 6 * GIB)))
    there = (*full(b=8), Vm("v", Room(7, 6 * GIB), "a"))
    assert advice(Vm("x", Room(2, 3 * GIB)), *hosts, there=there) == [
        "fits if 3Gi of memory were free on host b (it lacks 3Gi of memory)",
        "fits if 2 cpu and 3Gi of memory were free on host a (it lacks 1 cpu and 1Gi of memory)",
    ]


def test_without_domains_hosts_are_named_until_they_are_many() -> None:
    hosts = [host(f"h{i}") for i in range(5)]
    there = full(h0=7, h1=7, h2=7, h3=7, h4=7)
    lack = "(h0 lacks the least: 1Gi of memory)"
    vm = Vm("x", Room(1, 2 * GIB))
    wants = "fits if 2Gi of memory were free on"
    small = host("s", capacity=Room(1, GIB))
    assert advice(vm, *hosts, there=there) == [f"{wants} any host {lack}"]
    assert advice(vm, *hosts[:3], small, there=there[:3]) == [
        f"{wants} any of h0, h1 and h2 {lack}"
    ]
    assert advice(vm, *hosts, small, there=there) == [f"{wants} any of h0, h1 and 3 more {lack}"]


def test_networks_and_labels_where_there_is_room() -> None:
    hosts = (
        host("a", networks=LAN),
        host("b", labels={"disk": "ssd"}),
        host("c", networks=LAN),
        host("d"),
    )
    vm = Vm("x", Room(1, GIB), networks=("lan",), node_selector={"disk": "ssd"})
    assert advice(vm, *hosts, there=full(d=8)) == [
        "fits on host b if network lan were realized there",
        "fits on any of a and c if it had label disk=ssd",
    ]


def test_what_helps_most_hosts_comes_first() -> None:
    hosts = (host("a", blocked="asleep"), host("b", draining=True), host("c", draining=True))
    assert advice(Vm("x", Room(1, GIB)), *hosts) == [
        "fits on any of b and c if it took virtual machines again (draining)",
        "fits on host a if it took virtual machines again (asleep)",
    ]


def test_a_label_that_moves_the_host_to_another_domain_is_no_advice() -> None:
    vm = Vm("x", Room(1, GIB), node_selector={"rack": "a"}, rules=(APART,))
    assert advice(vm, host("h")) == []
    there = (Vm("w", Room(8, 0), "i", labels=dict(WEB)),)
    assert advice(vm, host("h", "b"), host("i", "a"), there=there) == []
    free = replace(vm, rules=(), labels=dict(WEB))
    assert advice(free, host("h")) == ["fits on host h if it had label rack=a"]
    # Nor where the domains are those of another's rule.
    others = (Vm("v", Room(8, 0), "i", rules=(APART,)),)
    assert advice(free, host("h", "b"), host("i", "a"), there=others) == []


def test_a_host_back_in_an_empty_domain_takes_what_a_spread_keeps_from_the_others() -> None:
    even = Rule(RuleKind.SPREAD, WEB, "rack")
    vm = Vm("x", Room(1, GIB), labels=dict(WEB), rules=(even,))
    there = tuple(Vm(f"w{i}", Room(1, 0), "b", labels=dict(WEB)) for i in range(2))
    hosts = (host("a", "a"), host("b", "b"), host("c", "c", draining=True))
    assert advice(vm, *hosts, there=(*there, *full(a=8))) == [
        "fits if 1Gi of memory were free on host a of rack a (it lacks 1Gi of memory)",
        "fits on host c if it took virtual machines again (draining)",
        "fits if its spread of app=web in topology rack (at most 1 apart) were only preferred",
    ]


def test_the_only_host_back_makes_the_only_domain_of_a_spread() -> None:
    vm = Vm("x", Room(1, GIB), rules=(Rule(RuleKind.SPREAD, WEB, "rack"),))
    assert advice(vm, host("a", "a", draining=True)) == [
        "fits on host a if it took virtual machines again (draining)"
    ]


def test_a_rule_that_stands_alone_against_it() -> None:
    there = (Vm("w", Room(1, GIB), "a", labels=dict(WEB)),)
    assert advice(Vm("x", Room(1, GIB), rules=(APART,)), host("a", "1"), there=there) == [
        "fits if its anti-affinity to app=web in topology rack were only preferred"
    ]


def test_where_every_host_is_too_small_the_largest_are_named() -> None:
    pages = "hugepages-1Gi"
    hosts = (
        host("a", capacity=Room(8, 64 * GIB, {pages: 4 * GIB, "gpu": 1}), draining=True),
        host("b", capacity=Room(32, 8 * GIB), labels={"disk": "ssd"}),
    )
    assert advice(Vm("x", Room(200, 70 * GIB)), *hosts, there=full(a=60)) == [
        "a larger host, with 200 cpu (the largest has 32) and 70Gi of memory (the largest has 64Gi)"
    ]
    assert advice(Vm("x", Room(1, GIB, {"gpu": 2, pages: 5 * GIB})), *hosts) == [
        "a larger host, with 2 gpu (the largest has 1) and 5Gi of hugepages-1Gi"
        " (the largest has 4Gi)"
    ]
    assert advice(Vm("x", Room(9, 9 * GIB)), *hosts) == [
        "a larger host, with 9 cpu and 9Gi of memory at once"
    ]
    ssd = Vm("x", Room(1, 9 * GIB, {"gpu": 1}), node_selector={"disk": "ssd"})
    assert advice(ssd, *hosts)[0] == (
        "a larger host that it may use, with 9Gi of memory (the largest has 8Gi) and 1 gpu"
        " (none has any)"
    )
    # Where one would do if it were empty, it is no larger one that is wanted.
    assert "larger" not in "".join(advice(Vm("x", Room(1, 8 * GIB)), *hosts, there=full(a=64, b=1)))


def test_nothing_helps_where_nobody_has_the_resource() -> None:
    assert advice(Vm("x", Room(1, GIB, {"gpu": 1})), host("a", capacity=Room(0, 0))) == []


def test_movers_are_asked_at_the_end_and_even_if_it_fits() -> None:
    moves = Advice("fits with 1 move: w from a to b")
    state = State(Cluster((host("a", capacity=Room(0, 0)),)))
    vm = Vm("x", Room(1, GIB))
    assert help_for(state, vm, movers=(lambda *_: None, lambda *_: moves))[-1] == moves
    assert help_for(State(Cluster((host("a"),))), vm, movers=(lambda *_: moves,)) == (moves,)
