# SPDX-License-Identifier: Apache-2.0
"""Clusters for backup lists, and what is asked of a proof by lists: by brute force."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

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
from nopal_scheduler.proof import Proof, Verdict
from nopal_scheduler.proving.backups.prover import BackupProver
from nopal_scheduler.proving.backups.sums import BackupSums
from nopal_scheduler.state import State

EXAMPLES = settings(max_examples=50)
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
