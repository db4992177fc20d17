# SPDX-License-Identifier: Apache-2.0
"""Backup lists: what they prove holds in every loss, and a change is whole or not at all."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler.backup_lists import BackupLists
from nopal_scheduler.backup_sums import BackupSums
from nopal_scheduler.backups import BackupProver
from nopal_scheduler.model import (
    Cluster,
    Host,
    Redundancy,
    Room,
    Rule,
    RuleKind,
    Vm,
    failure_domain,
)
from nopal_scheduler.proof import Impossible, NotProven, Proof, Verdict
from nopal_scheduler.state import State

EXAMPLES = settings(max_examples=50, deadline=None, derandomize=True)
APART = Rule(RuleKind.ANTI_AFFINITY, (("app", "db"),))
APART_BY_RACK = replace(APART, topology="rack")


def hosts_of(count: int, size: int = 16) -> tuple[Host, ...]:
    return tuple(
        Host(f"h{i}", Room(100, size), labels={"rack": f"r{i // 2}"}) for i in range(count)
    )


def vm(name: str, memory: int, host: int | None = None, **more: object) -> Vm:
    made = Vm(name, Room(1, memory), host=None if host is None else f"h{host}")
    return replace(made, **more)  # type: ignore[arg-type]


def proof_of(cluster: Cluster) -> Proof:
    verdict = BackupProver(State(cluster)).verdict()
    assert isinstance(verdict, Proof), verdict
    return verdict


def losses(cluster: Cluster) -> Iterator[frozenset[str]]:
    topology = cluster.redundancy.topology
    domains = sorted({failure_domain(host, topology) for host in cluster.hosts})
    for count in range(1, cluster.redundancy.failures + 1):
        yield from map(frozenset, combinations(domains, count))


def faults(cluster: Cluster, proof: Proof) -> list[str]:
    """Kill every set of up to k domains and say what does not hold then: slow and plain."""
    by_name = {host.name: host for host in cluster.hosts}
    found = []
    for lost in losses(cluster):
        domain = {h.name: failure_domain(h, cluster.redundancy.topology) for h in cluster.hosts}
        where, restarted = {}, set()
        for each in cluster.vms:
            assert each.host is not None
            if domain[each.host] not in lost:
                where[each.name] = each.host
            elif each.restarts:
                left = [h for h in proof.backups[each.name] if domain[h] not in lost]
                where[each.name] = left[0]
                restarted.add(each.name)
        vms = {each.name: each for each in cluster.vms}
        for name in restarted:
            each, target = vms[name], by_name[where[name]]
            there = [v.needs for v in cluster.vms if where.get(v.name) == target.name]
            if target.refusal:
                found.append(f"{sorted(lost)}: {name} on {target.name}, {target.refusal}")
            if sum(n.memory for n in there) > target.free.memory:
                found.append(f"{sorted(lost)}: too much on {target.name}")
            if sum(n.cpu for n in there) > target.free.cpu:
                found.append(f"{sorted(lost)}: too much cpu on {target.name}")
            if any(target.labels.get(k) != v for k, v in each.node_selector.items()):
                found.append(f"{sorted(lost)}: {name} not for {target.name}")
            for other in cluster.vms:
                if other.name == name or other.name not in where:
                    continue
                rules = [r for r in each.rules if r.matches(other.labels)]
                rules += [r for r in other.rules if r.matches(each.labels)]
                near = [target.domain(rule.topology) for rule in rules]
                beside = by_name[where[other.name]]
                if any(
                    d and d == beside.domain(r.topology) for r, d in zip(rules, near, strict=True)
                ):
                    found.append(f"{sorted(lost)}: {name} beside {other.name}")
            if any(target.domain(rule.topology) is None for rule in each.rules):
                found.append(f"{sorted(lost)}: {name} where its rule has no domain")
    return found


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """Small clusters, some full, with hosts that are out of service, racks, rules, selectors."""
    count = draw(st.integers(4, 8))
    hosts = []
    for host in hosts_of(count):
        labels = dict(host.labels)
        if draw(st.integers(0, 7)) == 0:
            del labels["rack"]
        if draw(st.integers(0, 2)) == 0:
            labels["disk"] = "ssd"
        blocked = "not ready" if draw(st.integers(0, 9)) == 0 else ""
        draining = draw(st.integers(0, 9)) == 0
        hosts.append(replace(host, labels=labels, blocked=blocked, draining=draining))
    vms = []
    for i in range(draw(st.integers(0, 14))):
        rules: tuple[Rule, ...] = ()
        labels = {}
        if draw(st.integers(0, 3)) == 0:
            labels = {"app": "db"}
            rules = draw(st.sampled_from(((), (APART,), (APART_BY_RACK,))))
        vms.append(
            vm(
                f"v{i:02}",
                draw(st.integers(1, 6)),
                draw(st.integers(0, count - 1)),
                labels=labels,
                rules=rules,
                restarts=draw(st.integers(0, 5)) > 0,
                node_selector={"disk": "ssd"} if draw(st.integers(0, 7)) == 0 else {},
            )
        )
    failures = draw(st.integers(1, 3))
    topology = draw(st.sampled_from(("host", "host", "rack")))
    return Cluster(tuple(hosts), tuple(vms), Redundancy(failures, topology))


def play(cluster: Cluster, draw_from: list[int]) -> tuple[BackupProver, State, list[Verdict]]:
    """Start empty; admit, add and remove the virtual machines as the numbers say."""
    state = State(replace(cluster, vms=()))
    prover = BackupProver(state)
    said: list[Verdict] = []
    for i, number in enumerate(draw_from):
        each = cluster.vms[number % len(cluster.vms)]
        assert each.host is not None
        if each.name in state.vms:
            prover.remove(each.name)
        elif number % 7 == 0:
            prover.add(each, state.index[each.host])
        else:
            fits = np.flatnonzero(state.fits(each))
            if fits.size:
                before = snapshot(prover, state)
                against = prover.admit(each, int(fits[(number + i) % fits.size]))
                if against is not None:
                    assert snapshot(prover, state) == before
        said.append(prover.verdict())
    return prover, state, said


def snapshot(prover: BackupProver, state: State) -> object:
    lists = prover._lists
    return (
        state.free.tolist(),
        dict(state.vms),
        [list(names) for names in state.on],
        prover.verdict(),
        lists and (sums_of(lists.sums), sorted(lists.items())),
        lists and [sorted(names) for names in lists.parked],
    )


def sums_of(sums: BackupSums) -> object:
    at = [{t: a.tolist() for t, a in sorted(there.items())} for there in sums._at]
    return sums.worst.tolist(), sums._most.tolist(), sums._single.tolist(), at


def now(state: State, cluster: Cluster) -> Cluster:
    vms = (replace(v, host=state.hosts[state.host_of(v.name)].name) for v in state.vms.values())
    return replace(cluster, vms=tuple(vms))


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
    assert (prover.spare()[:, arriving] >= 0).all()


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
        st.tuples(st.permutations(range(6)), st.integers(1, 3), st.integers(1, 9)), max_size=12
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


@pytest.mark.parametrize("kind", [RuleKind.AFFINITY, RuleKind.SPREAD])
def test_rules_that_no_list_covers_are_named(kind: RuleKind) -> None:
    rule = Rule(kind, (("app", "web"),))
    each = vm("v", 1, labels={"app": "web"}, rules=(rule,))
    state = State(Cluster(hosts_of(5), (), Redundancy(2)))
    prover = BackupProver(state)
    against = prover.admit(each, 0)
    assert isinstance(against, NotProven)
    assert against.unplaced == ("v",)
    assert f'"v" requires {kind} by host, and a zone of this size' in against.message
    assert isinstance(prover.verdict(), Proof)
    assert prover.admit(replace(each, restarts=False), 0) is None
    prover.remove("v")
    prover.add(each, 0)
    assert isinstance(prover.verdict(), NotProven)


def test_who_stays_lost_takes_room_only_where_it_is() -> None:
    vms = (vm("v", 16, 0, restarts=False), vm("w", 16, 1))
    assert proof_of(Cluster(hosts_of(3), vms, Redundancy(1))).backups == {"w": ("h2",)}


def test_as_many_domains_as_may_fail_leave_nothing() -> None:
    cluster = Cluster(hosts_of(4), (), Redundancy(2, "rack"))
    prover = BackupProver(State(cluster))
    assert isinstance(prover.verdict(), Proof)
    against = prover.admit(vm("v", 1), 0)
    assert against == Impossible(("r0", "r1"), "nothing is left")
    assert prover.admit(vm("w", 1, restarts=False), 0) is None


def test_a_bound_names_the_loss_and_what_is_missing() -> None:
    cluster = Cluster(hosts_of(3), tuple(vm(f"v{i}", 12, i) for i in range(3)), Redundancy(1))
    verdict = BackupProver(State(cluster)).verdict()
    assert isinstance(verdict, Impossible)
    assert verdict.lost == ("h0",)
    assert "4 of memory are missing" in verdict.message


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


def test_removing_an_unknown_one_raises() -> None:
    with pytest.raises(KeyError):
        BackupProver(State(Cluster(hosts_of(3), (), Redundancy(1)))).remove("v")
