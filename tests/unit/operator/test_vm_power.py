# SPDX-License-Identifier: Apache-2.0
"""Virtual machines that stop, go down, start again, or whose host is silent."""

import pytest

from nopal_api.names import MANAGER_NODE
from nopal_runtime.kube.api import Key
from support.objects import uses
from support.operatorlab import Lab


async def test_one_that_is_stopped_takes_no_room(lab: Lab) -> None:
    assert await lab.refused(lab.vm(powerState="Stopped")) == (
        "Stopped",
        "powerState is Stopped; it takes no room on a host.",
    )


async def test_an_assignment_binds_until_the_host_released_it(lab: Lab) -> None:
    vm = lab.vm()
    await lab.act(vm)
    before = lab.model(vm).status.assignment
    await lab.host(before.node_name, ready=False)
    lab.world.heartbeats[before.node_name] = False
    lab.vm(powerState="Stopped")
    await lab.act(vm)
    lab.vm(powerState="Running")
    await lab.act(vm)
    assert lab.model(vm).status.assignment == before


async def test_stopped_and_started_again_it_gets_a_new_epoch(lab: Lab) -> None:
    disk, vm = lab.disk("root"), lab.vm(disks=uses("root"))
    await lab.act(vm)
    lab.vm(disks=uses("root"), powerState="Stopped")
    assert (await lab.plan(vm)).steps == ()  # the host has the word
    await lab.release(vm)
    await lab.act(vm)
    assert lab.said(vm).reason == "Stopped"
    assert lab.model(vm).status.assignment.epoch == 1  # it keeps the count
    assert lab.model(disk).status.claim is not None  # its disks stay its own
    lab.vm(disks=uses("root"), powerState="Running")
    await lab.act(vm)
    assert lab.model(vm).status.assignment.epoch == 2
    assert lab.model(disk).status.claim.epoch == 2
    assert lab.model(disk).status.executor.epoch == 2


@pytest.mark.parametrize(
    ("policy", "exit_", "starts"),
    [
        ("Never", "GuestShutdown", False),
        ("Never", "Crashed", False),
        ("OnCrash", "GuestShutdown", False),
        ("OnCrash", "Crashed", True),
        ("Always", "GuestShutdown", True),
        ("Never", "Requested", True),
    ],
)
async def test_what_went_down_by_itself_is_left_as_its_policy_says(
    lab: Lab, policy: str, exit_: str, *, starts: bool
) -> None:
    vm = lab.vm(restartPolicy=policy)
    await lab.act(vm)
    await lab.release(vm, reason=exit_)
    await lab.act(vm)
    assert (lab.model(vm).status.assignment.epoch == 2) is starts
    if not starts:
        assert lab.said(vm).reason == exit_
        assert "set powerState to Stopped" in lab.said(vm).message


async def test_the_way_out_of_being_left_down_is_to_stop_and_start(lab: Lab) -> None:
    vm = lab.vm(restartPolicy="Never")
    await lab.act(vm)
    await lab.release(vm, reason="GuestShutdown")
    lab.vm(restartPolicy="Never", powerState="Stopped")
    await lab.act(vm)
    await lab.release(vm, reason="Requested")  # the host has seen the stop
    lab.vm(restartPolicy="Never", powerState="Running")
    await lab.act(vm)
    assert lab.model(vm).status.assignment.epoch == 2


async def test_no_room_for_a_restart_keeps_the_old_assignment_as_memory(lab: Lab) -> None:
    vm = lab.vm(memory={"size": "12Gi"})
    await lab.act(vm)
    await lab.release(vm)
    lab.vm("a", memory={"size": "12Gi"})
    lab.vm("b", memory={"size": "12Gi"})
    for name in ("a", "b"):
        await lab.act(Key("VirtualMachine", "default", name))
    await lab.act(vm)
    assert lab.said(vm).reason == "Unschedulable"
    assert lab.model(vm).status.assignment.epoch == 1


async def test_a_silent_host_makes_ready_unknown_and_the_host_takes_it_back(lab: Lab) -> None:
    vm = lab.vm()
    await lab.act(vm)
    node = lab.model(vm).status.assignment.node_name
    running = {
        "power": "Running",
        "conditions": [{"type": "Ready", "status": "True", "reason": "Running", "message": ""}],
    }
    await lab.tell(vm, MANAGER_NODE, running)
    lab.world.heartbeats[node] = False
    await lab.act(vm)
    assert (lab.said(vm, "Ready").status, lab.said(vm, "Ready").reason) == (
        "Unknown",
        "HostUnreachable",
    )
    assert f'"{node}"' in lab.said(vm, "Ready").message
    assert lab.model(vm).status.assignment.node_name == node
    lab.kube.calls.clear()
    await lab.act(vm)
    assert lab.writes() == 0
    lab.world.heartbeats[node] = True
    await lab.act(vm)
    assert lab.said(vm, "Ready").reason == "HostUnreachable"  # until the host says otherwise
    await lab.tell(vm, MANAGER_NODE, running)
    await lab.act(vm)
    assert lab.said(vm, "Ready").status == "True"
    lab.kube.calls.clear()
    await lab.act(vm)
    assert lab.writes() == 0
