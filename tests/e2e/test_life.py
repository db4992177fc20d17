# SPDX-License-Identifier: Apache-2.0
"""The life of a VM: applied, running, stopped, started, deleted."""

import pytest

from nopal_dev.bootsector import BootSector
from support.site import Space, condition, reason_of, status_of
from support.waiting import wait

pytestmark = pytest.mark.real


def test_an_applied_vm_runs_and_writes_to_ceph(space: Space) -> None:
    space.apply(space.disk("root"), space.vm("vm1", "root"))

    vm = space.running("vm1")

    host, _ = space.domain(vm)
    assert vm["status"]["assignment"]["nodeName"] == host.name
    assert vm["status"]["power"] == "Running"
    assert status_of(vm, "Scheduled") == status_of(vm, "DisksReady") == "True"
    assert space.counts("root").boots == 1
    disk = space.until("root", lambda d: status_of(d, "Ready") == "True", "is Ready", "disk")
    assert disk["status"]["claim"]["vmUID"] == vm["metadata"]["uid"]
    assert disk["status"]["size"] == str(4 << 20)


def test_deleting_a_vm_leaves_its_disk_and_nothing_else(space: Space) -> None:
    space.apply(
        space.disk("root"), space.vm("vm1", "root", cloudInit={"userData": "#cloud-config"})
    )
    vm = space.running("vm1")
    host, _ = space.domain(vm)
    log = host.console_log(vm["metadata"]["uid"])
    written = space.counts("root")

    space.delete("vm", "vm1")

    uid, image = vm["metadata"]["uid"], space.image("root")
    assert space.site.host_of(uid) is None
    assert log is not None
    assert not log.exists()
    assert not [name for name in space.site.images() if uid in name], "the seed is left"
    assert "claim" not in space.get("disk", "root")["status"]
    assert space.site.cluster.ceph.rbd("lock", "ls", f"nopal/{image}") == ""
    kept = space.site.counter(image)
    assert kept is not None
    assert kept.value >= written.value

    space.delete("disk", "root")
    wait(lambda: not [name for name in space.site.images() if image in name], "the image is gone")


def test_a_stopped_vm_keeps_its_disk_and_starts_again_at_a_new_epoch(space: Space) -> None:
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    first = space.running("vm1")

    space.patch("vm", "vm1", {"powerState": "Stopped"})
    # The guest may be down before storage, which may be slow, lets its host release the epoch.
    epoch = first["status"]["assignment"]["epoch"]
    stopped = space.until(
        "vm1", lambda vm: vm["status"].get("releasedEpoch") == epoch, "is released"
    )
    assert space.site.host_of(first["metadata"]["uid"]) is None
    assert stopped["status"]["power"] == reason_of(stopped, "Ready") == "Stopped"

    space.patch("vm", "vm1", {"powerState": "Running"})
    again = space.running("vm1")

    assert again["status"]["assignment"]["epoch"] > first["status"]["assignment"]["epoch"]
    assert space.counts("root").boots == 2


def test_a_guest_that_ignores_the_request_is_powered_off(space: Space) -> None:
    space.site.apply(space.site.image("deaf", BootSector(obeys_power_button=False)))
    space.apply(space.disk("root", image="deaf"), space.vm("vm1", "root"))
    vm = space.running("vm1")

    space.patch("vm", "vm1", {"powerState": "Stopped"})

    stopping = space.until("vm1", lambda v: v["status"]["power"] != "Running", "is stopping")
    assert stopping["status"]["power"] in ("Stopping", "Stopped")
    space.until("vm1", lambda v: v["status"]["power"] == "Stopped", "is stopped")
    assert space.site.host_of(vm["metadata"]["uid"]) is None


def test_a_new_vm_with_an_old_name_is_another_vm(space: Space) -> None:
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    old = space.running("vm1")
    old_image = space.image("root")

    space.delete("vm", "vm1")
    space.delete("disk", "root")
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    new = space.running("vm1")

    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert space.image("root") != old_image
    assert space.counts("root").boots == 1


def test_a_disk_in_use_waits_and_says_by_whom(space: Space) -> None:
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    space.running("vm1")

    space.delete("disk", "root", wait=False)

    waiting = space.until("root", lambda d: bool(condition(d, "Deleting")), "says so", "disk")
    assert "vm1" in condition(waiting, "Deleting")["message"]
    space.counts("root")
    space.delete("vm", "vm1")
    wait(lambda: space.find("disk", "root") is None, "the disk goes")


def test_retain_keeps_the_image(space: Space) -> None:
    space.apply(space.disk("kept", reclaimPolicy="Retain"), space.vm("vm1", "kept"))
    space.running("vm1")
    image = space.image("kept")
    space.delete("vm", "vm1")

    space.delete("disk", "kept")

    assert image in space.site.images()
    space.site.remove_image(image)
