# SPDX-License-Identifier: Apache-2.0
"""Backup lists: what they prove holds in every loss, and a change is whole or not at all."""

from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nopal_scheduler.answer import Placement
from nopal_scheduler.model import (
    Cluster,
    Redundancy,
    Vm,
    failure_domain,
)
from nopal_scheduler.placing.place import ranking
from nopal_scheduler.proof import Impossible, NotProven, Proof
from nopal_scheduler.proving.backups.lists import BackupLists
from nopal_scheduler.proving.backups.pairtable import PairTable
from nopal_scheduler.proving.backups.prover import BackupProver
from nopal_scheduler.proving.backups.sums import BackupSums
from nopal_scheduler.scheduler import Scheduler
from nopal_scheduler.state import State
from support.backupclusters import (
    APART,
    APART_BY_RACK,
    EXAMPLES,
    clusters,
    faults,
    hosts_of,
    losses,
    now,
    play,
    proof_of,
    sums_of,
    vm,
)


@EXAMPLES
@given(clusters())
def test_a_proof_holds_in_every_loss(cluster: Cluster) -> None:
    verdict = BackupProver(State(cluster)).verdict()
    if isinstance(verdict, Proof):
        assert set(verdict.backups) == {v.name for v in cluster.vms if v.restarts}
        assert faults(cluster, verdict) == []


@EXAMPLES
@given(clusters().filter(lambda c: bool(c.vms)), st.lists(st.integers(0, 999), max_size=25))
def test_it_holds_as_virtual_machines_come_and_go(cluster: Cluster, numbers: list[int]) -> None:
    prover, state, _ = play(cluster, numbers)
    verdict = prover.verdict()
    if isinstance(verdict, Proof):
        assert faults(now(state, cluster), verdict) == []
    if prover._lists is None:
        return
    afresh = BackupLists(state, prover._domain)
    for name, hosts in prover._lists.items():
        afresh.give(state.vms[name], hosts)
    assert sums_of(afresh.sums) == sums_of(prover._lists.sums)
    arriving = prover._lists.sums.worst.sum(axis=0) > 0
    assert ((state.free - prover.held)[:, arriving] >= 0).all()


@EXAMPLES
@given(clusters().filter(lambda c: bool(c.vms)), st.lists(st.integers(0, 999), max_size=25))
def test_same_input_same_answers(cluster: Cluster, numbers: list[int]) -> None:
    turned = replace(cluster, hosts=cluster.hosts[::-1])
    assert play(cluster, numbers)[2] == play(turned, numbers)[2]
    turned = replace(turned, vms=cluster.vms[::-1])
    assert BackupProver(State(cluster)).verdict() == BackupProver(State(turned)).verdict()


@EXAMPLES
@given(clusters())
def test_what_is_impossible_is(cluster: Cluster) -> None:
    """With bounds as they are, no assignment at all may exist for the loss that is named."""
    verdict = BackupProver(State(cluster)).verdict()
    if not isinstance(verdict, Impossible):
        return
    lost = {
        h.name
        for h in cluster.hosts
        if failure_domain(h, cluster.redundancy.topology) in verdict.lost
    }
    assert frozenset(verdict.lost) in losses(cluster) or len(lost) == len(cluster.hosts)
    state = State(cluster)
    free = {h.name: int(state.free[1, state.index[h.name]]) for h in cluster.hosts}
    homeless = sorted(
        (v for v in cluster.vms if v.host in lost and v.restarts), key=lambda v: -v.needs.memory
    )
    assert not packs(homeless, cluster, free, lost)


def packs(homeless: list[Vm], cluster: Cluster, free: dict[str, int], lost: set[str]) -> bool:
    if not homeless:
        return True
    each, *others = homeless
    tried = set()
    for host in cluster.hosts:
        fits = free[host.name] >= each.needs.memory and host.name not in lost and not host.refusal
        fits &= all(host.labels.get(k) == v for k, v in each.node_selector.items())
        kind = (free[host.name], host.labels.get("disk"))
        if fits and kind not in tried:
            tried.add(kind)
            left = {**free, host.name: free[host.name] - each.needs.memory}
            if packs(others, cluster, left, lost):
                return True
    return False


@EXAMPLES
@given(
    st.integers(1, 3),
    st.lists(
        st.tuples(st.permutations(range(6)), st.sampled_from((1, 2, 2, 3)), st.integers(0, 9)),
        max_size=30,
    ),
)
def test_the_most_that_arrives_is_exact(
    failures: int, entries: list[tuple[list[int], int, int]]
) -> None:
    sums = BackupSums((1, 6), 6, failures)
    there = []
    for order, size, amount in entries:
        trigger, host = tuple(sorted(order[: min(size, failures)])), order[-1]
        sums.add(trigger, host, np.array([amount]))
        there.append((trigger, host, amount))
    for trigger, host, amount in there[::2]:
        sums.add(trigger, host, np.array([-amount]))
    there = there[1::2]

    def most(host: int, within: tuple[int, ...]) -> int:
        others = [d for d in range(6) if d != host]
        found = [
            sum(a for t, h, a in there if h == host and set(t) <= set(lost))
            for lost in combinations(others, failures)
            if set(within) <= set(lost)
        ]
        return max(found, default=0)

    for host in range(6):
        assert sums.worst[0, host] == most(host, ())
        for size in range(1, failures + 1):
            for within in combinations([d for d in range(6) if d != host], size):
                assert sums.with_all_of(within)[0, host] == most(host, within)


@EXAMPLES
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 3)), max_size=80))
def test_pairs_are_what_was_put_last(puts: list[tuple[int, int, int]]) -> None:
    """Whatever grew, shrank and changed its row in between."""
    table, there = PairTable(1), {}
    single = np.arange(9, dtype=np.int64).reshape(1, 9)
    first = [(one, other, one * other + 1) for one in range(9) for other in range(one + 1, 9)]
    for one, other, amount in first + puts:
        if one < other:
            table.put((one, other), np.array([amount]))
            there[one, other] = amount
    most = single.copy()
    table.raise_most(most, single)
    for domain in range(9):
        sums = [
            one + other + n for (one, other), n in there.items() if n and domain in (one, other)
        ]
        assert most[0, domain] == max([domain, *sums])


def test_two_homes_share_a_backup_where_one_is_lost() -> None:
    """Three full-sized virtual machines need one spare host for k = 1, not three."""
    vms = tuple(vm(f"v{i}", 16, i) for i in range(3))
    proof = proof_of(Cluster(hosts_of(4), vms, Redundancy(1)))
    assert proof.backups == {f"v{i}": ("h3",) for i in range(3)}


def test_two_spares_prove_two_losses_of_hosts_in_halves() -> None:
    """Each host's halves go to two spare hosts: neither gets more than two halves."""
    vms = tuple(vm(f"v{i}{half}", 8, i) for i in range(4) for half in "ab")
    cluster = Cluster(hosts_of(6), vms, Redundancy(2))
    proof = proof_of(cluster)
    assert {h for hosts in proof.backups.values() for h in hosts} == {"h4", "h5"}
    assert faults(cluster, proof) == []


def test_a_backup_gives_way_to_who_is_placed() -> None:
    state = State(Cluster(hosts_of(3), (vm("v", 10, 0),), Redundancy(1)))
    prover = BackupProver(state)
    before = prover.verdict()
    assert isinstance(before, Proof)
    [parked] = before.backups["v"]
    assert prover.admit(vm("w", 10, restarts=False), state.index[parked]) is None
    after = prover.verdict()
    assert isinstance(after, Proof)
    assert after.backups["v"] == tuple({"h1", "h2"} - {parked})


def test_one_that_others_must_be_apart_from_drives_their_backups_away() -> None:
    first = vm("v", 1, 0, labels={"app": "db"}, rules=(APART,))
    state = State(Cluster(hosts_of(4), (first,), Redundancy(1)))
    prover = BackupProver(state)
    before = prover.verdict()
    assert isinstance(before, Proof)
    host = state.index[before.backups["v"][0]]
    assert prover.admit(replace(first, name="w"), host) is None
    after = prover.verdict()
    assert isinstance(after, Proof)
    assert after.backups["v"] != before.backups["v"]
    assert faults(now(state, Cluster(hosts_of(4), (), Redundancy(1))), after) == []


def test_three_that_must_be_apart_may_share_the_one_backup_of_a_single_loss() -> None:
    vms = tuple(vm(f"v{i}", 1, i, labels={"app": "db"}, rules=(APART,)) for i in range(3))
    proof = proof_of(Cluster(hosts_of(4), vms, Redundancy(1)))
    assert proof.backups == {f"v{i}": ("h3",) for i in range(3)}


def test_who_stays_lost_takes_room_only_where_it_is() -> None:
    vms = (vm("v", 16, 0, restarts=False), vm("w", 16, 1))
    assert proof_of(Cluster(hosts_of(3), vms, Redundancy(1))).backups == {"w": ("h2",)}


def test_as_many_domains_as_may_fail_leave_nothing() -> None:
    cluster = Cluster(hosts_of(4), (), Redundancy(2, "rack"))
    prover = BackupProver(State(cluster))
    assert isinstance(prover.verdict(), Proof)
    against = prover.admit(vm("v", 1), 0)
    assert against == Impossible(("r0", "r1"), "no host is left")
    assert prover.admit(vm("w", 1, restarts=False), 0) is None


def test_a_bound_names_the_loss_and_what_is_missing() -> None:
    cluster = Cluster(hosts_of(3), tuple(vm(f"v{i}", 12, i) for i in range(3)), Redundancy(1))
    verdict = BackupProver(State(cluster)).verdict()
    assert isinstance(verdict, Impossible)
    assert verdict.lost == ("h0",)
    assert "the hosts left lack 4 of memory" in verdict.message


def test_one_that_fits_nowhere_else_is_impossible() -> None:
    cluster = Cluster(hosts_of(4), (vm("v", 12, 0), vm("w", 6, 1), vm("x", 6, 2)), Redundancy(2))
    verdict = BackupProver(State(cluster)).verdict()
    assert verdict == Impossible(
        ("h0", "h3"), 'no host that is left has room for vm "v" and may take it'
    )


def test_while_one_is_unproven_none_is_admitted() -> None:
    vms = (vm("v", 12, 0), vm("w", 6, 1), vm("x", 6, 2))
    state = State(Cluster(hosts_of(3), vms, Redundancy(1)))
    prover = BackupProver(state)
    assert isinstance(prover.verdict(), Impossible)
    assert prover.admit(vm("y", 1), 1) == prover.verdict()
    prover.remove("x")
    assert isinstance(prover.verdict(), Proof)
    assert prover.admit(vm("y", 1), 1) is None


def test_what_is_unproven_is_told_with_what_has_a_place() -> None:
    """Of 8 and 3 that are free 5 and 6 use no more than 6, and neither bound sees it."""
    hosts = hosts_of(3)
    taken = (vm("z", 8, 2, restarts=False), vm("y", 13, 1, restarts=False))
    vms = (*taken, vm("a", 6, 0), vm("b", 5, 0))
    verdict = BackupProver(State(Cluster(hosts, vms, Redundancy(1)))).verdict()
    assert isinstance(verdict, NotProven)
    assert verdict.worst.lost == ("h0",)
    assert verdict.worst.restarts == {"a": "h2"}
    assert verdict.unplaced == ("b",)


def test_every_order_of_arrival_is_proven() -> None:
    for order in permutations([vm("a", 8), vm("b", 4), vm("c", 4), vm("d", 2)]):
        state = State(Cluster(hosts_of(5), (), Redundancy(2)))
        prover = BackupProver(state)
        for host, each in enumerate(order):
            assert prover.admit(each, host % 3) is None
        verdict = prover.verdict()
        assert isinstance(verdict, Proof)
        assert faults(now(state, Cluster(hosts_of(5), (), Redundancy(2))), verdict) == []


def test_one_is_driven_away_only_where_it_finds_another_host() -> None:
    """With 4 free on h1 and 10 on h2, "w" moves to h1 for "v": both restart when h0 is lost."""
    taken = (vm("x", 12, 1, restarts=False), vm("y", 6, 2, restarts=False))
    state = State(Cluster(hosts_of(3), (*taken, vm("w", 4, 0)), Redundancy(1)))
    prover = BackupProver(state)
    before = prover.verdict()
    assert isinstance(before, Proof)
    assert before.backups == {"w": ("h2",)}
    assert isinstance(prover.admit(vm("u", 11), 0), Impossible)
    assert prover.verdict() == before
    assert prover.admit(vm("v", 8), 0) is None
    after = prover.verdict()
    assert isinstance(after, Proof)
    assert after.backups == {"v": ("h2",), "w": ("h1",)}


def test_what_is_there_already_may_end_a_proof_and_its_going_brings_it_back() -> None:
    state = State(Cluster(hosts_of(3), (vm("v", 10, 0), vm("x", 10, 1)), Redundancy(1)))
    prover = BackupProver(state)
    before = prover.verdict()
    assert isinstance(before, Proof)
    prover.add(vm("w", 10, restarts=False), 2)
    assert isinstance(prover.verdict(), Impossible)
    prover.remove("w")
    assert prover.verdict() == before


def test_a_host_that_is_overfull_by_itself_ends_no_proof() -> None:
    state = State(Cluster(hosts_of(4), (vm("v", 10, 0),), Redundancy(1)))
    prover = BackupProver(state)
    prover.add(vm("w", 20, restarts=False), 1)
    prover.add(vm("x", 1, restarts=False), 1)
    assert isinstance(prover.verdict(), Proof)


def test_what_is_overfull_takes_nothing_from_the_others_in_a_bound() -> None:
    """6 and 6 do not fit into 8 and 5, which only a packing shows: h1 lacks 20 of its own."""
    taken = [vm("x", 36, 1), vm("y", 8, 2), vm("z", 11, 3)]
    vms = tuple(replace(each, restarts=False) for each in taken)
    cluster = Cluster(hosts_of(4), (*vms, vm("a", 6, 0), vm("b", 6, 0)), Redundancy(1))
    assert isinstance(BackupProver(State(cluster)).verdict(), NotProven)


def test_room_at_home_is_lost_with_it() -> None:
    taken = (vm("x", 11, 1, restarts=False), vm("y", 11, 2, restarts=False))
    cluster = Cluster(hosts_of(3), (*taken, vm("v", 6, 0)), Redundancy(1))
    verdict = BackupProver(State(cluster)).verdict()
    assert verdict == Impossible(
        ("h0",), 'no host that is left has room for vm "v" and may take it'
    )


def test_who_must_be_apart_goes_where_the_rule_has_a_domain() -> None:
    bare = replace(hosts_of(4)[3], labels={})
    for rules, backup in (((), "h3"), ((APART_BY_RACK,), "h2")):
        vms = (vm("v", 1, 0, rules=rules),)
        assert proof_of(Cluster((*hosts_of(3), bare), vms, Redundancy(1))).backups == {
            "v": (backup,)
        }


def test_few_hosts_are_kept_for_many() -> None:
    vms = tuple(vm(f"v{i}", 2, i // 2) for i in range(8))
    proof = proof_of(Cluster(hosts_of(8), vms, Redundancy(1)))
    assert set(proof.backups.values()) == {("h7",)}


def test_removing_an_unknown_one_raises() -> None:
    with pytest.raises(KeyError):
        BackupProver(State(Cluster(hosts_of(3), (), Redundancy(1)))).remove("v")


def test_who_comes_goes_where_no_backup_is_in_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emptiest host is kept for a backup; another one has room besides all that may arrive."""
    monkeypatch.setattr("nopal_scheduler.scheduler.CASES", 0)
    taken = (vm("v", 12, 0), vm("x", 3, 1, restarts=False), vm("y", 3, 2, restarts=False))
    scheduler = Scheduler(Cluster(hosts_of(4), taken, Redundancy(1)))
    proof = scheduler.proof()
    assert proof is not None
    assert proof.backups == {"v": ("h3",)}
    assert ranking(scheduler.state, vm("w", 8))[0] == 3
    assert scheduler.admit(vm("w", 8)) == Placement("h1")
