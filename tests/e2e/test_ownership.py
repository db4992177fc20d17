# SPDX-License-Identifier: Apache-2.0
"""The rules that keep a VM from running twice, each tried against its breach on the real thing."""

import json
import sys

import pytest

from support.site import SETTINGS, Space, condition, reason_of
from support.waiting import wait

pytestmark = pytest.mark.real

CLIENT = """
import signal, sys, time, rados, rbd
# It says goodbye when it is ended: one that dies is forgotten by Ceph after 30 s only.
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
with rados.Rados(conffile=sys.argv[1]) as cluster:
    with cluster.open_ioctx("nopal") as ioctx, rbd.Image(ioctx, sys.argv[2]):
        print("open", flush=True)
        time.sleep(600)
"""


def stopped(space: Space, name: str) -> None:
    space.patch("vm", name, {"powerState": "Stopped"})
    space.until(name, lambda vm: vm["status"]["power"] == "Stopped", "stops")


def test_a_foreign_client_on_the_disk_refuses_the_start(space: Space) -> None:
    cluster = space.site.cluster
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    space.running("vm1")
    stopped(space, "vm1")
    argv = [sys.executable, "-c", CLIENT, str(cluster.ceph.conf), space.image("root")]
    cluster.processes.start("foreign-client", argv)
    image = space.image("root")
    status = ("status", f"nopal/{image}", "--format", "json")
    wait(lambda: bool(json.loads(cluster.ceph.rbd(*status))["watchers"]), "it has the image open")
    try:
        space.patch("vm", "vm1", {"powerState": "Running"})
        vm = space.until("vm1", lambda v: reason_of(v, "Ready") == "ForeignWatcher", "is refused")
        assert cluster.network.address in condition(vm, "Ready")["message"]
        assert space.site.host_of(vm["metadata"]["uid"]) is None
    finally:
        cluster.processes.stop("foreign-client")
    space.running("vm1")
    assert space.counts("root").boots == 2


def test_a_higher_epoch_in_the_image_refuses_the_start(space: Space) -> None:
    ceph = space.site.cluster.ceph
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    space.running("vm1")
    stopped(space, "vm1")
    image = f"nopal/{space.image('root')}"
    ceph.rbd("image-meta", "set", image, "nopal.dev/epoch", "99")

    space.patch("vm", "vm1", {"powerState": "Running"})

    vm = space.until("vm1", lambda v: reason_of(v, "Ready") == "OwnershipUnclear", "is refused")
    assert "99" in condition(vm, "Ready")["message"]
    assert space.site.host_of(vm["metadata"]["uid"]) is None
    ceph.rbd("image-meta", "set", image, "nopal.dev/epoch", "1")
    space.running("vm1")


def test_an_image_of_another_owner_is_not_touched(space: Space) -> None:
    ceph = space.site.cluster.ceph
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    space.running("vm1")
    stopped(space, "vm1")
    image = f"nopal/{space.image('root')}"
    owner = ceph.rbd("image-meta", "get", image, "nopal.dev/owner").strip()
    ceph.rbd("image-meta", "set", image, "nopal.dev/owner", "somebody-else")
    try:
        space.patch("vm", "vm1", {"powerState": "Running"})
        refusals = ("ImageConflict", "OwnershipUnclear")
        vm = space.until("vm1", lambda v: reason_of(v, "Ready") in refusals, "is refused")
        assert space.site.host_of(vm["metadata"]["uid"]) is None
    finally:
        ceph.rbd("image-meta", "set", image, "nopal.dev/owner", owner)
    space.running("vm1")


def test_a_vm_whose_finalizer_was_removed_by_hand_frees_its_disk_only_after_its_host(
    space: Space,
) -> None:
    kubectl = space.site.cluster.kubectl
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    vm = space.running("vm1")
    host, pid = space.domain(vm)
    daemon_down(space, host.name)
    try:
        space.delete("vm", "vm1", wait=False)
        no_finalizers = '{"metadata":{"finalizers":null}}'
        kubectl.run(
            "patch", "vm", "vm1", "-n", space.namespace, "--type=merge", "-p", no_finalizers
        )
        wait(lambda: space.find("vm", "vm1") is None, "the object is gone")
        # A namesake gets nothing of it while the old guest may run.
        space.apply(space.vm("vm1", "root"))
        space.until("vm1", lambda v: reason_of(v, "Scheduled") == "DiskInUse", "waits")
        assert pid in host.qemu_pids()
        assert space.get("disk", "root")["status"]["claim"]["vmUID"] == vm["metadata"]["uid"]
    finally:
        space.site.cluster.workloads.start_daemon(host.name, SETTINGS)
    wait(lambda: pid not in host.qemu_pids(), "the orphan is removed")
    again = space.running("vm1")
    assert again["metadata"]["uid"] != vm["metadata"]["uid"]
    assert space.counts("root").boots == 2


def daemon_down(space: Space, node: str) -> None:
    space.site.cluster.workloads.kill_daemon(node)


def test_a_domain_that_is_not_ours_is_never_touched(space: Space) -> None:
    host = space.site.cluster.hosts["node-1"]
    xml = (
        "<domain type='qemu'><name>mine</name><memory>16384</memory>"
        "<os><type>hvm</type></os></domain>"
    )
    path = host.folder / "mine.xml"
    path.write_text(xml)
    host.virsh("create", str(path))
    pids = set(host.qemu_pids())
    try:
        beside = {"nodeSelector": {"matchLabels": {"kubernetes.io/hostname": host.name}}}
        space.apply(space.disk("root"), space.vm("vm1", "root", placement=beside))
        space.running("vm1")
        space.delete("vm", "vm1")
        assert pids <= set(host.qemu_pids())
        assert "mine" in host.virsh("list", "--name")
    finally:
        host.virsh("destroy", "mine")
