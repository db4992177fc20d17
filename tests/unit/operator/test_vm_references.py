# SPDX-License-Identifier: Apache-2.0
"""What a virtual machine names and cannot have: told by name and with the remedy."""

from nopal_api import names
from nopal_api.kinds import DISK
from support.objects import on, uses
from support.operatorlab import GIB, Lab


async def test_unknown_zone(lab: Lab) -> None:
    reason, message = await lab.refused(lab.vm(zone="nowhere"))
    assert reason == "ZoneNotFound"
    assert '"nowhere"' in message
    assert "create it" in message


async def test_what_was_missing_is_not_complained_about_in_the_first_moment(lab: Lab) -> None:
    vm = lab.vm(disks=uses("root"))
    again = await lab.act(vm)
    assert again is not None
    assert 0 < again <= 1.0
    assert lab.writes_of("VirtualMachine") == []
    lab.disk("root")
    await lab.act(vm)
    assert lab.writes_of("VirtualMachine") == ["apply_status"]
    assert lab.said(vm).status == "True"


async def test_it_is_healed_when_what_was_missing_appears(lab: Lab) -> None:
    vm = lab.vm(disks=uses("root"))
    assert (await lab.refused(vm))[0] == "DiskNotFound"
    lab.dirty.clear()
    lab.disk("root")
    await lab.sync()
    assert vm in lab.dirty
    await lab.act(vm)
    assert lab.said(vm).status == "True"
    assert [c.type for c in lab.model(vm).status.conditions] == ["Scheduled"]


async def test_namespace_not_allowed_by_the_zone(lab: Lab) -> None:
    lab.zone("z1", allowedNamespaces={"from": "Listed", "names": ["prod"]})
    reason, message = await lab.refused(lab.vm())
    assert reason == "NamespaceNotAllowed"
    assert '"default"' in message
    assert "spec.allowedNamespaces" in message


async def test_namespace_not_allowed_by_the_network(lab: Lab) -> None:
    lab.network("lan", allowedNamespaces={"from": "Listed", "names": ["prod"]})
    reason, message = await lab.refused(lab.vm(interfaces=on("lan")))
    assert reason == "NamespaceNotAllowed"
    assert 'Network "lan"' in message


async def test_unknown_network(lab: Lab) -> None:
    reason, message = await lab.refused(lab.vm(interfaces=on("lan")))
    assert reason == "NetworkNotFound"
    assert '"lan"' in message


async def test_network_of_another_zone(lab: Lab) -> None:
    lab.network("lan", zone="z2")
    assert (await lab.refused(lab.vm(interfaces=on("lan"))))[0] == "NetworkInOtherZone"


async def test_unknown_disk(lab: Lab) -> None:
    reason, message = await lab.refused(lab.vm(disks=uses("root")))
    assert reason == "DiskNotFound"
    assert '"root"' in message


async def test_disk_of_another_zone(lab: Lab) -> None:
    lab.zone("z2")
    lab.disk("root", zone="z2")
    reason, message = await lab.refused(lab.vm(disks=uses("root")))
    assert reason == "DiskInOtherZone"
    assert '"z2"' in message
    assert '"z1"' in message


async def test_disk_in_use_says_by_whom(lab: Lab) -> None:
    lab.disk("data")
    await lab.act(lab.vm("first", disks=uses("data")))
    reason, message = await lab.refused(lab.vm("second", disks=uses("data")))
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
    reason, message = await lab.refused(lab.vm(disks=uses("data")))
    assert reason == "DiskNotFound"
    assert "being deleted" in message


async def test_unknown_pool(lab: Lab) -> None:
    lab.disk("root", pool="fast")
    reason, message = await lab.refused(lab.vm(disks=uses("root")))
    assert reason == "PoolNotFound"
    assert '"fast"' in message
    assert "main" in message


async def test_unknown_image(lab: Lab) -> None:
    lab.disk("root", source={"image": {"name": "debian"}})
    reason, message = await lab.refused(lab.vm(disks=uses("root")))
    assert reason == "ImageNotFound"
    assert '"debian"' in message
    assert '"root"' in message


async def test_image_on_its_way_tells_the_percent(lab: Lab) -> None:
    image = lab.image("debian")
    lab.disk("root", source={"image": {"name": "debian"}})
    await lab.act_all()
    await lab.report_image(image, "main", state="Fetching", progressPercent=47)
    reason, message = await lab.refused(lab.vm(disks=uses("root")))
    assert reason == "ImageNotReady"
    assert "(40 %)" in message


async def test_image_that_failed_tells_why(lab: Lab) -> None:
    image = lab.image("debian")
    lab.disk("root", source={"image": {"name": "debian"}})
    await lab.act_all()
    await lab.report_image(
        image, "main", state="Failed", reason="ChecksumMismatch", message="it is another file"
    )
    reason, message = await lab.refused(lab.vm(disks=uses("root")))
    assert reason == "ImageNotReady"
    assert "ChecksumMismatch: it is another file" in message


async def test_image_larger_than_the_disk(lab: Lab) -> None:
    image = lab.image("debian")
    lab.disk("root", size="1Gi", source={"image": {"name": "debian"}})
    await lab.act_all()
    await lab.ready_image(image, size=3 * GIB)
    reason, message = await lab.refused(lab.vm(disks=uses("root")))
    assert reason == "ImageTooLarge"
    assert "3Gi" in message
    assert "1Gi" in message


async def test_image_that_the_namespace_may_not_use(lab: Lab) -> None:
    lab.image("debian", allowedNamespaces={"from": "Listed", "names": ["prod"]})
    lab.disk("root", source={"image": {"name": "debian"}})
    reason, message = await lab.refused(lab.vm(disks=uses("root")))
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
