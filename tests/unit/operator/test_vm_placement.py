# SPDX-License-Identifier: Apache-2.0
"""Where a virtual machine finds room, and what is said when it finds none."""

from typing import Any

import pytest

from nopal_api.kinds import VIRTUAL_MACHINE
from nopal_operator.reconcile import plan
from nopal_operator.reconcile.plan import Reserve
from support.objects import on
from support.operatorlab import Lab


async def test_two_decisions_at_once_never_take_the_same_room(lab: Lab) -> None:
    vms = [lab.vm(f"vm{i}", memory={"size": "9Gi"}) for i in range(3)]
    await lab.sync()
    decided = []
    for vm in vms:  # the writes of none of them are seen yet
        made = plan(lab.world, vm, now=lab.now)
        for step in made.steps:
            if isinstance(step, Reserve):
                lab.world.schedulers.assume(step.hold)
                decided.append(step.hold.host)
    assert decided == ["n1", "n2"]


async def test_no_room_is_told_per_host(lab: Lab) -> None:
    await lab.host("n2", ready=False)
    reason, message = await lab.refused(lab.vm(memory={"size": "20Gi"}))
    assert reason == "Unschedulable"
    assert message == (
        "0/2 hosts fit: 1 insufficient memory (needs 20.1Gi, 14Gi free), 1 not ready (Preflight)"
    )


async def test_network_that_no_host_realizes(lab: Lab) -> None:
    lab.network("dmz")
    reason, message = await lab.refused(lab.vm(interfaces=on("dmz")))
    assert (reason, message) == ("Unschedulable", "0/2 hosts fit: 2 network dmz not realized")


async def test_zone_without_hosts_says_what_to_do(lab: Lab) -> None:
    lab.zone("empty")
    reason, message = await lab.refused(lab.vm(zone="empty"))
    assert reason == "Unschedulable"
    assert "label a node" in message


async def test_it_starts_by_itself_when_room_appears(lab: Lab) -> None:
    big = lab.vm("big", memory={"size": "12Gi"})
    other = lab.vm("other", memory={"size": "12Gi"})
    await lab.act(big)
    await lab.act(other)
    waiting = lab.vm("waiting", memory={"size": "12Gi"})
    assert (await lab.refused(waiting))[0] == "Unschedulable"
    lab.kube.remove(VIRTUAL_MACHINE, "big", "default")
    await lab.release(big)
    lab.dirty.clear()
    await lab.act(big)
    await lab.sync()
    assert waiting in lab.dirty
    await lab.act(waiting)
    assert lab.said(waiting).status == "True"


async def test_mac_conflict_names_the_other_one(lab: Lab) -> None:
    lab.network("lan")
    mac = "02:00:00:00:00:01"
    await lab.act(lab.vm("first", interfaces=on("lan", mac=mac)))
    reason, message = await lab.refused(lab.vm("second", interfaces=on("lan", mac=mac)))
    assert reason == "MACConflict"
    assert mac in message
    assert '"default/first"' in message


async def test_of_two_with_one_mac_that_wait_exactly_one_gets_it(lab: Lab) -> None:
    lab.network("lan")
    mac = "02:00:00:00:00:01"
    vms = [lab.vm(f"vm{i}", interfaces=on("lan", mac=mac)) for i in range(3)]
    await lab.act_all()
    reasons = sorted(lab.said(vm).reason for vm in vms)
    assert reasons == ["Assigned", "MACConflict", "MACConflict"]


async def test_decisions_at_once_never_give_one_mac_twice(lab: Lab) -> None:
    lab.network("lan")
    mac = "02:00:00:00:00:01"
    vms = [lab.vm(f"vm{i}", interfaces=on("lan", mac=mac)) for i in range(3)]
    plans = [await lab.plan(vm) for vm in vms]  # none of them is carried out yet
    assert sum(isinstance(p.steps[0], Reserve) for p in plans) == 1


@pytest.mark.parametrize(
    ("host", "word"),
    [
        ({"heartbeat": False}, "not ready (HostUnreachable)"),
        ({"heartbeat": None}, "not ready (no heartbeat seen yet)"),
        ({"ready": False}, "not ready (Preflight)"),
        ({"scheduling": "Disabled"}, "scheduling disabled"),
    ],
)
async def test_hosts_that_take_nothing(host: dict[str, Any], word: str) -> None:
    lab = Lab()
    lab.zone()
    await lab.host("n1", **host)
    await lab.act_all()
    assert await lab.refused(lab.vm()) == ("Unschedulable", f"0/1 hosts fit: 1 {word}")
