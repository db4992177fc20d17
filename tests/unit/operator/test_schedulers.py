# SPDX-License-Identifier: Apache-2.0
"""Schedulers kept up to date say what schedulers made anew would say."""

from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_operator import schedulers as module
from nopal_operator.premises import Premises
from nopal_operator.schedulers import Hold, Schedulers, SearchingError
from nopal_scheduler import (
    Host,
    NoPlacement,
    Placement,
    Proof,
    Redundancy,
    Room,
    Rule,
    RuleKind,
    Vm,
)
from nopal_scheduler import Scheduler as Real
from nopal_scheduler.checker import check_placement, check_proof
from support.schedulers import APART, NAMES, PREMISES, VAST, Aside, guest


def test_a_zone_is_built_once_while_virtual_machines_come_and_go(built: list[int]) -> None:
    all_ = Schedulers()
    for i in range(6):
        vm = guest(f"vm{i}", 1)
        answer = all_.place("z", PREMISES, vm)
        assert isinstance(answer, Placement)
        all_.assume(Hold(vm, answer.host, 1))
        all_.assign(vm.name, Hold(vm, answer.host, 1))
        all_.seen(vm.name, 1)
    all_.assign("vm0", None)
    assert (len(all_.cluster(PREMISES).vms), all_.assumed()) == (5, 0)
    assert built == [0]
    all_.place("z", replace(PREMISES, hosts=PREMISES.hosts[:2]), guest("new"))
    assert built == [0, len(all_.cluster(replace(PREMISES, hosts=PREMISES.hosts[:2])).vms)]


def test_labels_that_no_rule_selects_by_are_not_the_schedulers(built: list[int]) -> None:
    all_ = Schedulers()
    all_.assign("plain", Hold(guest("plain", app="db"), "a", 1))
    assert all_.scheduler("z", PREMISES).state.vms["plain"].labels == {}
    refused = all_.place("z", Premises(PREMISES.hosts[:1], Redundancy()), guest("new", 1, APART))
    assert isinstance(refused, NoPlacement), "the label counts once a rule asks for it"
    assert all_.scheduler("z", PREMISES).state.vms["plain"].labels == {"app": "db"}


def test_what_was_assumed_of_itself_is_not_in_its_way() -> None:
    all_ = Schedulers()
    vm, premises = guest("vm", 8), Premises(PREMISES.hosts[:1], Redundancy())
    all_.assume(Hold(vm, "a", 1))
    assert all_.place("z", premises, vm) == Placement("a")
    assert all_.load("a") == vm.needs, "and it is still held"
    assert isinstance(all_.place("z", premises, guest("other", 1)), NoPlacement)


def told(**changes: object) -> Premises:
    """Return the zone with its first host told otherwise."""
    first, *rest = PREMISES.hosts
    return replace(PREMISES, hosts=(replace(first, **changes), *rest))  # type: ignore[arg-type]


LABELLED = replace(guest("picky"), node_selector={"cpu": "x"})
ON_LAN = replace(guest("picky"), networks=("lan",))
NEW_CPU = replace(guest("picky"), cpu_features=frozenset("v"))


@pytest.mark.parametrize(
    ("changes", "picky"),
    [
        ({"labels": {"cpu": "x"}}, LABELLED),
        ({"networks": frozenset({"lan"})}, ON_LAN),
        ({"cpu_features": frozenset("v")}, NEW_CPU),
    ],
)
def test_what_nobody_asks_by_is_told_without_a_search(
    built: list[int], changes: dict[str, object], picky: Vm
) -> None:
    all_ = Schedulers()
    before, after = (replace(p, redundancy=Redundancy()) for p in (PREMISES, told(**changes)))
    all_.place("z", before, guest("vm"))
    was = all_.changes("z", before)
    assert all_.changes("z", after) == was
    assert built == [0]
    assert all_.place("z", after, picky) == Placement("a")
    assert built == [0], "it counts as soon as somebody asks by it"
    assert isinstance(all_.place("z", before, picky), NoPlacement)
    assert built == [0, 0], "and from then on it is no word"


def test_why_a_host_takes_nothing_is_told_without_a_search(built: list[int]) -> None:
    all_ = Schedulers()
    was = all_.changes("z", told(blocked="not ready (one)"))
    other = told(blocked="not ready (another)")
    answer = all_.place("z", other, guest("vm", 9))
    assert isinstance(answer, NoPlacement)
    assert "another" in answer.message
    assert all_.changes("z", other) != was, "figures are told with these words"
    assert built == [0]
    all_.scheduler("z", PREMISES)
    assert built == [0, 0]


def test_labels_of_domains_are_no_words(built: list[int]) -> None:
    all_ = Schedulers()
    racks = Rule(RuleKind.ANTI_AFFINITY, (("app", "db"),), "rack")
    all_.place("z", PREMISES, guest("vm", 1, racks))
    all_.scheduler("z", told(labels={"rack": "r"}))
    assert len(built) == 2
    all_.scheduler("z", replace(told(labels={"room": "r"}), redundancy=Redundancy(1, "room")))
    assert len(built) == 3
    all_.scheduler("z", replace(told(labels={"room": "s"}), redundancy=Redundancy(1, "room")))
    assert len(built) == 4


def test_rules_by_keys_of_ones_own_are_no_search_each(built: list[int]) -> None:
    all_ = Schedulers()
    for i in range(20):
        key = f"key{i}"
        alone = Rule(RuleKind.ANTI_AFFINITY, ((key, "x"),))
        for number, home in enumerate("ab"):
            vm = replace(guest(f"vm{i}-{number}", 0), labels={key: "x"})
            all_.assign(vm.name, Hold(vm, home, 1))
        left = all_.place("z", VAST, replace(guest(f"new{i}", 0, alone), labels={key: "x"}))
        assert left == Placement("c"), "labels that were there before the rule count"
        there = replace(guest(f"there{i}", 0, alone), labels={key: "x"})
        all_.assign(there.name, Hold(there, "c", 1))
    assert len(built) == 1
    state = all_.scheduler("z", VAST).state
    assert state.vms["vm0-0"].labels == {"key0": "x"}


def test_a_key_that_very_many_have_is_one_search(built: list[int]) -> None:
    all_ = Schedulers()
    for i in range(100):
        all_.assign(f"vm{i}", Hold(guest(f"vm{i}", 0, app="web"), "ab"[i % 2], 1))
    all_.place("z", VAST, guest("plain", 0))
    far = Rule(RuleKind.ANTI_AFFINITY, (("app", "web"),))
    for _ in range(3):
        assert all_.place("z", VAST, guest("new", 0, far)) == Placement("c")
    assert built == [100, 100]


def test_what_was_asked_is_remembered_while_a_zone_is_built_anew(built: list[int]) -> None:
    """The one that asks waits; without its key it would have the zone searched at each try."""
    all_ = Schedulers()
    all_.assign("db", Hold(guest("db", 1, app="db"), "a", 1))
    all_.place("z", PREMISES, guest("new", 1, APART))
    all_.scheduler("z", told(capacity=Room(7, 7)))
    assert all_.scheduler("z", told(capacity=Room(7, 7))).state.vms["db"].labels == {"app": "db"}


def test_an_edit_that_nobody_sees_changes_nothing() -> None:
    all_ = Schedulers()
    vm = guest("vm", 1, app="db")
    all_.assign("vm", Hold(vm, "a", 1))
    was = all_.changes("z", PREMISES)
    edited = Hold(guest("vm", 1, app="web"), "a", 1)
    assert not all_.differ(Hold(vm, "a", 1), edited)
    all_.assign("vm", edited)
    assert all_.changes("z", PREMISES) == was
    far = Rule(RuleKind.ANTI_AFFINITY, (("app", "web"),))
    all_.place("z", PREMISES, guest("new", 1, far))
    assert all_.scheduler("z", PREMISES).state.vms["vm"].labels == {"app": "web"}
    was = all_.changes("z", PREMISES)
    assert all_.differ(edited, Hold(vm, "a", 1))
    all_.assign("vm", Hold(vm, "a", 1))
    assert all_.changes("z", PREMISES) != was


def test_a_host_that_has_moved_is_not_lost_to_its_new_zone() -> None:
    """The old zone is built anew for another reason before it was told that the host has gone."""
    a, b, moved = (Host(n, Room(8, 8)) for n in ("a", "b", "moved"))
    all_ = Schedulers()
    all_.scheduler("old", Premises((a, moved), Redundancy()))
    new = Premises((b, moved), Redundancy())
    all_.scheduler("new", new)
    there = Vm("there", Room(1, 1, {"gpu": 1}))
    all_.assign("there", Hold(there, "a", 1))
    all_.assume(Hold(guest("large", 8), "moved", 1))
    assert "large" in all_.scheduler("new", new).state.vms


Step = tuple[str, int, str]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["place", "assign", "drop", "lose", "look", "end", "move", "move"]),
        st.integers(0, 5),
        st.sampled_from(NAMES),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(steps=STEPS, is_aside=st.booleans())
def test_kept_up_to_date_is_as_good_as_new(steps: Sequence[Step], is_aside: bool) -> None:
    """Two zones, each asked only now and then, while hosts go from one to the other."""
    aside = Aside()
    all_ = Schedulers(aside=aside if is_aside else None)
    with patch.object(module, "_FEW", 0):
        _go_through(all_, aside, steps)


def _go_through(all_: Schedulers, aside: Aside, steps: Sequence[Step]) -> None:
    homes = dict.fromkeys(NAMES, "z0")
    epochs: dict[str, int] = {}
    for what, number, node in steps:
        zone = f"z{number % 2}"
        premises = replace(
            PREMISES, hosts=tuple(h for h in PREMISES.hosts if homes[h.name] == zone)
        )
        vm = guest(
            f"vm{number}", 1 + number % 3, *([APART] * (number == 5)), app="db" * (number > 2)
        )
        if number == 4:  # what no host has: it may be there all the same
            vm = replace(vm, needs=replace(vm.needs, more={"gpu": 1}))
        epoch = epochs.get(vm.name, 0)
        if what == "place":
            try:
                answer = all_.place(zone, premises, vm)
            except SearchingError:
                continue
            if isinstance(answer, Placement):
                epochs[vm.name] = epoch + 1
                all_.assume(Hold(vm, answer.host, epoch + 1))
        elif what == "assign":
            all_.assign(vm.name, Hold(vm, node, max(1, epoch)))
            all_.seen(vm.name, epoch)
        elif what == "drop":
            all_.drop(vm.name)
        elif what == "lose":
            all_.assign(vm.name, None)
        elif what == "move":
            homes[node] = zone
            continue
        elif what == "end":
            aside.end()
        cluster = all_.cluster(premises)
        try:
            state = all_.scheduler(zone, premises).state
        except SearchingError:
            continue
        fresh = Real(cluster).state
        assert {n: state.host_of(n) for n in state.vms} == {n: fresh.host_of(n) for n in fresh.vms}
        assert (state.free[:2] == fresh.free[:2]).all()
        for host in premises.hosts:
            there = [vm.needs for vm in cluster.vms if vm.host == host.name]
            assert sum(there, Room()) == all_.load(host.name)
        verdict = all_.scheduler(zone, premises).verdict()
        if isinstance(verdict, Proof):
            assert check_proof(cluster, verdict) == ()


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(1, 6), max_size=12))
def test_what_it_places_survives(sizes: Sequence[int]) -> None:
    all_ = Schedulers()
    for number, memory in enumerate(sizes):
        vm = guest(f"vm{number}", memory, *([APART] * (number % 2)), app="db" * (number % 3 == 1))
        answer = all_.place("z", PREMISES, vm)
        if isinstance(answer, Placement):
            all_.assume(Hold(vm, answer.host, 1))
    cluster = all_.cluster(PREMISES)
    assert check_placement(cluster) == ()
    verdict = all_.scheduler("z", PREMISES).verdict()
    assert isinstance(verdict, Proof)
    assert check_proof(cluster, verdict) == ()
