# SPDX-License-Identifier: Apache-2.0
"""Bad manifests: kube-apiserver refuses each with a message that names the field."""

import pytest

from support.kubectl import Api
from support.manifests import changed, good

pytestmark = pytest.mark.real

# kind, where, value (None takes the field out), what the message must name
BAD = {
    "Zone: a name that is no DNS label": ("Zone", "metadata.name", "a.b", "metadata.name"),
    "Zone: a zone of all nodes": (
        "Zone",
        "spec.nodeSelector.matchLabels",
        {},
        "spec.nodeSelector.matchLabels",
    ),
    "Zone: no label key": (
        "Zone",
        "spec.nodeSelector.matchLabels",
        {"no/two/slashes": "x"},
        "spec.nodeSelector.matchLabels",
    ),
    "Zone: no label value": (
        "Zone",
        "spec.nodeSelector.matchLabels",
        {"rack": "a b"},
        "spec.nodeSelector.matchLabels",
    ),
    "Zone: no pool": ("Zone", "spec.pools", [], "spec.pools"),
    "Zone: unknown storage": ("Zone", "spec.pools.0.type", "Nfs", "spec.pools[0].type"),
    "Zone: type Ceph without ceph": ("Zone", "spec.pools.0.ceph", None, "spec.pools[0].ceph"),
    "Zone: no fsid": ("Zone", "spec.pools.0.ceph.fsid", "not-a-uuid", "spec.pools[0].ceph.fsid"),
    "Zone: no monitor": ("Zone", "spec.pools.0.ceph.monitors", [], "spec.pools[0].ceph.monitors"),
    "Zone: a monitor without a port": (
        "Zone",
        "spec.pools.0.ceph.monitors.0",
        "10.0.0.1",
        "spec.pools[0].ceph.monitors[0]",
    ),
    "Zone: two monitors in one": (
        "Zone",
        "spec.pools.0.ceph.monitors.0",
        "a:1,b:2",
        "spec.pools[0].ceph.monitors[0]",
    ),
    "Zone: a monitor twice": (
        "Zone",
        "spec.pools.0.ceph.monitors.1",
        "10.0.0.1:6789",
        "spec.pools[0].ceph.monitors[1]",
    ),
    "Zone: a pool name with a slash": (
        "Zone",
        "spec.pools.0.ceph.pool",
        "a/b",
        "spec.pools[0].ceph.pool",
    ),
    "Zone: a Secret without a name": (
        "Zone",
        "spec.pools.0.ceph.secretRef.name",
        None,
        "spec.pools[0].ceph.secretRef.name",
    ),
    "Zone: a default pool that is not there": (
        "Zone",
        "spec.defaultPool",
        "other",
        "spec.defaultPool",
    ),
    "Zone: less than one CPU for a thread": (
        "Zone",
        "spec.cpuOvercommitPercent",
        50,
        "spec.cpuOvercommitPercent",
    ),
    "Zone: a string for a number": (
        "Zone",
        "spec.cpuOvercommitPercent",
        "400%",
        "spec.cpuOvercommitPercent",
    ),
    "Zone: no quantity": ("Zone", "spec.hostReserved.memory", "1 GB", "spec.hostReserved.memory"),
    "Zone: no storage network": ("Zone", "spec.storageCIDRs", [], "spec.storageCIDRs"),
    "Zone: host bits": ("Zone", "spec.storageCIDRs.0", "10.0.0.5/24", "spec.storageCIDRs[0]"),
    "Zone: an address, no network": (
        "Zone",
        "spec.storageCIDRs.0",
        "10.0.0.0",
        "spec.storageCIDRs[0]",
    ),
    "Zone: the whole Internet": (
        "Zone",
        "spec.storageCIDRs.0",
        "0.0.0.0/0",
        "spec.storageCIDRs[0]",
    ),
    "Zone: Listed without names": (
        "Zone",
        "spec.allowedNamespaces",
        {"from": "Listed"},
        "spec.allowedNamespaces.names",
    ),
    "Zone: names without Listed": (
        "Zone",
        "spec.allowedNamespaces",
        {"names": ["a"]},
        "spec.allowedNamespaces.names",
    ),
    "Zone: a namespace twice": (
        "Zone",
        "spec.allowedNamespaces.names",
        ["a", "a"],
        "spec.allowedNamespaces.names[1]",
    ),
    "Host: a boolean for a word": ("Host", "spec.scheduling", False, "spec.scheduling"),
    "Host: an unknown word": ("Host", "spec.scheduling", "Drain", "spec.scheduling"),
    "Network: no zone": ("Network", "spec.zone", None, "spec.zone"),
    "Network: unknown type": ("Network", "spec.type", "Vxlan", "spec.type"),
    "Network: type Bridge without bridge": ("Network", "spec.bridge", None, "spec.bridge"),
    "Network: longer than Linux allows": (
        "Network",
        "spec.bridge.name",
        "a-name-of-16-char",
        "spec.bridge.name",
    ),
    "Network: a shell command": ("Network", "spec.bridge.name", "br0; reboot", "spec.bridge.name"),
    "Network: lower case": (
        "Network",
        "spec.bridge.management",
        "managed",
        "spec.bridge.management",
    ),
    "Network: an MTU below IPv4's least": ("Network", "spec.bridge.mtu", 100, "spec.bridge.mtu"),
    "Image: a file of the host": (
        "Image",
        "spec.source.url",
        "file:///etc/shadow",
        "spec.source.url",
    ),
    "Image: a password in a URL": (
        "Image",
        "spec.source.url",
        "http://user:secret@h/x",
        "spec.source.url",
    ),
    "Image: no port": ("Image", "spec.source.url", "http://h:port/x", "spec.source.url"),
    "Image: a space in a URL": ("Image", "spec.source.url", "http://h/a b", "spec.source.url"),
    "Image: no SHA-256": ("Image", "spec.source.sha256", "ABCD", "spec.source.sha256"),
    "Image: no checksum": ("Image", "spec.source.sha256", None, "spec.source.sha256"),
    "Image: unknown format": ("Image", "spec.source.format", "vmdk", "spec.source.format"),
    "Disk: no name": ("Disk", "spec.zone", "Zone_1", "spec.zone"),
    "Disk: no size": ("Disk", "spec.size", None, "spec.size"),
    "Disk: nothing": ("Disk", "spec.size", "0", "spec.size"),
    "Disk: less than nothing": ("Disk", "spec.size", "-1Gi", "spec.size"),
    "Disk: bytes where Gi was meant": ("Disk", "spec.size", "10", "spec.size"),
    "Disk: more than fits": ("Disk", "spec.size", "100Pi", "spec.size"),
    "Disk: a number for a quantity": ("Disk", "spec.size", 10, "spec.size"),
    "Disk: a source of nothing": ("Disk", "spec.source", {}, "spec.source"),
    "Disk: an empty name": ("Disk", "spec.source.image.name", "", "spec.source.image.name"),
    "Disk: unknown policy": ("Disk", "spec.reclaimPolicy", "Recycle", "spec.reclaimPolicy"),
    "Disk: a misspelt field": ("Disk", "spec.sise", "10Gi", "spec.sise"),
    "VirtualMachine: too long for a host name": (
        "VirtualMachine",
        "metadata.name",
        "a" * 64,
        "metadata.name",
    ),
    "VirtualMachine: a dot in a host name": (
        "VirtualMachine",
        "metadata.name",
        "web.example",
        "metadata.name",
    ),
    "VirtualMachine: no zone": ("VirtualMachine", "spec.zone", None, "spec.zone"),
    "VirtualMachine: unknown power state": (
        "VirtualMachine",
        "spec.powerState",
        "On",
        "spec.powerState",
    ),
    "VirtualMachine: a pod's restart policy": (
        "VirtualMachine",
        "spec.restartPolicy",
        "OnFailure",
        "spec.restartPolicy",
    ),
    "VirtualMachine: no processor": ("VirtualMachine", "spec.cpu.cores", 0, "spec.cpu.cores"),
    "VirtualMachine: half a processor": ("VirtualMachine", "spec.cpu.cores", 1.5, "spec.cpu.cores"),
    "VirtualMachine: too many processors": (
        "VirtualMachine",
        "spec.cpu.cores",
        1000,
        "spec.cpu.cores",
    ),
    "VirtualMachine: no memory": ("VirtualMachine", "spec.memory", None, "spec.memory"),
    "VirtualMachine: too little memory": (
        "VirtualMachine",
        "spec.memory.size",
        "1Mi",
        "spec.memory.size",
    ),
    "VirtualMachine: an exponent": (
        "VirtualMachine",
        "spec.memory.size",
        "1e9",
        "spec.memory.size",
    ),
    "VirtualMachine: a disk name twice": (
        "VirtualMachine",
        "spec.disks.1.name",
        "root",
        "spec.disks[1]",
    ),
    "VirtualMachine: a Disk twice": (
        "VirtualMachine",
        "spec.disks.1.disk.name",
        "root-disk",
        "spec.disks",
    ),
    "VirtualMachine: a boot order twice": (
        "VirtualMachine",
        "spec.disks.1.bootOrder",
        1,
        "spec.disks",
    ),
    "VirtualMachine: longer than a serial": (
        "VirtualMachine",
        "spec.disks.0.name",
        "a-name-longer-than-a-serial",
        "spec.disks[0].name",
    ),
    "VirtualMachine: a disk of nothing": (
        "VirtualMachine",
        "spec.disks.0.disk",
        None,
        "spec.disks[0].disk",
    ),
    "VirtualMachine: 17 disks": (
        "VirtualMachine",
        "spec.disks",
        [{"name": f"d{i}", "disk": {"name": f"d{i}"}} for i in range(17)],
        "spec.disks",
    ),
    "VirtualMachine: a multicast MAC": (
        "VirtualMachine",
        "spec.interfaces.0.mac",
        "01:00:5e:00:00:01",
        "spec.interfaces[0].mac",
    ),
    "VirtualMachine: a MAC in upper case": (
        "VirtualMachine",
        "spec.interfaces.0.mac",
        "02:AA:00:00:00:01",
        "spec.interfaces[0].mac",
    ),
    "VirtualMachine: a MAC twice": (
        "VirtualMachine",
        "spec.interfaces.1.mac",
        "02:00:00:00:00:01",
        "spec.interfaces",
    ),
    "VirtualMachine: a path for a name": (
        "VirtualMachine",
        "spec.interfaces.0.network.name",
        "../n1",
        "spec.interfaces[0].network.name",
    ),
    "VirtualMachine: no user-data": (
        "VirtualMachine",
        "spec.cloudInit",
        {"networkData": "version: 2"},
        "spec.cloudInit.userData",
    ),
    "VirtualMachine: two user-data": (
        "VirtualMachine",
        "spec.cloudInit.userDataSecretRef",
        {"name": "s", "key": "k"},
        "spec.cloudInit.userData",
    ),
    "VirtualMachine: too much user-data": (
        "VirtualMachine",
        "spec.cloudInit.userData",
        "x" * 65537,
        "spec.cloudInit.userData",
    ),
    "VirtualMachine: negative time": (
        "VirtualMachine",
        "spec.shutdown.gracePeriodSeconds",
        -1,
        "spec.shutdown.gracePeriodSeconds",
    ),
    "VirtualMachine: a string for seconds": (
        "VirtualMachine",
        "spec.shutdown.gracePeriodSeconds",
        "60s",
        "spec.shutdown.gracePeriodSeconds",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_manifest_is_refused_by_its_field(api: Api, case: str) -> None:
    kind, path, value, named = BAD[case]
    message = api.refusal(changed(good(kind), path, value))
    assert named in message, message or "accepted"


@pytest.mark.parametrize("kind", ["Zone", "Host", "Network", "Image", "Disk", "VirtualMachine"])
def test_what_the_bad_ones_are_made_of_is_accepted(api: Api, kind: str) -> None:
    assert not api.refusal(good(kind))


def test_two_pools_need_a_default(api: Api) -> None:
    zone = good("Zone")
    zone["spec"]["pools"].append(zone["spec"]["pools"][0] | {"name": "second"})
    assert not api.refusal(zone)
    assert "spec.defaultPool" in api.refusal(changed(zone, "spec.defaultPool", None))


@pytest.mark.parametrize("kind", ["Zone", "Network", "Image", "Disk", "VirtualMachine"])
def test_a_spec_must_be_there(api: Api, kind: str) -> None:
    assert "spec: Required value" in api.refusal(changed(good(kind), "spec", None))
