# SPDX-License-Identifier: Apache-2.0
"""The checker accepts what brute force accepts, and refuses every proof that was tampered with."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from nopal_scheduler.checker import Violation, check_placement, check_proof
from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.proof import Case, Proof
from support.killer import find_backups, find_proof, killed, misplaced, overfull
from support.tinyclusters import clusters

few = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
AWAY = Rule(RuleKind.ANTI_AFFINITY, (("app", "db"),))
NEAR = Rule(RuleKind.AFFINITY, (("app", "db"),), "rack")
EVEN = Rule(RuleKind.SPREAD, (("app", "db"),), "rack")


def host(name: str, rack: str = "", *, room: int = 4, blocked: str = "") -> Host:
    return Host(name, Room(room, room), labels={"rack": rack} if rack else {}, blocked=blocked)


def vm(name: str, at: str | None, *rules: Rule, size: int = 1, app: str = "") -> Vm:
    return Vm(name, Room(size, size), at, labels={"app": app} if app else {}, rules=rules)


def reasons(found: tuple[Violation, ...]) -> list[str]:
    return sorted(violation.message for violation in found)


def zone(*vms: Vm, hosts: str = "abc", k: int = 1, racks: dict[str, str] | None = None) -> Cluster:
    made = tuple(host(name, (racks or {}).get(name, "")) for name in hosts)
    return Cluster(made, vms, Redundancy(k))


# What is on its host now.


def test_a_placement_that_holds() -> None:
    assert check_placement(zone(vm("v", "a", AWAY, app="db"), vm("w", "b", AWAY, app="db"))) == ()


def test_what_a_placement_can_lack() -> None:
    small = replace(host("a", room=1), allocated=Room(1, 0))
    needy = replace(
        vm("v", "a"), networks=("lan",), cpu_features=frozenset({"avx"}), node_selector={"x": "y"}
    )
    assert reasons(check_placement(Cluster((small,), (needy,)))) == [
        "host a: over its capacity: cpu 2 of 1",
        "vm v, host a: cpu feature avx is missing",
        "vm v, host a: label x=y is missing",
        "vm v, host a: network lan is missing",
    ]


def test_countable_resources_have_an_end_too() -> None:
    gpu = replace(vm("v", "a"), needs=Room(1, 1, {"gpu": 2}))
    has = Host("a", Room(4, 4, {"gpu": 1}))
    assert reasons(check_placement(Cluster((has,), (gpu,)))) == [
        "host a: over its capacity: gpu 2 of 1"
    ]
    assert reasons(check_placement(Cluster((host("a"),), (gpu,)))) == [
        "host a: over its capacity: gpu 2 of 0"
    ]


def test_names_must_be_clear() -> None:
    twice = Cluster((host("a"), host("a")), (vm("v", "a"), vm("v", "a"), vm("w", "x")))
    expected = ["host a: two hosts have this name", "vm v: two vms have this name"]
    expected.append("vm w, host x: the host is not there")
    assert reasons(check_placement(twice)) == expected
    assert reasons(check_proof(twice, Proof(Redundancy(0)))) == expected


def test_a_blocked_host_keeps_what_it_has() -> None:
    blocked = (host("a", "1", blocked="not ready"),)
    assert check_placement(Cluster(blocked, (vm("v", "a"),))) == ()
    # No rack could be used, so none has fewer.
    even = (vm("v", "a", EVEN, app="db"), vm("w", "a", app="db"))
    assert check_placement(Cluster(blocked, even)) == ()


def test_what_has_no_host_is_not_judged() -> None:
    assert check_placement(zone(vm("v", None, NEAR, size=99))) == ()


@pytest.mark.parametrize(
    ("vms", "broken"),
    [
        ((vm("v", "a", AWAY, app="db"), vm("w", "a", app="db")), {"v", "w"}),
        ((vm("v", "a", AWAY), vm("w", "a", app="db")), {"v", "w"}),
        ((vm("v", "a", AWAY, app="db"), vm("w", "a")), set()),
        ((vm("v", "d", replace(AWAY, topology="rack")), vm("w", "d", app="db")), {"v"}),
        ((vm("v", "a", NEAR), vm("w", "b", app="db")), set()),
        ((vm("v", "a", NEAR), vm("w", "c", app="db")), {"v"}),
        ((vm("v", "a", NEAR),), {"v"}),
        ((vm("v", "a", NEAR, app="db"),), set()),
        ((vm("v", "a", NEAR, app="db"), vm("w", "c", app="db")), {"v"}),
        ((vm("v", "d", NEAR, app="db"),), {"v"}),
        ((vm("v", "a", EVEN, app="db"), vm("w", "b", app="db")), {"v"}),
        ((vm("v", "a", EVEN, app="db"), vm("w", "b"), vm("x", "c", app="db")), set()),
        ((vm("v", "a", replace(AWAY, weight=5)), vm("w", "a", app="db")), set()),
    ],
)
def test_rules_of_what_is_placed(vms: tuple[Vm, ...], broken: set[str]) -> None:
    cluster = zone(*vms, hosts="abcd", racks={"a": "1", "b": "1", "c": "2"})
    assert {violation.vm for violation in check_placement(cluster)} == broken


@given(clusters())
@few
def test_placements_by_brute_force(cluster: Cluster) -> None:
    awake = tuple(replace(h, blocked="", draining=False) for h in cluster.hosts)
    cluster = replace(cluster, hosts=awake)
    places = {vm.name: vm.host for vm in cluster.vms if vm.host}
    wrong = misplaced(cluster, places, list(places)) or overfull(cluster, places)
    event(f"holds: {not wrong}")
    assert bool(check_placement(cluster)) == bool(wrong)


# Proofs.

PAIR = zone(vm("v", "a"), vm("w", "b"))
PROVEN = Proof(
    Redundancy(1), (Case(("a",), {"v": "b"}), Case(("b",), {"w": "c"}), Case(("c",), {}))
)
LISTED = Proof(Redundancy(1), backups={"v": ("b",), "w": ("a",)})


def test_proofs_that_hold() -> None:
    assert check_proof(PAIR, PROVEN) == ()
    assert check_proof(PAIR, LISTED) == ()
    assert check_proof(replace(PAIR, redundancy=Redundancy(0)), Proof(Redundancy(0))) == ()


def test_the_order_of_the_names_of_what_is_lost_means_nothing() -> None:
    cluster = replace(PAIR, redundancy=Redundancy(2))
    pairs = (Case(("b", "a"), {"v": "c", "w": "c"}), Case(("c", "a"), {"v": "b"}))
    cases = (*PROVEN.cases, *pairs, Case(("c", "b"), {"w": "a"}))
    assert check_proof(cluster, Proof(Redundancy(2), cases)) == ()


@pytest.mark.parametrize("idle", [replace(vm("x", "c"), restarts=False), vm("x", None)])
def test_only_what_would_be_restarted_has_backups(idle: Vm) -> None:
    lists = replace(LISTED, backups={**LISTED.backups, "x": ("a",)})
    assert reasons(check_proof(replace(PAIR, vms=(*PAIR.vms, idle)), lists)) == [
        "vm x: has backups, but is not there or does not restart"
    ]


def test_nothing_is_proven_by_nothing() -> None:
    assert len(check_proof(PAIR, Proof(Redundancy(1)))) == 2


def test_zones_that_lose_everything_have_no_proof() -> None:
    cluster = zone(vm("v", "a"), hosts="a")
    assert check_proof(cluster, Proof(Redundancy(1), (Case(("a",), {"v": "a"}),)))
    assert check_proof(cluster, Proof(Redundancy(1), (Case(("a",), {}),)))
    idle = zone(replace(vm("v", "a"), restarts=False), hosts="a")
    assert check_proof(idle, Proof(Redundancy(1), (Case(("a",), {}),))) == ()


@pytest.mark.parametrize(
    ("proof", "message"),
    [
        (replace(PROVEN, redundancy=Redundancy(2)), "proves .*2.* not .*1"),
        (replace(PROVEN, redundancy=Redundancy(1, "rack")), "proves .*rack"),
        (replace(PROVEN, backups=LISTED.backups), "has both cases and backups"),
        (replace(PROVEN, cases=PROVEN.cases[:2]), "loss of c: has 0 cases"),
        (replace(PROVEN, cases=(*PROVEN.cases, PROVEN.cases[0])), "loss of a: has 2 cases"),
        (replace(PROVEN, cases=(*PROVEN.cases, Case(("x",), {}))), "loss of x: is no set"),
        (replace(PROVEN, cases=(*PROVEN.cases, Case(("a", "b"), {}))), "loss of a, b: is no set"),
        (replace(PROVEN, cases=(*PROVEN.cases, Case((), {}))), "is no set"),
        (replace(LISTED, backups={**LISTED.backups, "x": ("a",)}), "vm x: has backups, but"),
        (replace(LISTED, backups={**LISTED.backups, "v": ("b", "x")}), "vm v, host x: the host is"),
        (replace(LISTED, backups={**LISTED.backups, "v": ("a",)}), "of a, vm v: gets no new host"),
    ],
)
def test_a_proof_of_another_form(proof: Proof, message: str) -> None:
    found = reasons(check_proof(PAIR, proof))
    assert len(found) == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found[0])


def test_room_counts_all_that_arrive_and_what_was_there() -> None:
    cluster = zone(vm("v", "a", size=2), vm("w", "a"), vm("x", "b", size=2))
    tight = {"v": "b", "w": "b"}
    proof = Proof(Redundancy(1), (Case(("a",), tight), Case(("b",), {"x": "c"}), Case(("c",))))
    assert reasons(check_proof(cluster, proof)) == [
        "after the loss of a, host b: over its capacity: cpu 5 of 4",
        "after the loss of a, host b: over its capacity: memory 5 of 4",
    ]
    exact = replace(cluster, vms=(vm("v", "a", size=1), *cluster.vms[1:]))
    assert check_proof(exact, proof) == ()


def test_what_was_wrong_before_is_no_fault_of_the_proof() -> None:
    together = (vm("x", "c", AWAY, app="db"), vm("y", "c", AWAY, app="db", size=9))
    stay = tuple(replace(each, restarts=False) for each in together)
    cluster = zone(*PAIR.vms, *stay)
    assert check_placement(cluster)
    assert check_proof(cluster, LISTED) == ()
    # But c gets something in this one.
    assert {violation.host for violation in check_proof(cluster, PROVEN)} == {"c"}


def test_spread_looks_at_the_racks_that_can_be_used() -> None:
    hosts = (host("a", "1"), host("b", "2"))
    vms = (vm("v", "a", EVEN, app="db"), vm("w", "b", app="db"))
    proof = Proof(Redundancy(1), backups={"v": ("b",), "w": ("a",)})
    assert check_proof(Cluster(hosts, vms, Redundancy(1)), proof) == ()
    third = (*hosts, host("c", "3"))
    blocked = (*hosts, host("c", "3", blocked="not ready"))
    assert check_proof(Cluster(blocked, vms, Redundancy(1)), proof) == ()
    picky = tuple(replace(each, networks=("lan",)) for each in vms)
    without = (*(replace(h, networks=frozenset({"lan"})) for h in hosts), host("c", "3"))
    assert check_proof(Cluster(without, picky, Redundancy(1)), proof) == ()
    found = reasons(check_proof(Cluster(third, vms, Redundancy(1)), proof))
    assert found == ["after the loss of a, vm v, host b: breaks its spread to app=db over rack"]


def test_what_is_lost_for_good_is_no_company() -> None:
    racks = {"a": "1", "b": "1", "c": "2"}
    gone = replace(vm("w", "a", app="db"), restarts=False)
    proof = Proof(Redundancy(1), backups={"v": ("b",)})
    assert reasons(check_proof(zone(vm("v", "a", NEAR), gone, racks=racks), proof)) == [
        "after the loss of a, vm v, host b: breaks its affinity to app=db over rack"
    ]


def test_every_smaller_loss_is_proven_too() -> None:
    cluster = replace(PAIR, redundancy=Redundancy(2))
    lost = [("a", "b"), ("a", "c"), ("b", "c")]
    places = [{"v": "c", "w": "c"}, {"v": "b"}, {"w": "a"}]
    pairs = tuple(map(Case, lost, places))
    assert len(check_proof(cluster, Proof(Redundancy(2), pairs))) == 3
    assert check_proof(cluster, Proof(Redundancy(2), (*PROVEN.cases, *pairs))) == ()
    lists = {"v": ("b", "c"), "w": ("c", "a")}
    assert check_proof(cluster, Proof(Redundancy(2), backups=lists)) == ()


# Tampering: whatever is changed in a proof that holds, brute force and the checker agree.


@st.composite
def proven(draw: st.DrawFn, *, lists: bool) -> tuple[Cluster, Proof]:
    k = draw(st.sampled_from((1, 2)))
    cluster = draw(clusters(max_vms=4 - k if lists else 6 - k, failures=k))
    proof = find_backups(cluster) if lists else find_proof(cluster)
    assume(proof is not None)
    assert proof is not None
    event(f"k={k}")
    return cluster, proof


def mutated_cases(cluster: Cluster, proof: Proof) -> Iterator[Proof]:
    """Every single change of one restart in one case."""
    names = [vm.name for vm in cluster.vms] + ["nobody"]
    places = [host.name for host in cluster.hosts] + ["nowhere"]
    for i, case in enumerate(proof.cases):
        rest = (proof.cases[:i], proof.cases[i + 1 :])
        changed = [{**case.restarts, name: place} for name in names for place in places]
        changed += [{n: h for n, h in case.restarts.items() if n != out} for out in case.restarts]
        for one in case.restarts:
            for other in case.restarts:
                swapped = {one: case.restarts[other], other: case.restarts[one]}
                changed.append({**case.restarts, **swapped})
        for restarts in changed:
            yield replace(proof, cases=(*rest[0], Case(case.lost, restarts), *rest[1]))


@pytest.mark.slow
@given(proven(lists=False))
@few
def test_a_changed_proof_by_cases_is_refused_just_when_brute_force_refuses_it(
    made: tuple[Cluster, Proof],
) -> None:
    cluster, proof = made
    assert check_proof(cluster, proof) == ()
    refused = 0
    for mutant in mutated_cases(cluster, proof):
        refused += bool(killed(cluster, mutant))
        assert bool(check_proof(cluster, mutant)) == bool(killed(cluster, mutant)), mutant
    assert refused > 0
    k, topology = proof.redundancy.failures, proof.redundancy.topology
    # Without any case it were a proof by backups.
    assume(len(proof.cases) > 1)
    for i, case in enumerate(proof.cases):
        assert check_proof(cluster, replace(proof, cases=proof.cases[:i] + proof.cases[i + 1 :]))
        assert check_proof(cluster, replace(proof, cases=(*proof.cases, case)))
        assert check_proof(cluster, replace(proof, cases=(*proof.cases, Case((*case.lost, "x")))))
        twice = Case((*case.lost, *case.lost), case.restarts)
        assert check_proof(cluster, replace(proof, cases=(*proof.cases, twice)))
    for other in (Redundancy(k - 1, topology), Redundancy(k + 1, topology), Redundancy(k, "x")):
        assert check_proof(cluster, replace(proof, redundancy=other))


@pytest.mark.slow
@given(proven(lists=True), st.data())
@few
def test_a_changed_proof_by_backups_is_refused_just_when_brute_force_refuses_it(
    made: tuple[Cluster, Proof], data: st.DataObject
) -> None:
    cluster, proof = made
    assert check_proof(cluster, proof) == ()
    assume(proof.backups)
    name = data.draw(st.sampled_from(sorted(proof.backups)))
    places = [host.name for host in cluster.hosts]
    lists = [hosts for n in range(len(places)) for hosts in permutations(places, n)]
    mutants = [replace(proof, backups={**proof.backups, name: hosts}) for hosts in lists]
    mutants.append(
        replace(proof, backups={n: hosts for n, hosts in proof.backups.items() if n != name})
    )
    for other in proof.backups:
        swapped = {name: proof.backups[other], other: proof.backups[name]}
        mutants.append(replace(proof, backups={**proof.backups, **swapped}))
    for mutant in mutants:
        assert bool(check_proof(cluster, mutant)) == bool(killed(cluster, mutant)), mutant
    for wrong in ({"nobody": (places[0],)}, {name: ("nowhere", *proof.backups[name])}):
        assert check_proof(cluster, replace(proof, backups={**proof.backups, **wrong}))
