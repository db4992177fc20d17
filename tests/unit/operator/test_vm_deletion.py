# SPDX-License-Identifier: Apache-2.0
"""What the operator frees of a virtual machine that goes, and of one that cannot run."""

from nopal_api.kinds import VIRTUAL_MACHINE
from nopal_api.names import MANAGER_ASSIGNMENT
from nopal_operator.reconcile.plan import ApplyStatus, ConfirmUnchanged, SetFinalizers
from nopal_runtime.kube.api import Key
from support.objects import uses
from support.operatorlab import Lab


async def test_without_an_assignment_it_goes_at_once(lab: Lab) -> None:
    vm = lab.vm(powerState="Stopped")
    await lab.act(vm)
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    await lab.act(vm)
    assert not lab.is_there(vm)


async def test_it_goes_when_its_host_released_it_and_its_disks_are_free_first(lab: Lab) -> None:
    disk, vm = lab.disk("root"), lab.vm(disks=uses("root"))
    await lab.act(vm)
    executor = lab.model(disk).status.executor
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    assert (await lab.plan(vm)).steps == ()
    await lab.release(vm)
    steps = (await lab.plan(vm)).steps
    assert [type(s) for s in steps] == [ConfirmUnchanged, ApplyStatus, SetFinalizers]
    lab.kube.calls.clear()
    await lab.act(vm)
    assert not lab.is_there(vm)
    assert lab.model(disk).status.claim is None
    assert lab.model(disk).status.executor == executor
    assert lab.writes_of("VirtualMachine") == ["set_finalizers"]
    assert lab.writes_of("Disk") == ["apply_status"]


async def test_a_release_of_an_older_epoch_frees_nothing(lab: Lab) -> None:
    disk, vm = lab.disk("root"), lab.vm(disks=uses("root"))
    await lab.act(vm)
    await lab.release(vm)
    await lab.act(vm)
    assert lab.model(vm).status.assignment.epoch == 2
    assert lab.model(vm).status.released_epoch == 1
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    await lab.act(vm)
    assert lab.is_there(vm)
    assert lab.model(disk).status.claim is not None


async def test_a_namesake_does_not_inherit_the_disks(lab: Lab) -> None:
    disk, vm = lab.disk("root"), lab.vm(disks=uses("root"))
    await lab.act(vm)
    old = lab.uid(vm)
    lab.kube.strip_finalizers(VIRTUAL_MACHINE, "vm1", "default")
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    again = lab.vm(disks=uses("root"))
    assert lab.uid(again) != old
    reason, message = await lab.refused(again)
    assert reason == "DiskInUse"
    assert "earlier VirtualMachine" in message
    assert lab.model(disk).status.claim.vm_uid == old


async def test_interrupted_claims_of_one_that_cannot_run_are_undone(lab: Lab) -> None:
    """Two that each got one of two shared disks do not wait for each other for ever."""
    lab.disk("x")
    lab.disk("y")
    a = lab.vm("a", disks=uses("x", "y"))
    await lab.act_all()
    b = lab.vm("b", disks=uses("y", "x"))
    # As if a's claim of y had been lost to b, and neither was assigned.
    uid_b = lab.uid(b)
    status = lab.model(Key("Disk", "default", "y")).status
    claim = {**status.claim.wire(), "vmName": "b", "vmUID": uid_b, "epoch": 7}
    applied = {"location": status.location.wire(), "executor": status.executor.wire()}
    await lab.tell(Key("Disk", "default", "y"), MANAGER_ASSIGNMENT, {**applied, "claim": claim})
    assert (await lab.refused(b))[0] == "DiskInUse"
    assert lab.model(Key("Disk", "default", "y")).status.claim is None
    assert lab.model(Key("Disk", "default", "x")).status.claim.vm_uid == lab.uid(a)
