# SPDX-License-Identifier: Apache-2.0
"""What is missing is named, with the remedy, and what waited for it starts by itself."""

import re
import shlex

import pytest

from nopal_runtime.ceph.caps import host_caps
from support.site import NETWORK, Site, Space, condition, reason_of, status_of
from support.waiting import wait

pytestmark = pytest.mark.real


def refused(space: Space, name: str, reason: str, *words: str, kind: str = "Scheduled") -> str:
    """Wait until the VM's condition has that reason, in these words; return the message."""
    vm = space.says(name, reason, *words, kind=kind)
    assert status_of(vm, kind) == "False"
    return str(condition(vm, kind)["message"])


def test_a_disk_and_its_image_that_come_later(space: Space) -> None:
    site = space.site
    late = f"late-{space.namespace}"[:60]
    space.apply(space.vm("vm1", "root"))
    refused(space, "vm1", "DiskNotFound", '"root"')

    space.apply(space.disk("root", image=late))
    refused(space, "vm1", "ImageNotFound", late)

    site.apply(site.image(late))
    space.running("vm1")
    space.delete("vm", "vm1")
    space.delete("disk", "root")
    site.delete("image", late)
    wait(
        lambda: not [i for i in site.images() if i.startswith("trash:image")], "the source is gone"
    )


def test_a_network_that_comes_later_and_is_made_and_removed_by_nopal(space: Space) -> None:
    site = space.site
    name = "made"
    vm = space.vm("vm1", "root", interfaces=[{"name": "lan", "network": {"name": name}}])
    space.apply(space.disk("root"), vm)
    refused(space, "vm1", "NetworkNotFound", f'"{name}"')

    bridge = {"name": "np-made", "management": "Managed", "mtu": 1400}
    site.apply(site.network(name, bridge=bridge))
    running = space.running("vm1")
    host, _ = space.domain(running)
    mac = running["status"]["assignment"]["interfaces"][0]["mac"]
    assert "mtu 1400" in host.run("ip", "link", "show", "np-made")
    taps = host.run("ip", "-o", "link", "show", "master", "np-made")
    assert taps.count("vnet") == 1
    assert mac in host.virsh("dumpxml", running["metadata"]["uid"])

    site.delete("network", name, wait=False)
    deleting = site.get("network", name)
    assert deleting is not None, "it waits for its virtual machine"
    space.delete("vm", "vm1")
    wait(lambda: site.get("network", name) is None, "the network goes")
    for each in site.cluster.hosts.values():
        assert "np-made" not in each.run("ip", "-o", "link", "show")


def test_a_bridge_that_is_not_there(space: Space) -> None:
    site = space.site
    site.apply(site.network("absent", bridge={"name": "br-absent"}))
    vm = space.vm("vm1", "root", interfaces=[{"name": "lan", "network": {"name": "absent"}}])
    space.apply(space.disk("root"), vm)
    message = refused(space, "vm1", "Unschedulable", "absent")
    assert message.startswith("0/2 hosts fit")

    for host in site.cluster.hosts.values():
        host.run("ip", "link", "add", "br-absent", "type", "bridge")
        host.run("ip", "link", "set", "br-absent", "up")
    try:
        space.running("vm1")
        space.delete("vm", "vm1")
    finally:
        for host in site.cluster.hosts.values():
            host.run("ip", "link", "del", "br-absent")
        site.delete("network", "absent")


def test_a_zone_that_does_not_allow_the_namespace(space: Space) -> None:
    site = space.site
    space.apply(space.disk("root"), space.vm("vm1", "root"), space.vm("vm2", zone="nowhere"))
    space.running("vm1")
    refused(space, "vm2", "ZoneNotFound", '"nowhere"')
    site.apply_zone(allowedNamespaces={"from": "Listed", "names": ["elsewhere"]})
    try:
        space.apply(space.vm("vm3"))
        refused(space, "vm3", "NamespaceNotAllowed", space.namespace)
        assert status_of(space.get("vm", "vm1"), "Ready") == "True", "what runs is not touched"
    finally:
        site.apply(site.zone(allowedNamespaces={"from": "All"}))
    # Without a disk there is nothing to boot, but it runs.
    space.running("vm3")


def test_a_disk_that_another_vm_has(space: Space) -> None:
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    space.running("vm1")
    space.apply(space.vm("vm2", "root"))
    refused(space, "vm2", "DiskInUse", '"vm1"')
    space.delete("vm", "vm1")
    space.running("vm2")
    assert space.counts("root").boots == 2


def test_a_vm_that_fits_nowhere_says_why_and_starts_when_there_is_room(space: Space) -> None:
    site = space.site
    host = site.get("hosts.nopal.dev", "node-1")
    assert host is not None
    cores = 4 * int(host["status"]["capacity"]["cpu"]) + 1
    space.apply(space.disk("root"), space.vm("vm1", "root", cpu={"cores": cores}))
    lacks = f"0/2 hosts fit: 2 insufficient cpu (needs {cores}"
    assert refused(space, "vm1", "Unschedulable", lacks).startswith(lacks)
    site.apply(site.zone(cpuOvercommitPercent=500))
    try:
        space.running("vm1")
    finally:
        site.apply(site.zone(cpuOvercommitPercent=400))


def test_a_vm_that_needs_more_memory_than_any_host_has(space: Space) -> None:
    space.apply(space.vm("vm1", memory={"size": "1Ti"}))
    refused(space, "vm1", "Unschedulable", "2 insufficient memory (needs 1")


def test_hosts_that_take_no_more(space: Space) -> None:
    space.site.patch_host("node-1", {"scheduling": "Disabled"})
    try:
        space.apply(*(space.disk(f"d{n}") for n in range(3)))
        space.apply(*(space.vm(f"vm{n}", f"d{n}") for n in range(3)))
        for n in range(3):
            assert space.running(f"vm{n}")["status"]["assignment"]["nodeName"] == "node-2"
    finally:
        space.site.patch_host("node-1", {"scheduling": "Enabled"})


def test_a_host_without_a_node_goes_when_it_is_deleted(site: Site) -> None:
    site.apply({"apiVersion": "nopal.dev/v1alpha1", "kind": "Host", "metadata": {"name": "gone"}})
    wait(
        lambda: reason_of(site.get("host", "gone") or {}, "InZone") == "NodeNotFound", "it says so"
    )
    site.delete("host", "gone")
    assert site.get("host", "gone") is None


def test_images_that_are_refused_say_why(space: Space) -> None:
    site = space.site
    wrong = site.image("wrong-sum", sha256="0" * 64)
    other = site.image("wrong-format", format="qcow2")
    site.apply(wrong, other)
    for name, reason in (("wrong-sum", "ChecksumMismatch"), ("wrong-format", "FormatMismatch")):
        wait(lambda n=name, r=reason: failed(site, n) == r, f"{name} fails with {reason}")  # type: ignore[misc]
        found = site.get("image", name)
        assert found is not None
        assert status_of(found, "Ready") == "False"
        uid = found["metadata"]["uid"]
        assert not [i for i in site.images() if uid in i], "something is left in the pool"
    space.apply(space.disk("root", image="wrong-sum"), space.vm("vm1", "root"))
    refused(space, "vm1", "ImageNotReady", "wrong-sum")
    space.delete("vm", "vm1")
    space.delete("disk", "root")
    for name in ("wrong-sum", "wrong-format"):
        site.delete("image", name)


def failed(site: Site, image: str) -> str:
    found = site.get("image", image) or {}
    pools = found.get("status", {}).get("pools", [])
    return str(pools[0].get("reason", "")) if pools else ""


def test_an_interface_gets_an_address_that_stays(space: Space) -> None:
    lan = [{"name": "lan", "network": {"name": NETWORK}}]
    space.apply(space.disk("root"), space.vm("vm1", "root", interfaces=lan))
    first = space.running("vm1")["status"]["assignment"]
    space.patch("vm", "vm1", {"powerState": "Stopped"})
    space.until("vm1", lambda vm: vm["status"]["power"] == "Stopped", "stops")
    space.patch("vm", "vm1", {"powerState": "Running"})
    again = space.until(
        "vm1", lambda vm: vm["status"]["assignment"]["epoch"] > first["epoch"], "starts again"
    )["status"]["assignment"]
    assert again["interfaces"] == first["interfaces"]

    taken = first["interfaces"][0]["mac"]
    same = [{"name": "lan", "network": {"name": NETWORK}, "mac": taken}]
    space.apply(space.vm("vm2", interfaces=same))
    refused(space, "vm2", "MACConflict", "vm1")


def test_a_disk_of_another_zone(space: Space) -> None:
    site = space.site
    # No host is in it: whatever needs one there waits, and nobody else does.
    site.apply(site.zone("far", nodeSelector={"matchLabels": {"nopal-test": "none"}}))
    try:
        space.apply(space.disk("root", zone="far"), space.vm("vm1", "root"))
        refused(space, "vm1", "DiskInOtherZone", '"far"', '"home"')
        space.apply(space.disk("mine"), space.vm("vm2", "mine"))
        space.running("vm2")
        space.delete("disk", "root")
        space.apply(space.disk("root"))
        space.running("vm1")
    finally:
        space.delete("vm", "vm1")
        space.delete("disk", "root")
        site.delete("zone", "far")
    wait(lambda: site.ready("image", "counter"), "no zone is left that lacks the image")


def test_a_pool_that_comes_later_with_its_key(space: Space) -> None:
    site, kubectl, ceph = space.site, space.site.cluster.kubectl, space.site.cluster.ceph
    space.apply(space.disk("data", image=None, pool="second"), space.vm("vm1", "data"))
    refused(space, "vm1", "PoolNotFound", '"second"')
    zone = site.zone(defaultPool="main")
    (main,) = zone["spec"]["pools"]
    secret = {"namespace": "nopal-system", "name": "second"}
    second = {**main["ceph"], "pool": "second", "secretRef": secret}
    zone["spec"]["pools"] = [main, {**main, "name": "second", "ceph": second}]
    site.apply(zone)
    try:
        obey(site, told(site, "CephSecretForbidden", "nopal-system/second"))
        told(site, "CephSecretNotFound", "nopal-system/second")
        keys = kubectl.get("secret", "ceph", "-n", "nopal-system")
        site.apply({"apiVersion": "v1", "kind": "Secret", "metadata": secret, "data": keys["data"]})
        obey(site, told(site, "PoolNotFound", "rbd pool init"))
        told(site, "AccessDenied", "capabilities")
        may_use(site, "nopal", "second")
        space.running("vm1")
        assert space.get("disk", "data")["status"]["location"]["pool"] == "second"
        assert ceph.rbd("ls", "second").split() == [space.image("data")]
        space.delete("vm", "vm1")
        space.delete("disk", "data")
        wait(lambda: not ceph.rbd("trash", "ls", "second").strip(), "its trash is empty")
    finally:
        space.delete("vm", "vm1")
        space.delete("disk", "data")
        site.apply(site.zone())
        for granted in ("secret/second", "rolebinding/nopal-ceph-second", "role/nopal-ceph-second"):
            kubectl.run("delete", granted, "-n", "nopal-system", "--ignore-not-found")
        may_use(site, "nopal")
        ceph.ceph("config", "set", "mon", "mon_allow_pool_delete", "true")
        ceph.ceph("osd", "pool", "rm", "second", "second", "--yes-i-really-really-mean-it")
    wait(lambda: all(site.ready("hosts.nopal.dev", n) for n in site.cluster.hosts), "all is well")


def obey(site: Site, message: str) -> None:
    """Run the commands that a message gives as its remedy."""
    tools = {
        "kubectl": site.cluster.kubectl.run,
        "ceph": site.cluster.ceph.ceph,
        "rbd": site.cluster.ceph.rbd,
    }
    found = re.findall(r"\b(kubectl|ceph|rbd) ([^,;]+)", message)
    assert found, message
    for tool, words in found:
        tools[tool](*shlex.split(words))


def may_use(site: Site, *pools: str) -> None:
    """Set which RBD pools the hosts' keys are good for."""
    for host in site.cluster.hosts.values():
        caps = host_caps(addresses=[host.address], pools=[(pool, "") for pool in pools])
        site.cluster.ceph.user_key(f"client.nopal.{host.name}", caps)


def told(site: Site, reason: str, words: str) -> str:
    """Wait until every host says that a pool is not reached, and why; return the message."""

    def said() -> list[dict[str, str]]:
        hosts = [site.get("hosts.nopal.dev", node) or {} for node in site.cluster.hosts]
        return [condition(host, "CephReachable") for host in hosts]

    def all_said() -> bool:
        found = said()
        return all(each.get("reason") == reason and words in each["message"] for each in found)

    wait(all_said, f"the hosts say {reason}: {words}")
    return said()[0]["message"]


def test_user_data_whose_secret_comes_later(space: Space) -> None:
    init = {"userDataSecretRef": {"name": "init", "key": "user-data"}}
    space.apply(space.disk("root"), space.vm("vm1", "root", cloudInit=init))
    obey(space.site, refused(space, "vm1", "SecretForbidden", kind="Ready"))
    refused(space, "vm1", "SecretNotFound", "init", kind="Ready")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "init", "namespace": space.namespace},
        "stringData": {"other": "x"},
    }
    space.apply(secret)
    space.until("vm1", lambda v: "'user-data'" in condition(v, "Ready")["message"], "names the key")
    # No UID can hold this by chance, as it may hold four digits.
    secret_word = "xyzzy-plugh"
    words = f"#cloud-config\n# for nobody else: {secret_word}\n"
    space.apply({**secret, "stringData": {"user-data": words}})
    vm = space.running("vm1")
    seed = space.site.cluster.ceph.read(f"seed-{vm['metadata']['uid']}", 0, 1 << 20)
    assert words.encode() in seed
    assert secret_word not in str(vm), "a secret has no place in an object that others may read"
