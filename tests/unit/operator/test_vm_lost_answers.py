# SPDX-License-Identifier: Apache-2.0
"""An assignment lands and its answer is lost: the retry comes before the watch tells of it."""

import pytest

from nopal_api.kinds import DISK, VIRTUAL_MACHINE
from nopal_api.names import MANAGER_ASSIGNMENT
from nopal_runtime.errors import TransientError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.fake import Call
from support.objects import uses
from support.operatorhosts import Hosts
from support.operatorlab import Lab

VM = Key("VirtualMachine", "default", "vm1")
ROOT = Key("Disk", "default", "root")


@pytest.fixture
async def lab(lab: Lab) -> Lab:
    """The lab with a virtual machine whose assignment landed; the operator does not know."""
    lab.disk("root")
    lab.vm(disks=uses("root"))
    await lose_the_answer(lab, VM)
    assert lab.model(VM).status.assignment is not None
    known = lab.world.vm(VM)
    assert known is not None
    assert known.model.status.assignment is None
    lab.kube.calls.clear()
    return lab


async def lose_the_answer(lab: Lab, vm: Key) -> None:
    """Act; the VM's own write lands without an answer."""

    async def hook(call: Call) -> None:
        if (call.kind, call.verb, call.phase) == ("VirtualMachine", "apply_status", "after"):
            lab.kube.hooks.remove(hook)
            raise TransientError("ApiUnavailable", "no answer")

    lab.kube.hooks.append(hook)
    with pytest.raises(TransientError):
        await lab.act(vm)


async def test_a_retry_does_not_claim_again(lab: Lab) -> None:
    await lab.act_on_what_is_known(VM)
    assert lab.writes() == 0
    Hosts(lab).check_claims()
    known = lab.world.vm(VM)  # the fresh object is known from now on, without the watch
    assert known is not None
    assert known.model.status.assignment == lab.model(VM).status.assignment
    await lab.act_on_what_is_known(VM)
    await lab.act_all()
    assert lab.writes_of("VirtualMachine") == []
    assert lab.model(VM).status.assignment.epoch == 1


async def test_a_retry_that_finds_no_host_leaves_the_claim(lab: Lab) -> None:
    lab.heartbeats.update(n1=False, n2=False)
    await lab.act_on_what_is_known(VM)
    lab.heartbeats.update(n1=True, n2=True)
    Hosts(lab).check_claims()
    assert lab.writes_of("Disk") == []
    other = lab.vm("vm2", disks=uses("root"))
    reason, _ = await lab.refused(other)
    assert reason == "DiskInUse"
    Hosts(lab).judge()


async def test_a_retry_leaves_the_claim_also_when_its_refusal_is_no_news(lab: Lab) -> None:
    lab.disk("second")
    second = lab.vm("vm2", disks=uses("second"))
    lab.heartbeats.update(n1=False, n2=False)
    await lab.refused(second)
    lab.heartbeats.update(n1=True, n2=True)
    await lose_the_answer(lab, second)
    lab.heartbeats.update(n1=False, n2=False)
    lab.kube.calls.clear()
    await lab.act_on_what_is_known(second)
    assert lab.writes() == 0
    Hosts(lab).check_claims()


async def test_a_deletion_does_not_free_the_disks_of_what_changed_since(lab: Lab) -> None:
    await lab.sync()
    await lab.release(VM)
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    plan = await lab.plan(VM)
    lab.vm(cpu={"cores": 3}, disks=uses("root"))
    await lab.effects.carry_out(VM, plan)
    assert lab.model(ROOT).status.claim is not None
    await lab.act(VM)
    assert lab.model(ROOT).status.claim is None
    assert not lab.is_there(VM)


@pytest.mark.parametrize("what", ["running", "stopping", "deleting"])
@pytest.mark.parametrize("there", ["none", "other epoch", "other node"])
async def test_the_claim_of_a_live_assignment_is_restored(lab: Lab, there: str, what: str) -> None:
    before = lab.model(ROOT).status
    await _spoil(lab, there)
    if what == "stopping":
        lab.vm(disks=uses("root"), powerState="Stopped")
    if what == "deleting":
        lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    lab.kube.calls.clear()
    await lab.act(VM)
    Hosts(lab).check_claims()
    after = lab.model(ROOT).status
    assert after.claim == before.claim
    assert (after.location, after.parent) == (before.location, before.parent)
    assert after.executor.node_name == after.claim.node_name
    assert after.executor.epoch >= 5 if there != "none" else after.executor == before.executor
    await lab.act(VM)
    assert lab.writes_of("Disk") == ["apply_status"]


async def test_a_claim_of_another_is_left_alone(lab: Lab) -> None:
    other = lab.vm("vm2")
    await _spoil(lab, "other epoch", of=other)
    before = lab.model(ROOT).status
    await lab.act(VM)
    assert lab.model(ROOT).status == before


async def test_nothing_is_restored_for_what_was_released_meanwhile(lab: Lab) -> None:
    await _spoil(lab, "none")
    await lab.sync()
    await lab.release(VM)
    lab.kube.calls.clear()
    await lab.act_on_what_is_known(VM)
    assert lab.model(ROOT).status.claim is None
    assert lab.writes() == 0


async def test_a_restored_claim_outdates_a_deletion_that_was_reported(lab: Lab) -> None:
    await _spoil(lab, "none")
    lab.kube.remove(DISK, "root", "default")
    epoch = lab.model(ROOT).status.executor.epoch
    await lab.tell(ROOT, "nopal.dev/node", {"deletedEpoch": epoch})
    await lab.act(VM)
    status = lab.model(ROOT).status
    assert status.claim is not None
    assert status.deleted_epoch < status.executor.epoch


async def _spoil(lab: Lab, there: str, *, of: Key = VM) -> None:
    """Make the claim what a write that was given up makes it."""
    status = lab.model(ROOT).status
    shown = {"location": status.location.wire(), "executor": status.executor.wire()}
    if there != "none":
        nodes = {"other epoch": status.claim.node_name}
        node = nodes.get(there) or next(n for n in ("n1", "n2") if n != status.claim.node_name)
        shown["executor"] = {"nodeName": node, "epoch": 5}
        shown["claim"] = {
            "vmName": of.name, "vmUID": lab.uid(of), "nodeName": node, "epoch": 5,
        }  # fmt: skip
    await lab.tell(ROOT, MANAGER_ASSIGNMENT, shown)
