# SPDX-License-Identifier: Apache-2.0
"""What the operator does for a virtual machine, step by step."""

from typing import Any

import pytest

from nopal_api import names
from nopal_api.kinds import DISK, VIRTUAL_MACHINE
from nopal_api.names import FINALIZER, MANAGER_ASSIGNMENT, MANAGER_NODE
from nopal_operator.reconcile.plan import ApplyStatus, Reserve, SetFinalizers
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.fake import FakeKube
from support.operatorlab import GIB, Lab


@pytest.fixture
async def lab() -> Lab:
    """A zone with two hosts that are ready, and nothing else."""
    made = Lab()
    made.zone()
    await made.host("n1", networks=["lan"])
    await made.host("n2", networks=["lan"])
    await made.act_all()
    made.kube.calls.clear()
    return made


def uses(*disks: str) -> list[dict[str, Any]]:
    return [{"name": name, "disk": {"name": name}} for name in disks]


def on(*networks: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": f"eth{i}", "network": {"name": n}, **more} for i, n in enumerate(networks)]


def writes(lab: Lab, kind: str) -> list[str]:
    return [c.verb for c in lab.kube.calls if c.kind == kind and c.verb not in ("get", "list")]


# Assignment


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
    assert writes(lab, "VirtualMachine") == ["apply_status"]
    assert writes(lab, "Disk") == ["apply_status"]


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


# What is missing, by name and with the remedy


async def test_two_decisions_at_once_never_take_the_same_room(lab: Lab) -> None:
    vms = [lab.vm(f"vm{i}", memory={"size": "9Gi"}) for i in range(3)]
    await lab.sync()
    from nopal_operator.reconcile import plan

    decided = []
    for vm in vms:  # the writes of none of them are seen yet
        made = plan(lab.world, vm, now=lab.now)
        for step in made.steps:
            if isinstance(step, Reserve):
                lab.world.reservations.assume(step.reservation)
                decided.append(step.reservation.host)
    assert decided == ["n1", "n2"]


async def refused(lab: Lab, vm: Key) -> tuple[str, str]:
    lab.now += 10
    await lab.sync()
    lab.now += 10
    await lab.act(vm)
    scheduled, ready = lab.said(vm), lab.said(vm, "Ready")
    assert scheduled.status == ready.status == "False"
    assert scheduled.reason == ready.reason
    assert lab.model(vm).status.assignment is None
    return scheduled.reason, scheduled.message


async def test_unknown_zone(lab: Lab) -> None:
    reason, message = await refused(lab, lab.vm(zone="nowhere"))
    assert reason == "ZoneNotFound"
    assert '"nowhere"' in message
    assert "create it" in message


async def test_what_was_missing_is_not_complained_about_in_the_first_moment(lab: Lab) -> None:
    vm = lab.vm(disks=uses("root"))
    again = await lab.act(vm)
    assert again is not None
    assert 0 < again <= 1.0
    assert writes(lab, "VirtualMachine") == []
    lab.disk("root")
    await lab.act(vm)
    assert writes(lab, "VirtualMachine") == ["apply_status"]
    assert lab.said(vm).status == "True"


async def test_it_is_healed_when_what_was_missing_appears(lab: Lab) -> None:
    vm = lab.vm(disks=uses("root"))
    assert (await refused(lab, vm))[0] == "DiskNotFound"
    lab.dirty.clear()
    lab.disk("root")
    await lab.sync()
    assert vm in lab.dirty
    await lab.act(vm)
    assert lab.said(vm).status == "True"
    assert [c.type for c in lab.model(vm).status.conditions] == ["Scheduled"]


async def test_namespace_not_allowed_by_the_zone(lab: Lab) -> None:
    lab.zone("z1", allowedNamespaces={"from": "Listed", "names": ["prod"]})
    reason, message = await refused(lab, lab.vm())
    assert reason == "NamespaceNotAllowed"
    assert '"default"' in message
    assert "spec.allowedNamespaces" in message


async def test_namespace_not_allowed_by_the_network(lab: Lab) -> None:
    lab.network("lan", allowedNamespaces={"from": "Listed", "names": ["prod"]})
    reason, message = await refused(lab, lab.vm(interfaces=on("lan")))
    assert reason == "NamespaceNotAllowed"
    assert 'Network "lan"' in message


async def test_unknown_network(lab: Lab) -> None:
    reason, message = await refused(lab, lab.vm(interfaces=on("lan")))
    assert reason == "NetworkNotFound"
    assert '"lan"' in message


async def test_network_of_another_zone(lab: Lab) -> None:
    lab.network("lan", zone="z2")
    assert (await refused(lab, lab.vm(interfaces=on("lan"))))[0] == "NetworkInOtherZone"


async def test_unknown_disk(lab: Lab) -> None:
    reason, message = await refused(lab, lab.vm(disks=uses("root")))
    assert reason == "DiskNotFound"
    assert '"root"' in message


async def test_disk_of_another_zone(lab: Lab) -> None:
    lab.zone("z2")
    lab.disk("root", zone="z2")
    reason, message = await refused(lab, lab.vm(disks=uses("root")))
    assert reason == "DiskInOtherZone"
    assert '"z2"' in message
    assert '"z1"' in message


async def test_disk_in_use_says_by_whom(lab: Lab) -> None:
    lab.disk("data")
    await lab.act(lab.vm("first", disks=uses("data")))
    reason, message = await refused(lab, lab.vm("second", disks=uses("data")))
    assert reason == "DiskInUse"
    assert 'VirtualMachine "first"' in message


async def test_disk_being_deleted_is_not_claimed(lab: Lab) -> None:
    disk = lab.disk("data")
    await lab.host("n3")
    lab.now += 10
    await lab.act_all()
    lab.now += 10
    await lab.act_all()
    assert lab.model(disk).status.location is not None
    lab.kube.remove(DISK, "data", "default")
    reason, message = await refused(lab, lab.vm(disks=uses("data")))
    assert reason == "DiskNotFound"
    assert "being deleted" in message


async def test_unknown_pool(lab: Lab) -> None:
    lab.disk("root", pool="fast")
    reason, message = await refused(lab, lab.vm(disks=uses("root")))
    assert reason == "PoolNotFound"
    assert '"fast"' in message
    assert "main" in message


async def test_unknown_image(lab: Lab) -> None:
    lab.disk("root", source={"image": {"name": "debian"}})
    reason, message = await refused(lab, lab.vm(disks=uses("root")))
    assert reason == "ImageNotFound"
    assert '"debian"' in message
    assert '"root"' in message


async def test_image_on_its_way_tells_the_percent(lab: Lab) -> None:
    image = lab.image("debian")
    lab.disk("root", source={"image": {"name": "debian"}})
    await lab.act_all()
    await lab.report_image(image, "main", state="Fetching", progressPercent=47)
    reason, message = await refused(lab, lab.vm(disks=uses("root")))
    assert reason == "ImageNotReady"
    assert "(40 %)" in message


async def test_image_that_failed_tells_why(lab: Lab) -> None:
    image = lab.image("debian")
    lab.disk("root", source={"image": {"name": "debian"}})
    await lab.act_all()
    await lab.report_image(
        image, "main", state="Failed", reason="ChecksumMismatch", message="it is another file"
    )
    reason, message = await refused(lab, lab.vm(disks=uses("root")))
    assert reason == "ImageNotReady"
    assert "ChecksumMismatch: it is another file" in message


async def test_image_larger_than_the_disk(lab: Lab) -> None:
    image = lab.image("debian")
    lab.disk("root", size="1Gi", source={"image": {"name": "debian"}})
    await lab.act_all()
    await lab.ready_image(image, size=3 * GIB)
    reason, message = await refused(lab, lab.vm(disks=uses("root")))
    assert reason == "ImageTooLarge"
    assert "3Gi" in message
    assert "1Gi" in message


async def test_image_that_the_namespace_may_not_use(lab: Lab) -> None:
    lab.image("debian", allowedNamespaces={"from": "Listed", "names": ["prod"]})
    lab.disk("root", source={"image": {"name": "debian"}})
    reason, message = await refused(lab, lab.vm(disks=uses("root")))
    assert reason == "NamespaceNotAllowed"
    assert 'Image "debian"' in message


async def test_it_is_cloned_from_the_image_once_that_is_there(lab: Lab) -> None:
    image = lab.image("debian")
    disk = lab.disk("root", source={"image": {"name": "debian"}})
    vm = lab.vm(disks=uses("root"))
    await lab.act_all()
    assert lab.said(vm).reason == "ImageNotReady"
    lab.dirty.clear()
    await lab.ready_image(image)
    await lab.sync()
    assert vm in lab.dirty
    await lab.act(vm)
    [attached] = lab.model(vm).status.assignment.disks
    assert attached.parent.location.image == names.source_image(lab.uid(image))
    assert attached.parent.snapshot == "base"
    assert lab.model(disk).status.parent == attached.parent


async def test_no_room_is_told_per_host(lab: Lab) -> None:
    await lab.host("n2", ready=False)
    reason, message = await refused(lab, lab.vm(memory={"size": "20Gi"}))
    assert reason == "Unschedulable"
    assert message == (
        "0/2 hosts fit: 1 insufficient memory (needs 20.1Gi, 14Gi free), 1 not ready (Preflight)"
    )


async def test_network_that_no_host_realizes(lab: Lab) -> None:
    lab.network("dmz")
    reason, message = await refused(lab, lab.vm(interfaces=on("dmz")))
    assert (reason, message) == ("Unschedulable", "0/2 hosts fit: 2 network dmz not realized")


async def test_zone_without_hosts_says_what_to_do(lab: Lab) -> None:
    lab.zone("empty")
    reason, message = await refused(lab, lab.vm(zone="empty"))
    assert reason == "Unschedulable"
    assert "label a node" in message


async def test_it_starts_by_itself_when_room_appears(lab: Lab) -> None:
    big = lab.vm("big", memory={"size": "12Gi"})
    other = lab.vm("other", memory={"size": "12Gi"})
    await lab.act(big)
    await lab.act(other)
    waiting = lab.vm("waiting", memory={"size": "12Gi"})
    assert (await refused(lab, waiting))[0] == "Unschedulable"
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
    reason, message = await refused(lab, lab.vm("second", interfaces=on("lan", mac=mac)))
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
    assert await refused(lab, lab.vm()) == ("Unschedulable", f"0/1 hosts fit: 1 {word}")


# Stopping, going down, starting again


async def test_one_that_is_stopped_takes_no_room(lab: Lab) -> None:
    assert await refused(lab, lab.vm(powerState="Stopped")) == (
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


# A host that is silent


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


# Deleting


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
    assert [type(s) for s in steps] == [ApplyStatus, SetFinalizers]
    lab.kube.calls.clear()
    await lab.act(vm)
    assert not lab.is_there(vm)
    assert lab.model(disk).status.claim is None
    assert lab.model(disk).status.executor == executor
    assert writes(lab, "VirtualMachine") == ["set_finalizers"]
    assert writes(lab, "Disk") == ["apply_status"]


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
    reason, message = await refused(lab, again)
    assert reason == "DiskInUse"
    assert "earlier VirtualMachine" in message
    assert lab.model(disk).status.claim.vm_uid == old


# Conflicts


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
    assert (await refused(lab, b))[0] == "DiskInUse"
    assert lab.model(Key("Disk", "default", "y")).status.claim is None
    assert lab.model(Key("Disk", "default", "x")).status.claim.vm_uid == lab.uid(a)
