# SPDX-License-Identifier: Apache-2.0
"""One packing for every loss: what it proves holds, what it refuses changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler.cases import CaseProver, count_cases
from nopal_scheduler.checker import check_proof
from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.proof import Impossible, NotProven, Proof
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
        prover._left.tolist(),
        [(dict(sorted(p.placed.items())), set(p.unplaced)) for p in prover._packings],
        set(prover._open),
        {labels: there.tolist() for labels, there in state.rules._labels.items() if there.any()},
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
            if refused is None:
                assert prover.is_proven
            else:
                assert everything(prover) == before
        elif state.vms:
            prover.remove(data.draw(st.sampled_from(sorted(state.vms))))
        is_sound(prover, cluster)


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
    for case, packing in enumerate(prover._packings):
        fresh = State(cluster_of(prover, cluster)).free.copy()
        for name, host in packing.placed.items():
            fresh[:, host] -= prover._state.needs(prover._state.vms[name])
        alive = packing.targets
        assert np.array_equal(prover._left[:, case, alive], fresh[:, alive])


@QUICK
@given(cluster=clusters(), data=st.data())
def test_the_order_of_the_input_decides_nothing(cluster: Cluster, data: st.DataObject) -> None:
    shuffled = Cluster(
        tuple(data.draw(st.permutations(cluster.hosts))),
        tuple(data.draw(st.permutations(cluster.vms))),
        cluster.redundancy,
    )
    assert CaseProver(State(shuffled)).verdict() == CaseProver(State(cluster)).verdict()


@settings(max_examples=120, deadline=None, derandomize=True)
@given(cluster=clusters(max_hosts=3, max_vms=5, ruled=False))
def test_without_rules_a_small_proof_is_always_found(cluster: Cluster) -> None:
    verdict = CaseProver(State(cluster)).verdict()
    assert isinstance(verdict, Proof) == (find_proof(cluster) is not None)


def hosts(count: int, memory: int, **more: object) -> tuple[Host, ...]:
    return tuple(Host(f"h{i}", Room(100, memory), **more) for i in range(count))  # type: ignore[arg-type]


def full(*sizes: tuple[str, int]) -> tuple[Vm, ...]:
    return tuple(
        Vm(f"v{i}", Room(1, size), host=host) for i, (host, size) in enumerate(sizes)
    )


def test_a_swap_makes_room() -> None:
    """Best fit puts 6 and 4 together; 5 and 5 then need both of the others' hosts just so."""
    cluster = Cluster(
        hosts(3, 20),
        full(("h0", 6), ("h0", 5), ("h0", 5), ("h0", 4), ("h1", 10), ("h2", 10)),
        Redundancy(1),
    )
    assert isinstance(CaseProver(State(cluster)).verdict(), Proof)


def test_a_bound_says_what_is_missing() -> None:
    verdict = CaseProver(State(Cluster(hosts(2, 10), full(("h0", 6), ("h1", 6)), Redundancy(1)))).verdict()
    assert isinstance(verdict, Impossible)
    assert verdict.message == (
        "impossible: after the loss of h0 2 of memory are missing on the hosts left"
    )


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


def test_losing_every_domain_is_impossible() -> None:
    verdict = CaseProver(State(Cluster(hosts(2, 10), full(("h0", 1)), Redundancy(2)))).verdict()
    assert isinstance(verdict, Impossible)
    assert verdict.lost == ("h0",) or verdict.lost == ("h0", "h1")


@pytest.mark.parametrize(("domains", "failures", "cases"), [(5, 1, 5), (5, 2, 15), (4, 3, 14)])
def test_how_many_losses_there_are(domains: int, failures: int, cases: int) -> None:
    assert count_cases(domains, failures) == cases
