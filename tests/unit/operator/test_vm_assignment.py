# SPDX-License-Identifier: Apache-2.0
"""How a virtual machine gets its host: claims, the assignment, epochs."""

from nopal_api import names
from nopal_api.kinds import VIRTUAL_MACHINE
from nopal_api.names import FINALIZER, MANAGER_ASSIGNMENT, MANAGER_NODE
from nopal_operator.reconcile.plan import ApplyStatus, Reserve, SetFinalizers
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.fake import FakeKube
from support.objects import on, uses
from support.operatorlab import Lab


async def test_it_is_assigned_with_everything_its_host_needs(lab: Lab) -> None:
    lab.network("lan", bridge={"name": "br0", "mtu": 1400})
    disk = lab.disk("root", size="1500Mi")
    vm = lab.vm(
        cpu={"cores": 2},
        memory={"size": "1000M"},
        disks=[{"name": "a", "disk": {"name": "root"}, "bootOrder": 1}],
        interfaces=on("lan"),
    )
    await lab.act(vm)
    assignment = lab.model(vm).status.assignment
    assert assignment.node_name in ("n1", "n2")
    assert (assignment.epoch, assignment.cores) == (1, 2)
    assert assignment.memory == 954 * 2**20  # 1000 MB, rounded up to whole MiB
    [attached] = assignment.disks
    assert (attached.name, attached.disk_name, attached.boot_order) == ("a", "root", 1)
    assert attached.uid == lab.uid(disk)
    assert attached.size == 1500 * 2**20
    assert attached.location.image == names.disk_image(lab.uid(disk))
    [interface] = assignment.interfaces
    assert (interface.bridge, interface.mtu) == ("br0", 1400)
    assert interface.mac == names.mac_address(lab.uid(vm), "eth0")
    assert lab.said(vm).status == "True"
    assert lab.said(vm).reason == "Assigned"


async def test_claims_are_written_before_the_assignment_and_name_host_and_epoch(lab: Lab) -> None:
    disk, vm = lab.disk("root"), lab.vm(disks=uses("root"))
    plan = await lab.plan(vm)
    assert isinstance(plan.steps[0], Reserve)
    applies = [s for s in plan.steps if isinstance(s, ApplyStatus)]
    assert [s.record.key for s in applies] == [disk, vm]
    await lab.act(vm)
    status, assignment = lab.model(disk).status, lab.model(vm).status.assignment
    assert status.claim.vm_uid == lab.uid(vm)
    assert status.claim.vm_name == "vm1"
    assert (status.claim.node_name, status.claim.epoch) == (assignment.node_name, assignment.epoch)
    assert status.executor.node_name == assignment.node_name
    assert status.location == assignment.disks[0].location


async def test_one_write_each_for_the_vm_and_its_disk(lab: Lab) -> None:
    lab.disk("root")
    vm = lab.vm(disks=uses("root"))
    await lab.act(vm)
    await lab.act_all()
    assert lab.writes_of("VirtualMachine") == ["apply_status"]
    assert lab.writes_of("Disk") == ["apply_status"]


async def test_nothing_is_written_once_it_has_a_host(lab: Lab) -> None:
    lab.disk("root")
    vm = lab.vm(disks=uses("root"))
    await lab.act_all()
    await lab.tell(vm, MANAGER_NODE, {"power": "Running"})
    await lab.act_all()
    lab.restart()
    lab.now += 100
    await lab.act_all()  # the zone's figures are written again by a restarted operator at most once
    lab.kube.calls.clear()
    lab.now += 3600
    lab.restart()
    await lab.act_all()
    assert lab.writes() == 0


async def test_the_least_loaded_host_takes_the_next_one(lab: Lab) -> None:
    vms = [lab.vm(f"vm{i}", memory={"size": "2Gi"}) for i in range(4)]
    for vm in vms:
        await lab.act(vm)
    nodes = [lab.model(vm).status.assignment.node_name for vm in vms]
    assert nodes == ["n1", "n2", "n1", "n2"]


async def test_an_epoch_is_above_every_one_that_vm_or_disk_had(lab: Lab) -> None:
    disk = lab.disk("data")
    first = lab.vm("first", disks=uses("data"))
    for _ in range(3):  # started and stopped on request, again and again
        await lab.act(first)
        await lab.release(first)
    await lab.act(first)
    assert lab.model(first).status.assignment.epoch == 4
    lab.kube.remove(VIRTUAL_MACHINE, "first", "default")
    await lab.release(first)
    await lab.act(first)
    second = lab.vm("second", disks=uses("data"))
    await lab.act(second)
    assert lab.model(second).status.assignment.epoch == 5
    assert lab.model(disk).status.claim.epoch == 5


async def test_an_epoch_is_above_a_claim_of_a_disk_that_is_not_named_any_more(lab: Lab) -> None:
    disk = await a_claim_at(lab, epoch=7, of=lab.vm())
    await lab.act(Key("VirtualMachine", "default", "vm1"))
    assert lab.model(Key("VirtualMachine", "default", "vm1")).status.assignment.epoch == 8
    assert lab.model(disk).status.claim.epoch == 7


async def a_claim_at(lab: Lab, *, epoch: int, of: Key) -> Key:
    """A claim as an operator left it that was killed before the assignment."""
    disk = lab.disk("old")
    claim = {"vmName": of.name, "vmUID": lab.uid(of), "nodeName": "n1", "epoch": epoch}
    await lab.tell(disk, MANAGER_ASSIGNMENT, {"claim": claim})
    return disk


async def test_a_missing_finalizer_is_repaired_before_anything_else(lab: Lab) -> None:
    bare = Lab(FakeKube(admission=None))
    bare.zone()
    await bare.host("n1")
    await bare.act_all()
    vm = bare.vm()
    plan = await bare.plan(vm)
    [step] = plan.steps
    assert isinstance(step, SetFinalizers)
    assert step.finalizers == (FINALIZER,)
    await bare.act(vm)
    await bare.act(vm)
    assert bare.model(vm).status.assignment is not None
