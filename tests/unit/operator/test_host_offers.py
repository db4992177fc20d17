# SPDX-License-Identifier: Apache-2.0
"""What a host has besides CPU and memory: features of its processors, and things that count."""

from dataclasses import replace
from typing import Any

import pytest

from nopal_api.kinds import HOST
from nopal_operator.premises import Premises
from nopal_operator.reconcile import plan
from nopal_operator.reconcile.plan import Reserve
from nopal_operator.schedulers import Hold, Schedulers
from nopal_runtime.kube.api import Key
from nopal_scheduler import Host, Placement, Redundancy, Room, Vm
from support import objects
from support.operatorlab import Lab

LICENCE = "example.com/licence"


def features(*names: str) -> dict[str, Any]:
    return {"cores": 1, "features": list(names)}


def licences(count: int) -> dict[str, int]:
    return {LICENCE: count}


@pytest.fixture
async def mixed() -> Lab:
    """An old host and a new one; each has two licences."""
    made = Lab()
    made.zone()
    await made.host("old", features=["sse4.2"], resources=licences(2))
    await made.host("new", features=["avx2", "sse4.2"], resources=licences(2))
    await made.act_all()
    return made


async def node(lab: Lab, vm: Key) -> str:
    await lab.act(vm)
    assignment = lab.model(vm).status.assignment
    return assignment.node_name if assignment else ""


async def test_a_host_without_a_cpu_feature_is_no_place(mixed: Lab) -> None:
    first = mixed.vm("one", cpu=features("sse4.2", "avx2"))
    assert await node(mixed, first) == "new"
    assert mixed.model(first).status.assignment.cpu_features == ("avx2", "sse4.2")
    both = mixed.vm("two", cpu=features("avx2", "amx-tile"))
    assert await mixed.refused(both) == (
        "Unschedulable",
        "0/2 hosts fit: 2 cpu feature amx-tile missing, 1 cpu feature avx2 missing",
    )


async def test_it_starts_by_itself_when_a_host_has_the_feature(mixed: Lab) -> None:
    waiting = mixed.vm(cpu=features("avx512f"))
    await mixed.refused(waiting)
    mixed.dirty.clear()
    await mixed.host("new", features=["avx2", "avx512f"])
    await mixed.sync()
    assert waiting in mixed.dirty
    assert await node(mixed, waiting) == "new"


async def test_a_feature_that_is_asked_for_later_counts_at_the_next_start(mixed: Lab) -> None:
    await mixed.host("new", features=["avx2"], scheduling="Disabled")
    vm = mixed.vm()
    assert await node(mixed, vm) == "old"
    before = mixed.model(vm).status.assignment
    mixed.vm(cpu=features("avx2"), resources=licences(1))
    await mixed.act_all()
    assert mixed.model(vm).status.assignment == before
    await mixed.host("new", features=["avx2"], resources=licences(1))
    mixed.vm(cpu=features("avx2"), resources=licences(1), powerState="Stopped")
    await mixed.release(vm)
    await mixed.act_all()
    mixed.vm(cpu=features("avx2"), resources=licences(1))
    assert await node(mixed, vm) == "new"
    after = mixed.model(vm).status.assignment
    assert (after.cpu_features, after.resources) == (("avx2",), licences(1))


async def test_where_it_could_restart_it_needs_its_features_too(mixed: Lab) -> None:
    mixed.zone(redundancy={"failures": 1})
    reason, message = await mixed.refused(mixed.vm(cpu=features("avx2")))
    assert reason == "RedundancyNotKept"
    assert "N+1" in message
    assert await node(mixed, mixed.vm("other", cpu=features("sse4.2")))


async def test_things_are_counted(mixed: Lab) -> None:
    assert await node(mixed, mixed.vm("one", resources=licences(2))) == "new"
    assert await node(mixed, mixed.vm("two", resources=licences(1))) == "old"
    third = mixed.vm("three", resources=licences(2))
    assert await mixed.refused(third) == (
        "Unschedulable",
        f"0/2 hosts fit: 2 insufficient {LICENCE} (needs 2, at most 1 free)",
    )
    assert await node(mixed, mixed.vm("without"))


async def test_what_no_host_has_is_said_so(mixed: Lab) -> None:
    reason, message = await mixed.refused(mixed.vm(resources={"example.com/gpu": 1}))
    assert (reason, message) == ("Unschedulable", "0/2 hosts fit: 2 no example.com/gpu")


async def test_two_decisions_at_once_never_take_the_same_thing(mixed: Lab) -> None:
    vms = [mixed.vm(f"vm{i}", resources=licences(2)) for i in range(3)]
    await mixed.sync()
    decided = []
    for vm in vms:  # the writes of none of them are seen yet
        for step in plan(mixed.world, vm, now=mixed.now).steps:
            if isinstance(step, Reserve):
                mixed.world.schedulers.assume(step.hold)
                decided.append(step.hold.host)
    assert sorted(decided) == ["new", "old"]


async def test_room_is_kept_in_things_as_well(mixed: Lab) -> None:
    mixed.zone(redundancy={"failures": 1})
    assert await node(mixed, mixed.vm("one", resources=licences(2)))
    reason, message = await mixed.refused(mixed.vm("two", resources=licences(1)))
    assert (reason, "N+1" in message) == ("RedundancyNotKept", True)


async def test_a_number_that_is_lowered_moves_nothing_and_stops_what_comes(mixed: Lab) -> None:
    first = mixed.vm("one", resources=licences(2))
    there = await node(mixed, first)
    mixed.put(HOST, objects.host("new", resources=licences(1)))
    mixed.put(HOST, objects.host("old"))
    await mixed.act_all()
    assert await node(mixed, first) == there == "new"
    second = mixed.vm("two", resources=licences(1))
    assert (await mixed.refused(second))[1] == (
        f"0/2 hosts fit: 2 insufficient {LICENCE} (needs 1, 0 free)"
    )
    mixed.put(HOST, objects.host("old", scheduling="Disabled"))
    assert await node(mixed, mixed.vm("three")) == "new", "who needs none of it fits"
    mixed.vm("one", resources=licences(2), powerState="Stopped")
    await mixed.release(first)
    await mixed.act_all()
    assert await node(mixed, second) == "new"
    assert (await mixed.refused(mixed.vm("four", resources=licences(1))))[0] == "Unschedulable"


def test_one_that_takes_what_nobody_knew_of_is_taken_in() -> None:
    """Another operator's last decision may be seen when the host has nothing of it any more."""
    premises, all_ = Premises((Host("a", Room(8, 8)),), Redundancy()), Schedulers()
    plain = Vm("plain", Room(1, 1))
    all_.place("z", premises, plain)
    all_.assign("old", Hold(Vm("old", Room(1, 1, {"gpu": 1})), "a", 1))
    assert all_.scheduler("z", premises).state.vms.keys() == {"old"}
    assert all_.place("z", premises, plain) == Placement("a")
    all_.assume(Hold(replace(plain, needs=Room(1, 1, {"gpu": 1})), "a", 1))
    assert all_.place("z", premises, replace(plain, name="more")) == Placement("a")
