# SPDX-License-Identifier: Apache-2.0
"""What every failover plan keeps, whatever the cluster, the loss and the proof."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from nopal_scheduler.failover import FailoverPlan, plan_failover
from nopal_scheduler.model import Cluster, Redundancy, Room, RuleKind, Vm
from nopal_scheduler.proof import Proof
from support.killer import find_proof, misplaced, overfull
from support.tinyclusters import clusters

few = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@st.composite
def lost(draw: st.DrawFn, *, ruled: bool = True) -> tuple[Cluster, list[str]]:
    cluster = draw(clusters(max_vms=8, ruled=ruled))
    names = [each.name for each in cluster.hosts]
    return cluster, draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))


@st.composite
def proofs(draw: st.DrawFn, cluster: Cluster) -> Proof | None:
    """Anything that calls itself a proof: places that hold, or once did, or never."""
    if draw(st.booleans()):
        return None
    hosts = st.sampled_from([each.name for each in cluster.hosts])
    backups = {v.name: (draw(hosts), draw(hosts)) for v in cluster.vms if draw(st.booleans())}
    return Proof(Redundancy(2), backups=backups)


def rest(cluster: Cluster, gone: list[str], plan: FailoverPlan) -> tuple[Cluster, dict[str, str]]:
    """What is left of a cluster, and where everything is when the plan was followed."""
    places = {v.name: v.host for v in cluster.vms if v.host and v.host not in gone}
    places |= {restart.vm: restart.host for restart in plan.restarts}
    alive = tuple(each for each in cluster.hosts if each.name not in gone)
    vms = tuple(v for v in cluster.vms if v.host not in gone or v.name in places)
    return Cluster(alive, vms), places


@given(lost(), st.data())
@few
def test_every_restart_fits_at_its_moment(
    made: tuple[Cluster, list[str]], data: st.DataObject
) -> None:
    cluster, gone = made
    plan = plan_failover(cluster, gone, data.draw(proofs(cluster)))
    expected = {v.name for v in cluster.vms if v.host in gone and v.restarts}
    names = [restart.vm for restart in plan.restarts]
    assert sorted(names + [left.vm for left in plan.unplaced]) == sorted(expected)
    for count in range(len(names)):
        now, places = rest(cluster, gone, replace(plan, restarts=plan.restarts[: count + 1]))
        last = plan.restarts[count]
        assert last.host not in overfull(now, places) | set(gone)
        if misplaced(now, places, [last.vm]):
            # A circle of the proof: its rules hold when it is closed.
            assert last.proven
            end, final = rest(cluster, gone, plan)
            assert not misplaced(end, final, [last.vm])
            event("circle")


@pytest.mark.slow
@given(clusters(max_vms=6))
@few
def test_an_unchanged_world_goes_by_the_proof(cluster: Cluster) -> None:
    proof = find_proof(cluster)
    assume(proof is not None)
    assert proof is not None
    for case in proof.cases:
        gone = [
            each.name
            for each in cluster.hosts
            if (each.domain(proof.redundancy.topology) or f"[{each.name}]") in case.lost
        ]
        plan = plan_failover(cluster, gone, proof)
        assert {restart.vm: restart.host for restart in plan.restarts} == case.restarts
        assert all(restart.proven for restart in plan.restarts)
        assert plan.unplaced == ()


def wants_company(each: Vm) -> bool:
    return any(r.required and r.kind is not RuleKind.ANTI_AFFINITY for r in each.rules)


@pytest.mark.slow
@given(lost(), st.data())
@few
def test_no_lower_priority_takes_the_room_of_a_higher(
    made: tuple[Cluster, list[str]], data: st.DataObject
) -> None:
    cluster, gone = made
    # So full that something is left over.
    hosts = tuple(replace(h, capacity=Room(h.capacity.cpu, 5)) for h in cluster.hosts)
    vms = tuple(
        replace(v, rules=() if wants_company(v) else v.rules, restarts=True) for v in cluster.vms
    )
    cluster = replace(cluster, hosts=hosts, vms=vms)
    plan = plan_failover(cluster, gone, data.draw(proofs(cluster)))
    by_name = {v.name: v for v in vms}
    for left in plan.unplaced:
        v = by_name[left.vm]
        above = [r for r in plan.restarts if by_name[r.vm].priority >= v.priority]
        event(f"lower ones restarted: {len(above) < len(plan.restarts)}")
        for each in hosts:
            if each.name not in gone:
                higher = replace(plan, restarts=tuple(above))
                now, places = rest(cluster, gone, higher)
                now = replace(now, vms=(*now.vms, v))
                places[v.name] = each.name
                full = each.name in overfull(now, places)
                assert full or misplaced(now, places, [v.name])


@given(lost(ruled=False))
@few
def test_without_rules_the_order_is_by_priority(made: tuple[Cluster, list[str]]) -> None:
    cluster, gone = made
    priority = {v.name: v.priority for v in cluster.vms}
    plan = plan_failover(cluster, gone)
    assert all(priority[a.vm] >= priority[b.vm] for a, b in pairwise(plan.restarts))


@pytest.mark.slow
@given(lost(), st.data())
@few
def test_the_order_of_the_input_decides_nothing(
    made: tuple[Cluster, list[str]], data: st.DataObject
) -> None:
    cluster, gone = made
    proof = data.draw(proofs(cluster))
    hosts, vms = data.draw(st.permutations(cluster.hosts)), data.draw(st.permutations(cluster.vms))
    shuffled = replace(cluster, hosts=tuple(hosts), vms=tuple(vms))
    assert plan_failover(shuffled, gone[::-1], proof) == plan_failover(cluster, gone, proof)
