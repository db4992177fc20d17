# SPDX-License-Identifier: Apache-2.0
"""Plans carried out: against the version they were computed from, and never a room given twice."""

from contextlib import suppress

import pytest

from nopal_api.kinds import DISK, VIRTUAL_MACHINE
from nopal_api.names import MANAGER_NODE
from nopal_operator.reconcile.plan import Reserve
from nopal_runtime.errors import NopalError, TerminalError, TransientError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.fake import Call
from support.objects import uses
from support.operatorlab import Lab

VM = Key("VirtualMachine", "default", "vm1")


@pytest.fixture
async def lab(lab: Lab) -> Lab:
    """The lab with a virtual machine and its disk that nobody has looked at yet."""
    lab.disk("root")
    lab.vm(disks=uses("root"))
    return lab


def fail(lab: Lab, kind: str, phase: str, error: Exception) -> None:
    async def hook(call: Call) -> None:
        if (call.kind, call.verb, call.phase) == (kind, "apply_status", phase):
            lab.kube.hooks.remove(hook)
            raise error

    lab.kube.hooks.append(hook)


async def test_a_changed_object_is_read_again_and_looked_at_soon(lab: Lab) -> None:
    plan = await lab.plan(VM)
    lab.vm(cpu={"cores": 3}, disks=[{"name": "root", "disk": {"name": "root"}}])
    again = await lab.effects.carry_out(VM, plan)
    assert again is not None
    assert again < 1.0
    assert lab.model(VM).status.assignment is None
    assert lab.world.schedulers.assumed() == 0
    await lab.act_on_what_is_known(VM)  # no list was needed to see the change
    assert lab.model(VM).status.assignment.cores == 3


async def test_a_namesake_gets_nothing_of_the_plan(lab: Lab) -> None:
    plan = await lab.plan(VM)
    lab.kube.strip_finalizers(VIRTUAL_MACHINE, "vm1", "default")
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    lab.vm()
    await lab.effects.carry_out(VM, plan)
    assert lab.model(VM).status.assignment is None
    assert lab.world.schedulers.assumed() == 0


async def test_an_object_that_is_gone_is_forgotten(lab: Lab) -> None:
    plan = await lab.plan(VM)
    lab.kube.strip_finalizers(VIRTUAL_MACHINE, "vm1", "default")
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    await lab.effects.carry_out(VM, plan)
    assert lab.world.vm(VM) is None
    assert lab.world.schedulers.assumed() == 0


async def test_a_claim_that_conflicts_leaves_no_assignment(lab: Lab) -> None:
    plan = await lab.plan(VM)
    await lab.tell(Key("Disk", "default", "root"), MANAGER_NODE, {"size": "1"})
    await lab.effects.carry_out(VM, plan)
    assert lab.model(VM).status.assignment is None
    assert lab.model(Key("Disk", "default", "root")).status.claim is None


async def test_an_assignment_without_an_answer_holds_its_room_until_it_is_seen(lab: Lab) -> None:
    fail(lab, "VirtualMachine", "after", TransientError("ApiUnavailable", "no answer"))
    with pytest.raises(TransientError):
        await lab.act(VM)
    assert lab.world.schedulers.assumed() == 1
    node = lab.model(VM).status.assignment.node_name  # it did land
    assert lab.world.load(node).cpu == 1
    await lab.sync()
    assert lab.world.schedulers.assumed() == 0
    assert lab.world.load(node).cpu == 1


@pytest.mark.parametrize("kind", ["Disk", "VirtualMachine"])
async def test_a_write_that_was_refused_gives_the_room_back(lab: Lab, kind: str) -> None:
    fail(lab, kind, "before", TerminalError("Forbidden", "no"))
    with pytest.raises(TerminalError):
        await lab.act(VM)
    assert lab.world.schedulers.assumed() == 0


async def test_a_claim_without_an_answer_gives_the_room_back(lab: Lab) -> None:
    fail(lab, "Disk", "after", TransientError("ApiUnavailable", "no answer"))
    with pytest.raises(TransientError):
        await lab.act(VM)
    assert lab.world.schedulers.assumed() == 0
    await lab.act(VM)  # the claim that landed is its own: it goes on above it
    assert lab.model(VM).status.assignment.epoch == 2


async def test_a_room_is_given_back_when_the_user_stops_it_first(lab: Lab) -> None:
    fail(lab, "VirtualMachine", "before", TransientError("ApiUnavailable", "no answer"))
    with pytest.raises(TransientError):
        await lab.act(VM)
    assert lab.world.schedulers.assumed() == 1
    lab.vm(powerState="Stopped")
    await lab.act(VM)
    assert lab.world.schedulers.assumed() == 0


async def test_a_room_is_given_back_when_it_is_deleted_first(lab: Lab) -> None:
    fail(lab, "VirtualMachine", "before", TransientError("ApiUnavailable", "no answer"))
    with pytest.raises(TransientError):
        await lab.act(VM)
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    await lab.act(VM)
    await lab.sync()
    assert lab.world.schedulers.assumed() == 0
    assert not lab.is_there(VM)
    assert lab.kube.see(DISK, "root", "default") is not None


@pytest.mark.parametrize("ending", ["deleted", "conflict", "refused"])
async def test_who_waits_hears_of_room_that_was_only_reserved(lab: Lab, ending: str) -> None:
    """The first one's plan comes to nothing, and the second was refused for its reservation."""
    await lab.act(lab.vm("other", memory={"size": "13Gi"}))
    second = lab.vm("second", memory={"size": "13Gi"})
    lab.vm("vm1", memory={"size": "13Gi"}, disks=uses("root"))
    first = await lab.plan(VM)
    reserve = next(step for step in first.steps if isinstance(step, Reserve))
    lab.world.schedulers.assume(reserve.hold)
    assert (await lab.refused(second))[0] == "Unschedulable"
    if ending == "deleted":
        lab.kube.strip_finalizers(VIRTUAL_MACHINE, "vm1", "default")
        lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    elif ending == "conflict":
        await lab.tell(Key("Disk", "default", "root"), MANAGER_NODE, {"size": "1Gi"})
    else:
        fail(lab, "VirtualMachine", "before", TerminalError("Denied", "no"))
    lab.dirty.clear()
    with suppress(NopalError):
        await lab.carry_out(VM, first)
    assert lab.world.schedulers.assumed() == 0
    assert second in lab.dirty
    await lab.act(second)
    assert lab.said(second).reason == "Assigned"


@pytest.mark.parametrize("others", [(), ("foregroundDeletion",)])
async def test_an_object_that_is_let_go_is_let_go_once(lab: Lab, others: tuple[str, ...]) -> None:
    """Its disk, which is free now, is news of it before the watch tells of its end."""
    await lab.act(VM)
    await lab.release(VM)
    body = await lab.kube.get(VIRTUAL_MACHINE, namespace="default", name="vm1")
    meta = body["metadata"]
    await lab.kube.set_finalizers(
        VIRTUAL_MACHINE,
        namespace="default",
        name="vm1",
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        finalizers=(*meta["finalizers"], *others),
    )
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    lab.kube.calls.clear()
    await lab.act(VM)
    assert VM in lab.dirty
    await lab.act_on_what_is_known(VM)
    assert lab.writes_of("VirtualMachine") == ["set_finalizers"]
    assert (lab.world.vm(VM) is None) == (not others)
