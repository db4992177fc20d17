# SPDX-License-Identifier: Apache-2.0
"""One packing for every loss: what it proves holds, what it refuses changes nothing."""

from dataclasses import replace
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler.checker import check_proof
from nopal_scheduler.model import HOST, Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.proof import Impossible, NotProven, Proof
from nopal_scheduler.proving.cases.item import Effort
from nopal_scheduler.proving.cases.packing import Packing
from nopal_scheduler.proving.cases.prover import CaseProver, count_cases
from nopal_scheduler.state import State
from support.killer import find_proof, killed
from support.tinyclusters import clusters, vms

QUICK = settings(max_examples=60, deadline=None, derandomize=True)


def cluster_of(prover: CaseProver, cluster: Cluster) -> Cluster:
    """The cluster as the prover's state has it now."""
    state = prover._state
    placed = tuple(
        replace(vm, host=state.hosts[state.host_of(name)].name) for name, vm in state.vms.items()
    )
    return replace(cluster, vms=placed)


def everything(prover: CaseProver) -> object:
    """All that a refusal must leave as it is."""
    state = prover._state
    return (
        state.free.tolist(),
        sorted(state.vms),
        prover._left.amounts.tolist(),
        [(dict(sorted(p.placed.items())), set(p.unplaced)) for p in prover._packings],
        set(prover._open),
        {labels: dict(there) for labels, there in state.rules._labels.items() if there},
    )


def is_sound(prover: CaseProver, cluster: Cluster) -> None:
    now = cluster_of(prover, cluster)
    verdict = prover.verdict()
    if isinstance(verdict, Proof):
        assert check_proof(now, verdict) == ()
        assert killed(now, verdict) == []
    elif isinstance(verdict, Impossible):
        assert find_proof(now) is None


@QUICK
@given(cluster=clusters())
def test_what_it_says_of_a_cluster_holds(cluster: Cluster) -> None:
    is_sound(CaseProver(State(cluster)), cluster)


@pytest.mark.slow
@QUICK
@given(cluster=clusters(), data=st.data())
def test_it_holds_while_virtual_machines_come_and_go(cluster: Cluster, data: st.DataObject) -> None:
    prover = CaseProver(State(cluster))
    state = prover._state
    for number in range(data.draw(st.integers(1, 4))):
        vm = data.draw(vms(f"new{number}", ruled=True))
        fits = np.flatnonzero(state.fits(vm)).tolist()
        if fits:
            host, before = data.draw(st.sampled_from(fits)), everything(prover)
            refused = prover.admit(vm, host)
            kept_up(prover)
            if refused is None:
                assert prover.is_proven
            else:
                assert everything(prover) == before
        elif state.vms:
            prover.remove(data.draw(st.sampled_from(sorted(state.vms))))
        is_sound(prover, cluster)


@pytest.mark.slow
@QUICK
@given(cluster=clusters(), data=st.data())
def test_what_is_there_already_is_added_and_told(cluster: Cluster, data: st.DataObject) -> None:
    prover = CaseProver(State(replace(cluster, vms=())))
    for vm in cluster.vms:
        prover.add(vm, prover._state.index[vm.host or ""])
        is_sound(prover, cluster)
    # However it came about: the same amounts are left as from scratch, for the same places.
    again = CaseProver(State(cluster_of(prover, cluster)))
    assert np.array_equal(again._state.free, prover._state.free)
    lost_room(prover)


@QUICK
@given(cluster=clusters(), data=st.data())
def test_the_order_of_the_input_decides_nothing(cluster: Cluster, data: st.DataObject) -> None:
    shuffled = Cluster(
        tuple(data.draw(st.permutations(cluster.hosts))),
        tuple(data.draw(st.permutations(cluster.vms))),
        cluster.redundancy,
    )
    assert CaseProver(State(shuffled)).verdict() == CaseProver(State(cluster)).verdict()


@pytest.mark.slow
@settings(max_examples=120, deadline=None, derandomize=True)
@given(cluster=clusters(max_hosts=3, max_vms=5, ruled=False))
def test_without_rules_a_small_proof_is_always_found(cluster: Cluster) -> None:
    verdict = CaseProver(State(cluster)).verdict()
    assert isinstance(verdict, Proof) == (find_proof(cluster) is not None)


def hosts(count: int, memory: int, **more: object) -> tuple[Host, ...]:
    return tuple(Host(f"h{i}", Room(100, memory), **more) for i in range(count))  # type: ignore[arg-type]


def full(*sizes: tuple[str, int]) -> tuple[Vm, ...]:
    return tuple(Vm(f"v{i}", Room(1, size), host=host) for i, (host, size) in enumerate(sizes))


@pytest.mark.parametrize(
    ("lost", "free"),
    [((9, 7, 8, 6), (16, 14)), ((7, 4, 7, 9, 1), (11, 17))],
    ids=["a swap", "a move and a swap"],
)
def test_what_best_fit_alone_does_not_pack(lost: tuple[int, ...], free: tuple[int, ...]) -> None:
    """The lost ones fill what is free to the last byte, and largest first is not the way."""
    stays = [
        Vm(f"x{i}", Room(1, 100 - size), host=f"h{i + 1}", restarts=False)
        for i, size in enumerate(free)
    ]
    lost_vms = full(*(("h0", size) for size in lost))
    cluster = Cluster(hosts(1 + len(free), 100), (*lost_vms, *stays), Redundancy(1))
    verdict = CaseProver(State(cluster)).verdict()
    assert isinstance(verdict, Proof)
    assert killed(cluster, verdict) == []


@pytest.mark.parametrize("pins", list(product(("", "h1", "h2"), repeat=3)), ids="-".join)
def test_a_swap_puts_nobody_where_it_may_not_be(pins: tuple[str, ...]) -> None:
    some = tuple(replace(host, labels={"name": host.name}) for host in hosts(3, 100))
    lost_vms = [
        replace(vm, node_selector={"name": pin} if pin else {})
        for vm, pin in zip(
            full(("h0", 9), ("h0", 7), ("h0", 8), ("h0", 6)), (*pins, ""), strict=True
        )
    ]
    stays = [
        Vm(f"x{i}", Room(1, 100 - size), host=f"h{i + 1}", restarts=False)
        for i, size in enumerate((16, 14))
    ]
    cluster = Cluster(some, (*lost_vms, *stays), Redundancy(1))
    is_sound(CaseProver(State(cluster)), cluster)


@pytest.mark.parametrize("seed", range(6))
def test_a_long_walk(seed: int) -> None:
    """Come and go at random, with rules, in a cluster that is nearly full: everything holds."""
    random = Random(seed)  # noqa: S311 - a walk, not a secret
    racks = ("r1", "r2", "r3")
    some = tuple(Host(f"h{i}", Room(100, 24), labels={"rack": racks[i % 3]}) for i in range(6))
    cluster = Cluster(some, (), Redundancy(1 + seed % 2, HOST if seed % 3 else "rack"))
    prover = CaseProver(State(cluster))
    state = prover._state
    for number in range(60):
        vm = walker(random, f"v{number}")
        fits = np.flatnonzero(state.fits(vm)).tolist()
        if state.vms and (random.random() < 0.3 or not fits):
            prover.remove(random.choice(sorted(state.vms)))
        elif not fits:
            continue
        elif random.random() < 0.15:
            prover.add(vm, random.choice(fits))
        else:
            host, before = random.choice(fits), everything(prover)
            if prover.admit(vm, host) is not None:
                assert everything(prover) == before
            kept_up(prover)
        now = cluster_of(prover, cluster)
        verdict = prover.verdict()
        assert isinstance(verdict, Proof) == prover.is_proven
        if isinstance(verdict, Proof):
            assert check_proof(now, verdict) == ()
        lost_room(prover)


def walker(random: Random, name: str) -> Vm:
    app = random.choice(("db", "web", ""))
    rule = Rule(
        random.choice(tuple(RuleKind)),
        (("app", random.choice(("db", "web"))),),
        random.choice((HOST, "rack")),
        max_skew=random.choice((1, 2)),
    )
    return Vm(
        name,
        Room(1, random.choice((1, 2, 3, 5))),
        labels={"app": app} if app else {},
        rules=(rule,) if random.random() < 0.4 else (),
        restarts=random.random() < 0.9,
    )


def lost_room(prover: CaseProver) -> None:
    """What is left after each loss is what is free less what is placed there."""
    state = prover._state
    for case, packing in enumerate(prover._packings):
        left = state.free.copy()
        for name, host in packing.placed.items():
            left[:, host] -= state.needs(state.vms[name])
        there = prover._left.amounts[:, case]
        assert np.array_equal(there[:, packing.targets], left[:, packing.targets])
    kept_up(prover)


def kept_up(prover: CaseProver) -> None:
    """The least and the sums of what is left are those that a look at all of it finds."""
    left, lost = prover._left.amounts, prover._lost
    assert np.array_equal(prover._left.totals, np.maximum(left, 0).sum(axis=2))
    assert np.array_equal(prover._left.least, np.where(lost, 2**61, left).min(axis=1))


def test_a_bound_says_what_is_missing() -> None:
    verdict = CaseProver(
        State(Cluster(hosts(2, 10), full(("h0", 6), ("h1", 6)), Redundancy(1)))
    ).verdict()
    assert isinstance(verdict, Impossible)
    assert verdict.message == ("impossible: after the loss of h0 the hosts left lack 2 of memory")


def test_what_does_not_fit_for_its_rules_is_not_proven() -> None:
    apart = Rule(RuleKind.ANTI_AFFINITY, (("app", "web"),))
    web = [
        Vm(f"w{i}", Room(1, 1), host=f"h{i}", labels={"app": "web"}, rules=(apart,))
        for i in range(3)
    ]
    verdict = CaseProver(State(Cluster(hosts(3, 10), tuple(web), Redundancy(1)))).verdict()
    assert isinstance(verdict, NotProven)
    assert verdict.unplaced == ("w0",)
    assert verdict.worst.lost == ("h0",)


def test_who_is_lost_keeps_nobody_away() -> None:
    apart = Rule(RuleKind.ANTI_AFFINITY, (("app", "web"),), "rack")
    some = hosts(3, 10, labels={"rack": "r"})
    alone = Vm("a", Room(1, 1), host="h0", rules=(apart,), restarts=False)
    web = Vm("w", Room(1, 1), host="h0", labels={"app": "web"})
    assert isinstance(
        CaseProver(State(Cluster(some, (alone, web), Redundancy(1)))).verdict(), Proof
    )


def test_losing_every_domain_is_impossible() -> None:
    verdict = CaseProver(State(Cluster(hosts(2, 10), full(("h0", 1)), Redundancy(2)))).verdict()
    assert isinstance(verdict, Impossible)
    assert verdict.lost == ("h0",) or verdict.lost == ("h0", "h1")


@pytest.mark.parametrize(("domains", "failures", "cases"), [(5, 1, 5), (5, 2, 15), (4, 3, 14)])
def test_how_many_losses_there_are(domains: int, failures: int, cases: int) -> None:
    assert count_cases(domains, failures) == cases


def test_one_without_labels_is_apart_from_who_wants_nobody_near() -> None:
    """An empty selector matches it: its restart is looked at again when such a rule comes."""
    hosts = tuple(Host(name, Room(8, 8)) for name in "abc")
    there = Vm("v", Room(1, 4), host="a")
    cluster = Cluster(hosts, (there,), Redundancy(1))
    prover = CaseProver(State(cluster))
    target = prover._packings[0].placed["v"]
    nobody = (Rule(RuleKind.ANTI_AFFINITY, ()),)
    assert prover.admit(Vm("alone", Room(1, 1), rules=nobody, restarts=False), target) is None
    verdict = prover.verdict()
    assert isinstance(verdict, Proof)
    assert check_proof(cluster_of(prover, cluster), verdict) == ()


def test_few_losses_at_a_time_are_searched_in_vain_and_all_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two that are too large leave every loss open; with one gone all are searched and proven."""
    monkeypatch.setattr("nopal_scheduler.proving.cases.prover._AGAIN", 1)
    hosts = tuple(Host(f"h{n}", Room(99, 10)) for n in range(6))
    small = tuple(Vm(f"v{n}", Room(1, 2), host=f"h{n}") for n in range(6))
    cluster = Cluster(hosts, small, Redundancy(1))
    prover = CaseProver(State(cluster))
    searched: list[Packing] = []
    settle = Packing.settle

    def counted(packing: Packing, effort: Effort) -> bool:
        searched.append(packing)
        return settle(packing, effort)

    monkeypatch.setattr(Packing, "settle", counted)
    for n in range(6):
        prover.add(Vm(f"large{n}", Room(1, 8)), n)
    assert not prover.is_proven
    assert len(prover._open) == 6
    searched.clear()
    prover.remove("large0")
    assert len(searched) == 1, "it failed: the others wait"
    for n in range(1, 6):
        prover.remove(f"large{n}")
    assert prover.is_proven
    verdict = prover.verdict()
    assert isinstance(verdict, Proof)
    assert check_proof(cluster_of(prover, cluster), verdict) == ()
