# SPDX-License-Identifier: Apache-2.0
"""Where a virtual machine goes: promises, held against the rules as the docs say them."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler.model import Cluster, Host, Room, Rule, RuleKind, Vm
from nopal_scheduler.placing.place import NoPlacement, Placement, place, ranking
from nopal_scheduler.state import State
from support import naiveplacing as naive
from support.tinyclusters import clusters, hosts, vms

GPU = "nvidia.com/gpu"
WEB = (("app", "web"),)
promise = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def questions(draw: st.DrawFn, *, max_hosts: int = 4) -> tuple[Cluster, Vm]:
    """A cluster, with GPUs and hosts over capacity now and then, and one more virtual machine."""
    cluster = draw(clusters(max_hosts=max_hosts, max_vms=5))
    kinds = draw(st.lists(st.sampled_from(("", "", "", "gpu", "over")), min_size=4, max_size=4))
    made = []
    for host, kind in zip(cluster.hosts, kinds, strict=False):
        if kind == "gpu":
            made.append(replace(host, capacity=host.capacity + Room(more={GPU: 2})))
        else:
            made.append(replace(host, allocated=Room(0, 9)) if kind == "over" else host)
    vm = draw(vms("new", ruled=True))
    vm = replace(vm, rules=vm.rules + draw(vms("more", ruled=True)).rules)
    needs = draw(st.sampled_from((vm.needs, vm.needs, vm.needs + Room(more={GPU: 1}))))
    return replace(cluster, hosts=tuple(made)), replace(vm, needs=needs)


@given(questions())
@promise
def test_only_hosts_that_fit_and_the_best_of_them(question: tuple[Cluster, Vm]) -> None:
    """Never over capacity, never against a required rule; preferences, then load, then name."""
    cluster, vm = question
    state = State(cluster)
    by_name = {host.name: host for host in cluster.hosts}
    expected = sorted(
        naive.fitting(cluster, vm),
        key=lambda name: (
            -naive.preference(cluster, vm, by_name[name]),
            *naive.load(cluster, vm, by_name[name]),
            name,
        ),
    )
    assert [state.hosts[i].name for i in ranking(state, vm)] == expected
    assert {state.hosts[i].name for i in ranking(state, vm, fullest=True)} == {*expected}
    answer = place(state, vm)
    assert (answer == Placement(expected[0])) if expected else isinstance(answer, NoPlacement)


@given(questions())
@promise
def test_every_host_that_does_not_fit_says_why(question: tuple[Cluster, Vm]) -> None:
    cluster, vm = question
    answer = place(State(cluster), vm)
    if isinstance(answer, NoPlacement):
        assert {refusal.host for refusal in answer.refusals} == {h.name for h in cluster.hosts}
        assert answer.message.startswith(f"0/{len(cluster.hosts)} hosts fit: ")
        short = {(r.host, r.reason) for r in answer.refusals if r.needs is not None}
        takes = [host for host in cluster.hosts if not host.refusal]
        lacking = {
            (host.name, f"insufficient {name}")
            for host in takes
            for name, amount in naive.named(vm.needs).items()
            if amount > naive.left(cluster, host).get(name, 0)
            and any(name in h.capacity.more or name != GPU for h in cluster.hosts)
        }
        assert short == lacking


@given(questions(), st.randoms(use_true_random=False))
@promise
def test_the_order_of_the_input_decides_nothing(
    question: tuple[Cluster, Vm], luck: random.Random
) -> None:
    cluster, vm = question
    mixed = replace(
        cluster,
        hosts=tuple(luck.sample(cluster.hosts, len(cluster.hosts))),
        vms=tuple(luck.sample(cluster.vms, len(cluster.vms))),
    )
    assert place(State(cluster), vm) == place(State(mixed), vm)


@given(questions())
@promise
def test_asking_changes_nothing(question: tuple[Cluster, Vm]) -> None:
    cluster, vm = question
    state = State(cluster)
    before = (state.free.copy(), dict(state.vms), [list(there) for there in state.on])
    first = place(state, vm)
    assert (state.free == before[0]).all()
    assert (state.vms, [list(there) for there in state.on]) == before[1:]
    assert place(state, vm) == first


@given(questions(), hosts("z"))
@promise
def test_another_host_never_takes_a_place_away(question: tuple[Cluster, Vm], more: Host) -> None:
    cluster, vm = question
    vm = replace(vm, rules=tuple(r for r in vm.rules if r.kind is not RuleKind.SPREAD))
    larger = replace(cluster, hosts=(*cluster.hosts, more))
    assert {*naive.fitting(cluster, vm)} <= {*naive.fitting(larger, vm)}
    if isinstance(place(State(cluster), vm), Placement):
        assert isinstance(place(State(larger), vm), Placement)


def host(name: str, rack: str = "", **more: object) -> Host:
    made = Host(name, Room(8, 8), labels={"rack": rack} if rack else {})
    return replace(made, **more)  # type: ignore[arg-type]


def chosen(state: State, vm: Vm) -> str:
    """Return the host that is taken; the ranking begins with it."""
    answer = place(state, vm)
    assert isinstance(answer, Placement)
    assert answer.host == state.hosts[ranking(state, vm)[0]].name
    return answer.host


def test_exactly_full_still_fits() -> None:
    assert place(State(Cluster((host("a"),))), Vm("x", Room(8, 8))) == Placement("a")
    assert isinstance(place(State(Cluster((host("a"),))), Vm("x", Room(8, 9))), NoPlacement)


def test_of_equally_full_hosts_the_one_with_more_left_of_the_rest() -> None:
    hosts = (host("a", allocated=Room(5, 4)), host("b", allocated=Room(3, 5)))
    assert chosen(State(Cluster(hosts)), Vm("x", Room(1, 1))) == "b"


def test_the_heavier_preference_wins_over_load() -> None:
    near = Rule(RuleKind.AFFINITY, WEB, "rack", weight=10)
    apart = Rule(RuleKind.ANTI_AFFINITY, WEB, "rack", weight=11)
    there = (Vm("w", Room(1, 6), "a", labels=dict(WEB)),)
    state = State(Cluster((host("a", "1"), host("b", "2")), there))
    assert chosen(state, Vm("x", Room(1, 1), rules=(near,))) == "a"
    assert chosen(state, Vm("x", Room(1, 1), rules=(near, apart))) == "b"
    lighter = replace(apart, weight=9)
    assert chosen(state, Vm("x", Room(1, 1), rules=(near, lighter))) == "a"


def test_what_others_only_prefer_keeps_nobody_away() -> None:
    rather = Rule(RuleKind.ANTI_AFFINITY, WEB, weight=100)
    there = (Vm("w", Room(1, 1), "a", rules=(rather,)),)
    web = Vm("x", Room(1, 1), labels=dict(WEB))
    assert place(State(Cluster((host("a"),), there)), web) == Placement("a")


def test_a_selector_matches_by_all_of_its_labels_and_without_any_everything() -> None:
    there = (Vm("w", Room(1, 1), "a", labels={"app": "web", "tier": "1"}), Vm("y", Room(2, 2), "b"))
    state = State(Cluster((host("a"), host("b"), host("c", allocated=Room(7, 7))), there))

    def apart(*selector: tuple[str, str]) -> Vm:
        return Vm("x", Room(1, 1), rules=(Rule(RuleKind.ANTI_AFFINITY, selector),))

    assert place(state, apart(*WEB, ("tier", "1"))) == Placement("b")
    assert place(state, apart(*WEB, ("tier", "2"))) == Placement("a")
    assert place(state, apart()) == Placement("c")


def test_the_first_of_its_kind_goes_where_the_topology_is() -> None:
    near = Rule(RuleKind.AFFINITY, WEB, "rack")
    first = Vm("x", Room(1, 1), labels=dict(WEB), rules=(near,))
    hosts = (host("a"), host("b", "1", allocated=Room(4, 4)))
    assert place(State(Cluster(hosts)), first) == Placement("b")
    assert isinstance(place(State(Cluster(hosts[:1])), first), NoPlacement)


def test_gpus_in_use_are_no_load_for_who_needs_none() -> None:
    gpus = host("a", capacity=Room(8, 8, {GPU: 2}))
    plain = host("b", allocated=Room(1, 0))
    there = (Vm("w", Room(0, 0, {GPU: 2}), "a"),)
    assert place(State(Cluster((gpus, plain), there)), Vm("x", Room(1, 1))) == Placement("a")


def test_none_of_a_resource_that_nobody_has_is_no_need() -> None:
    assert place(State(Cluster((host("a"),))), Vm("x", Room(1, 1, {GPU: 0}))) == Placement("a")


def test_one_that_is_there_already_is_not_placed_twice() -> None:
    there = Vm("x", Room(1, 1), "a")
    with pytest.raises(ValueError, match='a vm "x" already'):
        place(State(Cluster((host("a"),), (there,))), there)
