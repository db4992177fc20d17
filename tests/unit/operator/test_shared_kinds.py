# SPDX-License-Identifier: Apache-2.0
"""What the operator does for zones, hosts, networks and images."""

from typing import Any

import pytest

from nopal_api.kinds import DISK, HOST, IMAGE, NETWORK, NODE, VIRTUAL_MACHINE, ZONE
from nopal_api.names import FINALIZER, MANAGER_NODE
from nopal_runtime.kube.api import Key
from support.operatorlab import GIB, Lab


def host(name: str) -> Key:
    return Key("Host", "", name)


ZONE_KEY = Key("Zone", "", "z1")


# Zone


async def test_a_zone_tells_its_room(lab: Lab) -> None:
    status = lab.model(ZONE_KEY).status
    assert (status.hosts.total, status.hosts.ready) == (2, 2)
    assert status.capacity.cpu == 2 * 4 * 4  # overcommit 400 %
    assert status.capacity.memory == f"{2 * 14 * 1024}Mi"  # 2 GiB are kept by each host
    assert (status.allocated.cpu, status.allocated.memory) == (0, "0Mi")
    assert lab.said(ZONE_KEY, "Ready").status == "True"


async def test_figures_are_written_only_now_and_then(lab: Lab) -> None:
    lab.now += lab.patience.zone_status
    await lab.act(lab.vm("a"))
    await lab.act(ZONE_KEY)
    assert lab.model(ZONE_KEY).status.allocated.cpu == 1
    lab.now += 1
    await lab.act(lab.vm("b"))
    lab.kube.calls.clear()
    again = await lab.act(ZONE_KEY)
    assert again == pytest.approx(lab.patience.zone_status - 1)
    assert lab.writes() == 0
    lab.now += lab.patience.zone_status
    await lab.act(ZONE_KEY)
    assert lab.model(ZONE_KEY).status.allocated.cpu == 2


async def test_that_no_host_is_ready_is_told_at_once(lab: Lab) -> None:
    for name in ("n1", "n2"):
        lab.world.heartbeats[name] = False
    await lab.act(ZONE_KEY)
    assert lab.said(ZONE_KEY, "Ready").reason == "NoReadyHost"
    assert lab.model(ZONE_KEY).status.hosts.ready == 0


async def test_a_zone_without_hosts_says_what_to_do(lab: Lab) -> None:
    zone = lab.zone("empty")
    await lab.act(zone)
    assert lab.said(zone, "Ready").reason == "NoHosts"
    assert "label nodes" in lab.said(zone, "Ready").message


# Host


async def test_a_host_gets_the_zone_that_selects_its_node(lab: Lab) -> None:
    assert lab.model(host("n1")).status.zone == "z1"
    assert lab.said(host("n1"), "InZone").status == "True"


async def test_a_node_that_no_zone_selects(lab: Lab) -> None:
    key = await lab.host("n3", zone="elsewhere")
    await lab.act(key)
    assert lab.model(key).status.zone is None
    assert (lab.said(key, "InZone").status, lab.said(key, "InZone").reason) == ("False", "NoZone")


async def test_a_node_that_two_zones_select_stays_in_its_first(lab: Lab) -> None:
    thief = lab.zone("a-thief", nodeSelector={"matchLabels": {"zone": "z1"}})
    await lab.act_all()
    assert lab.model(host("n1")).status.zone == "z1"
    assert lab.said(host("n1"), "InZone").reason == "ZoneConflict"
    said = lab.said(thief, "Ready")
    assert (said.status, said.reason) == ("False", "ZoneConflict")
    assert '"n1"' in said.message
    assert lab.said(ZONE_KEY, "Ready").status == "True"


async def test_a_host_with_guests_does_not_change_its_zone(lab: Lab) -> None:
    lab.zone("z2")
    vm = lab.vm()
    await lab.act_all()
    node = lab.model(vm).status.assignment.node_name
    lab.put(NODE, {"metadata": {"name": node, "labels": {"zone": "z2"}}})
    await lab.act_all()
    assert lab.model(host(node)).status.zone == "z1"
    assert lab.said(host(node), "InZone").reason == "Leaving"
    # and it takes no further one
    other = lab.vm("other", memory={"size": "14Gi"})
    await lab.act(other)
    assert "1 leaving the zone" in lab.said(other).message
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    await lab.release(vm)
    await lab.act_all()
    assert lab.model(host(node)).status.zone == "z2"


async def test_a_host_whose_node_is_gone_keeps_its_zone(lab: Lab) -> None:
    lab.kube.remove(NODE, "n1")
    await lab.act_all()
    assert lab.model(host("n1")).status.zone == "z1"
    assert lab.said(host("n1"), "InZone").status == "Unknown"


async def test_a_silent_host_is_told_until_it_takes_the_word_back(lab: Lab) -> None:
    lab.world.heartbeats["n1"] = False
    await lab.act(host("n1"))
    assert lab.said(host("n1"), "Ready").reason == "HostUnreachable"
    lab.world.heartbeats["n1"] = True
    await lab.act(host("n1"))
    assert lab.said(host("n1"), "Ready").reason == "HostUnreachable"
    await lab.host("n1", networks=["lan"])
    await lab.act(host("n1"))
    assert lab.said(host("n1"), "Ready").status == "True"
    lab.kube.calls.clear()
    await lab.act(host("n1"))
    assert lab.writes() == 0


async def test_a_host_object_stays_while_a_guest_may_be_there(lab: Lab) -> None:
    vm = lab.vm()
    await lab.act(vm)
    key = host(lab.model(vm).status.assignment.node_name)
    lab.kube.remove(HOST, key.name)
    await lab.act(key)
    assert lab.is_there(key)
    assert "VirtualMachine default/vm1" in lab.said(key, "Deleting").message
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    await lab.release(vm)
    await lab.act(vm)
    await lab.act(key)
    assert not lab.is_there(key)


async def test_a_host_object_stays_while_a_vanished_vm_may_use_a_disk_there(lab: Lab) -> None:
    disk = lab.disk("root")
    vm = lab.vm(disks=[{"name": "root", "disk": {"name": "root"}}])
    await lab.act(vm)
    key = host(lab.model(vm).status.assignment.node_name)
    lab.kube.strip_finalizers(VIRTUAL_MACHINE, "vm1", "default")
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    lab.kube.remove(HOST, key.name)
    await lab.act(key)
    assert "Disk default/root" in lab.said(key, "Deleting").message
    await lab.tell(disk, MANAGER_NODE, {"releasedClaimEpoch": 1, "size": str(GIB)})
    await lab.act(disk)
    await lab.act(key)
    assert not lab.is_there(key)


# Network


async def test_a_network_is_ready_when_every_ready_host_has_it(lab: Lab) -> None:
    network = lab.network("lan")
    await lab.act(network)
    assert lab.said(network, "Ready").status == "True"
    assert lab.model(network).status.hosts.ready == 2
    await lab.host("n3")
    await lab.act_all()
    said = lab.said(network, "Ready")
    assert (said.status, said.reason) == ("False", "NotRealized")
    assert "n3" in said.message
    assert lab.model(network).status.hosts.total == 3


async def test_a_host_says_why_it_has_no_network(lab: Lab) -> None:
    network = lab.network("lan")
    entry = {"name": "lan", "ready": "False", "message": "bridge br-lan does not exist"}
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "message": ""}
    await lab.tell(host("n2"), MANAGER_NODE, {"networks": [entry], "conditions": [ready]})
    await lab.act(network)
    assert "n2: bridge br-lan does not exist" in lab.said(network, "Ready").message


async def test_a_network_of_an_unknown_zone(lab: Lab) -> None:
    network = lab.network("lan", zone="nowhere")
    await lab.act(network)
    assert lab.said(network, "Ready").reason == "ZoneNotFound"


async def test_a_network_goes_when_no_guest_and_no_host_has_it(lab: Lab) -> None:
    network = lab.network("lan")
    vm = lab.vm(interfaces=[{"name": "eth0", "network": {"name": "lan"}}])
    await lab.act_all()
    lab.kube.remove(NETWORK, "lan")
    await lab.act(network)
    assert "default/vm1" in lab.said(network, "Deleting").message
    lab.kube.remove(VIRTUAL_MACHINE, "vm1", "default")
    await lab.release(vm)
    await lab.act(vm)
    await lab.act(network)
    assert "n1, n2" in lab.said(network, "Deleting").message
    for name in ("n1", "n2"):
        await lab.host(name)
    await lab.act(network)
    assert not lab.is_there(network)


# Image


def entry(lab: Lab, image: Key, pool: str = "main", zone: str = "z1") -> Any:
    found = [p for p in lab.model(image).status.pools if (p.zone, p.pool) == (zone, pool)]
    return found[0] if found else None


def two_pools() -> list[dict[str, Any]]:
    from support.objects import zone

    [main] = zone()["spec"]["pools"]
    return [main, {**main, "name": "fast", "ceph": {**main["ceph"], "pool": "nvme"}}]


async def test_an_image_goes_to_every_default_pool(lab: Lab) -> None:
    lab.zone("z2")
    await lab.host("m1", zone="z2")
    await lab.act_all()
    image = lab.image()
    await lab.act(image)
    assert entry(lab, image).location.image == f"image-{lab.uid(image)}"
    assert entry(lab, image, zone="z2").executor.node_name == "m1"
    epochs = {p.executor.epoch for p in lab.model(image).status.pools}
    assert len(epochs) == 2  # two zones may share one Ceph pool
    assert lab.said(image, "Ready").reason == "Fetching"


async def test_an_image_goes_to_a_pool_once_a_disk_there_starts_from_it(lab: Lab) -> None:
    lab.zone(pools=two_pools(), defaultPool="main")
    image = lab.image()
    await lab.act(image)
    assert entry(lab, image, "fast") is None
    lab.disk(pool="fast", source={"image": {"name": "image1"}})
    await lab.act(image)
    assert entry(lab, image, "fast").location.pool == "nvme"


async def test_an_image_is_ready_when_every_pool_has_it(lab: Lab) -> None:
    image = lab.image()
    await lab.act(image)
    await lab.ready_image(image)
    await lab.act(image)
    assert lab.said(image, "Ready").status == "True"
    lab.kube.calls.clear()
    await lab.act(image)
    assert lab.writes() == 0


async def test_why_an_image_failed(lab: Lab) -> None:
    image = lab.image()
    await lab.act(image)
    await lab.report_image(
        image, "main", state="Failed", reason="ChecksumMismatch", message="other bytes"
    )
    await lab.act(image)
    said = lab.said(image, "Ready")
    assert (said.status, said.reason) == ("False", "ChecksumMismatch")
    assert "other bytes" in said.message


async def test_progress_is_no_write_of_the_operator(lab: Lab) -> None:
    image = lab.image()
    await lab.act_all()
    for percent in (1, 7, 50, 99):
        await lab.report_image(image, "main", state="Fetching", progressPercent=percent)
        lab.kube.calls.clear()
        await lab.act_all()
        assert lab.writes() == 0


async def test_another_host_fetches_after_patience_and_the_first_ones_word_is_old(
    lab: Lab,
) -> None:
    image = lab.image()
    await lab.act(image)
    old = entry(lab, image).executor
    await lab.report_image(image, "main", state="Fetching", progressPercent=10)
    lab.world.heartbeats[old.node_name] = False
    again = await lab.act(image)
    assert again is not None
    lab.now += lab.patience.executor
    await lab.act(image)
    new = entry(lab, image).executor
    assert (new.node_name != old.node_name, new.epoch) == (True, old.epoch + 1)
    from nopal_api.names import image_manager

    late = {"zone": "z1", "pool": "main", "epoch": old.epoch, "state": "Ready", "snapshot": "s"}
    await lab.tell(image, image_manager("z1", "main"), {"pools": [late]})
    await lab.act(image)
    assert lab.said(image, "Ready").status == "False"


async def test_an_image_that_is_there_needs_no_other_executor(lab: Lab) -> None:
    image = lab.image()
    await lab.act(image)
    await lab.ready_image(image)
    old = entry(lab, image).executor
    lab.world.heartbeats[old.node_name] = False
    await lab.sync()
    lab.now += 1000
    await lab.act(image)
    assert entry(lab, image).executor == old


async def test_no_host_to_fetch_it(lab: Lab) -> None:
    for name in ("n1", "n2"):
        lab.world.heartbeats[name] = False
    image = lab.image()
    await lab.act(image)
    assert lab.said(image, "Ready").reason == "NoReadyHost"


async def test_an_image_waits_for_disks_that_are_about_to_be_cloned(lab: Lab) -> None:
    image = lab.image()
    await lab.act(image)
    await lab.ready_image(image)
    disk = lab.disk(source={"image": {"name": "image1"}})
    await lab.act(disk)
    lab.now += 10
    await lab.act(disk)
    assert lab.model(disk).status.location is not None
    lab.kube.remove(IMAGE, "image1")
    await lab.act(image)
    assert (lab.said(image, "Deleting").status, lab.said(image, "Deleting").reason) == (
        "False",
        "InUse",
    )
    await lab.tell(disk, MANAGER_NODE, {"size": str(GIB)})
    await lab.act(image)
    assert lab.said(image, "Deleting").status == "True"
    await lab.report_image(image, "main", state="Deleted")
    await lab.act(image)
    assert not lab.is_there(image)


async def test_an_image_in_no_pool_goes_at_once() -> None:
    lab = Lab()
    image = lab.image()
    await lab.act(image)
    assert lab.said(image, "Ready").reason == "ZoneNotFound"
    lab.kube.remove(IMAGE, "image1")
    await lab.act(image)
    assert not lab.is_there(image)


@pytest.mark.parametrize("kind", [HOST, NETWORK, IMAGE, DISK])
async def test_a_missing_finalizer_is_repaired(lab: Lab, kind: Any) -> None:
    make = {"Network": lab.network, "Image": lab.image, "Disk": lab.disk}
    key = host("n1") if kind is HOST else make[kind.kind]()
    lab.kube.strip_finalizers(kind, key.name, key.namespace)
    await lab.act(key)
    body = lab.kube.see(kind, key.name, key.namespace)
    assert body is not None
    assert body["metadata"]["finalizers"] == [FINALIZER]


async def test_nothing_is_written_when_nothing_changes(lab: Lab) -> None:
    lab.network("lan")
    image = lab.image()
    await lab.act_all()
    await lab.ready_image(image)
    await lab.act_all()
    lab.kube.calls.clear()
    lab.restart()
    lab.now += 3600
    await lab.act_all()
    assert lab.writes() == 0
    assert ZONE.kind in {c.kind for c in lab.kube.calls}
