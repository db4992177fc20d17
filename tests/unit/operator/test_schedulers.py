# SPDX-License-Identifier: Apache-2.0
"""Schedulers kept up to date say what schedulers made anew would say."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_operator import schedulers as module
from nopal_operator.schedulers import Hold, Schedulers, Site
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

NAMES = ("a", "b", "c")
SITE = Site(tuple(Host(n, Room(8, 8)) for n in NAMES), Redundancy(1))
APART = Rule(RuleKind.ANTI_AFFINITY, (("app", "db"),))


def guest(name: str, memory: int = 2, *rules: Rule, app: str = "") -> Vm:
    labels = {"app": app, "unique": name} if app else {"unique": name}
    return Vm(name, Room(1, memory), labels=labels, rules=rules)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every scheduler that is built from the start, as its number of virtual machines."""
    found: list[int] = []

    class Counted(Real):
        def __init__(self, cluster: object) -> None:
            super().__init__(cluster)  # type: ignore[arg-type]
            found.append(len(self.state.vms))

    monkeypatch.setattr(module, "Scheduler", Counted)
    return found


def test_a_zone_is_built_once_while_virtual_machines_come_and_go(built: list[int]) -> None:
    all_ = Schedulers()
    for i in range(6):
        vm = guest(f"vm{i}", 1)
        answer = all_.place("z", SITE, vm)
        assert isinstance(answer, Placement)
        all_.assume(Hold(vm, answer.host, 1))
        all_.assign(vm.name, Hold(vm, answer.host, 1))
        all_.seen(vm.name, 1)
    all_.assign("vm0", None)
    assert (len(all_.cluster(SITE).vms), all_.assumed()) == (5, 0)
    assert built == [0]
    all_.place("z", replace(SITE, hosts=SITE.hosts[:2]), guest("new"))
    assert built == [0, len(all_.cluster(replace(SITE, hosts=SITE.hosts[:2])).vms)]


def test_labels_that_no_rule_selects_by_are_not_the_schedulers(built: list[int]) -> None:
    all_ = Schedulers()
    all_.assign("plain", Hold(guest("plain", app="db"), "a", 1))
    assert all_.scheduler("z", SITE).state.vms["plain"].labels == {}
    refused = all_.place("z", Site(SITE.hosts[:1], Redundancy()), guest("new", 1, APART))
    assert isinstance(refused, NoPlacement), "the label counts once a rule asks for it"
    assert all_.scheduler("z", SITE).state.vms["plain"].labels == {"app": "db"}


def test_what_was_assumed_of_itself_is_not_in_its_way() -> None:
    all_ = Schedulers()
    vm, site = guest("vm", 8), Site(SITE.hosts[:1], Redundancy())
    all_.assume(Hold(vm, "a", 1))
    assert all_.place("z", site, vm) == Placement("a")
    assert all_.load("a") == vm.needs, "and it is still held"
    assert isinstance(all_.place("z", site, guest("other", 1)), NoPlacement)


def test_a_host_that_has_moved_is_not_lost_to_its_new_zone() -> None:
    """The old zone is built anew for another reason before it was told that the host has gone."""
    a, b, moved = (Host(n, Room(8, 8)) for n in ("a", "b", "moved"))
    all_ = Schedulers()
    all_.scheduler("old", Site((a, moved), Redundancy()))
    new = Site((b, moved), Redundancy())
    all_.scheduler("new", new)
    there = Vm("there", Room(1, 1, {"gpu": 1}))
    all_.assign("there", Hold(there, "a", 1))
    all_.assume(Hold(guest("large", 8), "moved", 1))
    assert "large" in all_.scheduler("new", new).state.vms


Step = tuple[str, int, str]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["place", "assign", "drop", "lose", "look", "move", "move"]),
        st.integers(0, 5),
        st.sampled_from(NAMES),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(steps=STEPS)
def test_kept_up_to_date_is_as_good_as_new(steps: Sequence[Step]) -> None:
    """Two zones, each asked only now and then, while hosts go from one to the other."""
    all_ = Schedulers()
    homes = dict.fromkeys(NAMES, "z0")
    epochs: dict[str, int] = {}
    for what, number, node in steps:
        zone = f"z{number % 2}"
        site = replace(SITE, hosts=tuple(h for h in SITE.hosts if homes[h.name] == zone))
        vm = guest(
            f"vm{number}", 1 + number % 3, *([APART] * (number == 5)), app="db" * (number > 2)
        )
        if number == 4:  # what no host has: it may be there all the same
            vm = replace(vm, needs=replace(vm.needs, more={"gpu": 1}))
        epoch = epochs.get(vm.name, 0)
        if what == "place":
            answer = all_.place(zone, site, vm)
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
        cluster, state = all_.cluster(site), all_.scheduler(zone, site).state
        fresh = Real(cluster).state
        assert {n: state.host_of(n) for n in state.vms} == {n: fresh.host_of(n) for n in fresh.vms}
        assert (state.free[:2] == fresh.free[:2]).all()
        for host in site.hosts:
            there = [vm.needs for vm in cluster.vms if vm.host == host.name]
            assert sum(there, Room()) == all_.load(host.name)
        verdict = all_.scheduler(zone, site).verdict()
        if isinstance(verdict, Proof):
            assert check_proof(cluster, verdict) == ()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(1, 6), max_size=12))
def test_what_it_places_survives(sizes: Sequence[int]) -> None:
    all_ = Schedulers()
    for number, memory in enumerate(sizes):
        vm = guest(f"vm{number}", memory, *([APART] * (number % 2)), app="db" * (number % 3 == 1))
        answer = all_.place("z", SITE, vm)
        if isinstance(answer, Placement):
            all_.assume(Hold(vm, answer.host, 1))
    cluster = all_.cluster(SITE)
    assert check_placement(cluster) == ()
    verdict = all_.scheduler("z", SITE).verdict()
    assert isinstance(verdict, Proof)
    assert check_proof(cluster, verdict) == ()
