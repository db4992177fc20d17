# SPDX-License-Identifier: Apache-2.0
"""What the operator does for a disk, step by step."""

from typing import Any

import pytest

from nopal_api.kinds import DISK, VIRTUAL_MACHINE
from nopal_api.names import MANAGER_NODE
from nopal_operator.reconcile.plan import ApplyStatus, ConfirmGone, ConfirmUnchanged
from nopal_runtime.errors import ConflictError
from nopal_runtime.kube.api import Key
from support.objects import uses
from support.operatorlab import GIB, Lab


def writes(lab: Lab, key: Key) -> list[str]:
    calls = [c for c in lab.kube.calls if (c.kind, c.name) == (key.kind, key.name)]
    return [f"{c.verb} {c.manager}".strip() for c in calls if c.verb not in ("get", "list")]


async def free_disk(lab: Lab, name: str = "data", **spec: Any) -> Key:
    """A disk that no virtual machine claims, with an executor."""
    disk = lab.disk(name, **spec)
    await lab.act(disk)
    lab.now += 10
    await lab.act(disk)
    return disk


async def made(lab: Lab, disk: Key) -> None:
    await lab.tell(disk, MANAGER_NODE, {"size": str(GIB)})


# Disks that no virtual machine claims


async def test_a_free_disk_waits_a_moment_for_its_virtual_machine(lab: Lab) -> None:
    disk = lab.disk()
    again = await lab.act(disk)
    assert again is not None
    assert 0 < again <= 2.0
    assert writes(lab, disk) == []


async def test_a_free_disk_gets_an_executor_in_one_write(lab: Lab) -> None:
    disk = await free_disk(lab)
    status = lab.model(disk).status
    assert status.executor.node_name in ("n1", "n2")
    assert status.executor.epoch == 1
    assert status.location.image == f"disk-{lab.uid(disk)}"
    assert status.claim is None
    await made(lab, disk)
    await lab.act_all()
    assert writes(lab, disk)[:1] == ["apply_status nopal.dev/assignment"]
    assert len(writes(lab, disk)) == 2  # the operator's and the test's own


async def test_executors_spread_over_the_hosts(lab: Lab) -> None:
    disks = [await free_disk(lab, f"disk{i}") for i in range(12)]
    assert {lab.model(d).status.executor.node_name for d in disks} == {"n1", "n2"}


async def test_one_that_is_named_is_left_to_its_virtual_machine(lab: Lab) -> None:
    """One write instead of two: the claim says all that an executor needs."""
    image = lab.image("debian")
    disk = lab.disk("root", source={"image": {"name": "debian"}})
    lab.vm(disks=uses("root"))
    await lab.act_all()
    lab.now += 10
    await lab.act_all()
    assert lab.said(disk, "Ready").reason == "ImageNotReady"
    lab.kube.calls.clear()
    await lab.ready_image(image)
    await lab.act(disk)
    assert writes(lab, disk) == []
    await lab.act_all()
    assert writes(lab, disk) == ["apply_status nopal.dev/assignment"]
    assert lab.model(disk).status.claim is not None


async def test_one_whose_virtual_machine_finds_no_room_is_made_all_the_same(lab: Lab) -> None:
    disk = lab.disk("root")
    lab.vm(disks=uses("root"), memory={"size": "100Gi"})
    await lab.act_all()
    lab.now += 10
    await lab.act_all()
    assert lab.model(disk).status.executor is not None


async def test_why_a_free_disk_is_not_made(lab: Lab) -> None:
    disk = await free_disk(lab, pool="fast")
    assert (lab.said(disk, "Ready").status, lab.said(disk, "Ready").reason) == (
        "False",
        "PoolNotFound",
    )
    assert lab.model(disk).status.executor is None


async def test_no_host_is_ready_to_make_it(lab: Lab) -> None:
    for node in ("n1", "n2"):
        lab.world.heartbeats[node] = False
    disk = await free_disk(lab)
    assert lab.said(disk, "Ready").reason == "NoReadyHost"
    lab.world.heartbeats["n2"] = True
    await lab.act(disk)
    assert lab.model(disk).status.executor.node_name == "n2"
    assert lab.model(disk).status.conditions == ()


async def test_another_executor_takes_over_after_patience(lab: Lab) -> None:
    disk = await free_disk(lab)
    old = lab.model(disk).status.executor
    lab.world.heartbeats[old.node_name] = False
    again = await lab.act(disk)
    assert again == pytest.approx(lab.patience.executor)
    lab.now += lab.patience.executor
    await lab.act(disk)
    new = lab.model(disk).status.executor
    assert new.node_name != old.node_name
    assert new.epoch == old.epoch + 1


async def test_a_disk_that_is_made_keeps_its_executor_whatever_happens_to_the_host(
    lab: Lab,
) -> None:
    disk = await free_disk(lab)
    await made(lab, disk)
    lab.world.heartbeats[lab.model(disk).status.executor.node_name] = False
    await lab.sync()
    lab.now += 1000
    assert (await lab.plan(disk)).steps == ()


# Claims of virtual machines that are gone, or do not want the disk any more


async def claimed(lab: Lab) -> tuple[Key, Key]:
    disk, vm = lab.disk("root"), lab.vm(disks=uses("root"))
    await lab.act(vm)
    return disk, vm


def vanish(lab: Lab, vm: Key) -> None:
    """The object goes although its finalizer was there: somebody took it off by hand."""
    lab.kube.strip_finalizers(VIRTUAL_MACHINE, vm.name, vm.namespace)
    lab.kube.remove(VIRTUAL_MACHINE, vm.name, vm.namespace)


async def test_a_claim_outlives_its_virtual_machine_until_the_host_released_it(lab: Lab) -> None:
    disk, vm = await claimed(lab)
    vanish(lab, vm)
    assert (await lab.plan(disk)).steps == ()
    epoch = lab.model(disk).status.claim.epoch
    await lab.tell(disk, MANAGER_NODE, {"releasedClaimEpoch": epoch})
    plan = await lab.plan(disk)
    assert [type(s) for s in plan.steps] == [ConfirmGone, ApplyStatus]
    await lab.act(disk)
    assert lab.model(disk).status.claim is None
    assert lab.model(disk).status.location is not None


async def test_a_release_of_an_older_claim_frees_nothing(lab: Lab) -> None:
    disk, vm = await claimed(lab)
    await lab.release(vm)
    await lab.act(vm)
    assert lab.model(disk).status.claim.epoch == 2
    vanish(lab, vm)
    await lab.tell(disk, MANAGER_NODE, {"releasedClaimEpoch": 1})
    assert (await lab.plan(disk)).steps == ()


async def test_absent_from_the_cache_frees_nothing_without_a_fresh_read(lab: Lab) -> None:
    """An event that told a lie, or a list of another world: the object itself is asked."""
    disk, vm = await claimed(lab)
    await lab.tell(disk, MANAGER_NODE, {"releasedClaimEpoch": 1})
    await lab.sync()
    known = lab.cache.get(vm)
    assert known is not None
    assert lab.cache.offer_deleted(VIRTUAL_MACHINE, known.body)
    lab.world.changed(vm)
    from nopal_operator.reconcile import plan

    made_up = plan(lab.world, disk, now=lab.now)
    assert isinstance(made_up.steps[0], ConfirmGone)
    with pytest.raises(ConflictError):
        await lab.effects.carry_out(disk, made_up)
    assert lab.model(disk).status.claim.vm_uid == lab.uid(vm)


async def test_a_disk_that_is_taken_out_of_a_stopped_vm_is_free(lab: Lab) -> None:
    disk, vm = await claimed(lab)
    lab.vm(disks=[], powerState="Stopped")
    assert (await lab.plan(disk)).steps == ()  # the guest still has it
    await lab.release(vm)
    plan = await lab.plan(disk)
    assert [type(s) for s in plan.steps] == [ConfirmUnchanged, ApplyStatus]
    await lab.act(disk)
    assert lab.model(disk).status.claim is None


async def test_a_change_of_the_vm_in_the_meantime_keeps_the_claim(lab: Lab) -> None:
    disk, vm = await claimed(lab)
    lab.vm(disks=[], powerState="Stopped")
    await lab.release(vm)
    stale = await lab.plan(disk)
    lab.vm(disks=uses("root"), powerState="Stopped")
    await lab.effects.carry_out(disk, stale)  # looks again soon
    assert lab.model(disk).status.claim is not None


# Deleting


async def test_one_that_is_used_waits_and_says_by_whom(lab: Lab) -> None:
    disk, vm = await claimed(lab)
    lab.kube.remove(DISK, "root", "default")
    await lab.act(disk)
    said = lab.said(disk, "Deleting")
    assert (said.status, said.reason) == ("False", "InUse")
    assert 'VirtualMachine "vm1"' in said.message
    assert lab.is_there(disk)
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    await lab.release(vm)
    await lab.act(vm)
    await lab.act(disk)
    assert (lab.said(disk, "Deleting").status, lab.said(disk, "Deleting").reason) == (
        "True",
        "Removing",
    )
    executor = lab.model(disk).status.executor
    await lab.tell(disk, MANAGER_NODE, {"deletedEpoch": executor.epoch})
    await lab.act(disk)
    assert not lab.is_there(disk)


async def test_its_deletion_is_one_write_of_the_operator(lab: Lab) -> None:
    disk = await free_disk(lab)
    await made(lab, disk)
    lab.kube.remove(DISK, "data", "default")
    lab.kube.calls.clear()
    await lab.act_all()
    assert writes(lab, disk) == []
    await lab.tell(disk, MANAGER_NODE, {"deletedEpoch": 1})
    lab.kube.calls.clear()
    await lab.act_all()
    assert writes(lab, disk) == ["set_finalizers"]
    assert not lab.is_there(disk)


async def test_one_that_was_never_given_a_place_goes_at_once(lab: Lab) -> None:
    disk = lab.disk()
    lab.kube.remove(DISK, "disk1", "default")
    await lab.act(disk)
    assert not lab.is_there(disk)


async def test_the_word_of_an_earlier_executor_does_not_count(lab: Lab) -> None:
    disk = await free_disk(lab)
    old = lab.model(disk).status.executor
    lab.kube.remove(DISK, "data", "default")
    lab.world.heartbeats[old.node_name] = False
    await lab.sync()
    lab.now += lab.patience.executor
    await lab.act(disk)
    assert lab.model(disk).status.executor.epoch == old.epoch + 1
    await lab.tell(disk, MANAGER_NODE, {"deletedEpoch": old.epoch})
    await lab.act(disk)
    assert lab.is_there(disk)
