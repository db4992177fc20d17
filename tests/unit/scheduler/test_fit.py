# SPDX-License-Identifier: Apache-2.0
"""How many more fit: they are really placed, and one more is not."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler.answer import NoPlacement
from nopal_scheduler.checker import check_proof
from nopal_scheduler.fit import Share, fit
from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.proof import Case, NotProven, Proof
from nopal_scheduler.proving.cases.prover import CaseProver
from nopal_scheduler.scheduler import Scheduler
from support.naiveplacing import fits
from support.tinyclusters import clusters, vms

QUICK = settings(max_examples=40, deadline=None, derandomize=True)


@QUICK
@given(cluster=clusters(), size=vms("size", ruled=True), failures=st.integers(0, 2))
def test_so_many_fit_and_one_more_does_not(cluster: Cluster, size: Vm, failures: int) -> None:
    cluster = replace(cluster, redundancy=replace(cluster.redundancy, failures=failures))
    before = Scheduler(cluster).verdict()
    answer = fit(cluster, size, most=50)
    hosts = {host.name: host for host in cluster.hosts}
    assert answer.count == len(answer.placements)
    assert not answer.count or isinstance(before, Proof)
    for name, at in answer.placements:
        new = replace(size, name=name, host=at)
        assert fits(cluster, new, hosts[at])
        cluster = replace(cluster, vms=(*cluster.vms, new))
    scheduler = Scheduler(cluster)
    if isinstance(before, Proof):
        verdict = scheduler.verdict()
        assert not isinstance(verdict, Proof) or check_proof(cluster, verdict) == ()
        assert "impossible" not in getattr(verdict, "message", "")
    if answer.count < 50 and not failures:
        assert isinstance(scheduler.place(replace(size, name="more")), NoPlacement)
        assert answer.message.startswith("0/")
    assert answer.limit


def host(name: str, *, memory: int = 64, cpu: int = 64, rack: str = "") -> Host:
    return Host(name, Room(cpu, memory), labels={"rack": rack} if rack else {})


SMALL = Vm("s", Room(1, 8))


@pytest.mark.parametrize(("failures", "count"), [(0, 40), (1, 32), (2, 24)])
def test_what_k_losses_need_is_left_free(failures: int, count: int) -> None:
    hosts = tuple(host(f"h{i}") for i in range(5))
    answer = fit(Cluster(hosts, (), Redundancy(failures)), SMALL)
    assert answer.count == count, "8 of 8 on each host but k"
    lost = tuple(f"h{i}" for i in range(failures))
    words = f"memory after the loss of {', '.join(lost)}" if failures else "memory"
    assert (answer.limit, answer.resource, answer.lost) == (words, "memory", lost)


def test_steps_and_single_ones_agree() -> None:
    hosts = tuple(host(f"h{i}", memory=20 + i) for i in range(6))
    cluster = Cluster(hosts, (), Redundancy(1))
    scheduler, count = Scheduler(cluster), 0
    while not isinstance(scheduler.admit(Vm(f"n{count}", Room(1, 3))), NoPlacement):
        count += 1
    answer = fit(cluster, Vm("s", Room(1, 3)))
    assert answer.count >= count
    # Whoever a step that was too large gives back comes next.
    names = [name for name, _ in answer.placements]
    assert names == [f"s+{i}" for i in range(1, answer.count + 1)]


def test_a_mix_comes_in_its_proportion() -> None:
    hosts = tuple(host(f"h{i}") for i in range(3))
    mix = [Share(SMALL, 3), Share(Vm("m", Room(1, 16)))]
    answer = fit(Cluster(hosts), mix)
    assert answer.counts["s"] - 3 <= 3 * answer.counts["m"] <= answer.counts["s"] + 3
    assert answer.count >= 16
    for bad in ([], [Share(SMALL, 0)]):
        with pytest.raises(ValueError, match="mix"):
            fit(Cluster(hosts), bad)


def test_the_first_limit_is_named() -> None:
    few = Cluster(
        (host("a", cpu=2, rack="1"), host("b", cpu=2, rack="2"), host("c", cpu=2, rack="2"))
    )
    assert (fit(few, SMALL).limit, fit(few, SMALL).resource) == ("cpu", "cpu")
    picky = replace(SMALL, node_selector={"rack": "1"})
    assert fit(few, picky).limit == "cpu of hosts with rack=1"
    assert fit(Cluster((*few.hosts, host("d", memory=0))), SMALL).limit == "cpu"
    assert fit(few, replace(SMALL, node_selector={"rack": "9"})).limit == "no label rack=9"
    apart = Rule(RuleKind.ANTI_AFFINITY, (("app", "db"),))
    alone = replace(SMALL, labels={"app": "db"}, rules=(apart,))
    answer = fit(few, alone)
    assert answer.count == 3
    assert "app=db" in answer.limit
    assert answer.resource == ""
    assert fit(Cluster(()), SMALL).limit == "hosts"


def test_where_room_is_left_for_the_proof_that_is_the_limit() -> None:
    full = tuple(Vm(f"on-{name}", Room(1, 64), name, restarts=False) for name in "abc")
    hosts = tuple(host(name, rack="1") for name in "abcd")
    picky = replace(SMALL, node_selector={"rack": "1"})
    answer = fit(Cluster(hosts, full, Redundancy(1)), picky)
    assert (answer.count, answer.limit) == (0, "memory after the loss of d")
    # Nor is there a name in it: nobody knows the next one by the name that it would have.
    assert "s+1" not in answer.message


def test_a_proof_that_fails_for_another_reason_is_named_as_such() -> None:
    hosts = (host("a", memory=64), *(host(name, memory=16) for name in "bcde"))
    answer = fit(Cluster(hosts, (), Redundancy(1)), Vm("s", Room(1, 20)))
    assert (answer.count, answer.limit, answer.resource) == (0, "N+1 impossible", "")
    assert answer.message.startswith(
        "0/5 hosts fit: 4 insufficient memory (needs 20, at most 16 free), 1 N+1 impossible"
        " (after the loss of a no host that is left has room for it"
    )


def test_those_that_were_placed_so_far_are_called_by_their_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever is in the way of the next one is none of the cluster's, and nobody gave it a name."""
    old = Vm("old", Room(1, 1), host="a")
    names = ["s+1", "s+2", "old"]
    words = " and ".join(f'vm "{name}"' for name in names)

    def admit(self: CaseProver, vm: Vm, host: int) -> NotProven | None:
        if vm.name == "s+2":
            return NotProven(Case(("a",)), (), words)
        self.add(vm, host)
        return None

    monkeypatch.setattr(CaseProver, "admit", admit)
    answer = fit(Cluster((host("a"), host("b")), (old,), Redundancy(1)), SMALL, most=2)
    assert answer.count == 1
    assert 'for the loss of a another "s" and it and vm "old"' in answer.message


def test_where_nothing_is_proven_nothing_fits() -> None:
    cluster = Cluster((host("a"), host("b")), (Vm("x", Room(1, 60), host="a"),), Redundancy(1))
    full = replace(cluster, vms=(*cluster.vms, Vm("y", Room(1, 60), host="b")))
    assert fit(full, Vm("s", Room(0, 1))).count == 0


def test_what_needs_nothing_ends() -> None:
    assert fit(Cluster((host("a"),)), Vm("s", Room(0, 0)), most=7).count == 7


def test_names_that_are_there_are_not_taken() -> None:
    cluster = Cluster((host("a", memory=24),), (Vm("s+1", Room(1, 8), host="a"),))
    assert [name for name, _ in fit(cluster, SMALL).placements] == ["s+2", "s+3"]
