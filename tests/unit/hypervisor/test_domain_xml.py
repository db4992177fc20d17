# SPDX-License-Identifier: Apache-2.0
"""Domains as XML: golden files show it, and no string of a tenant becomes markup."""

import os
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nopal_node.hypervisor.base import BridgeInterface, DomainSpec
from nopal_node.hypervisor.domain_metadata import parse_ownership
from nopal_node.hypervisor.domain_xml import NAMESPACE, domain_xml, secret_uuid
from nopal_node.hypervisor.libvirt_secrets import secret_xml
from nopal_runtime.errors import TerminalError
from support.hypervisors import plain_spec, rbd_disk

GOLDEN = Path(__file__).parent / "golden"
UID = "7d2f0a3e-5f52-4f0e-9d0c-2a8f5b1c0d11"
CONSOLE = f"/var/log/libvirt/qemu/nopal-{UID}.console"

PLAIN = plain_spec(UID)
FULL = replace(
    PLAIN,
    cores=4,
    memory=2 << 30,
    cpu_features=("sse4.2", "avx2", "avx2"),
    disks=(
        rbd_disk("disk-a"),
        replace(rbd_disk("disk-b", serial="data", boot_order=None), monitors=("[fd00::1]:3300",)),
        replace(rbd_disk(f"seed-{UID}", serial="cidata", boot_order=None), read_only=True),
    ),
    interfaces=(
        BridgeInterface(bridge="br-guest", mac="02:11:22:33:44:55", mtu=1400),
        BridgeInterface(bridge="nopal-1", mac="02:11:22:33:44:56"),
    ),
)

# Strings that XML can hold, and those that it cannot.
words = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))
anything = st.text()


def write(spec: DomainSpec, *, kvm: bool = False) -> str:
    return domain_xml(spec, kvm=kvm, console_log=CONSOLE)


def parse(xml: str) -> ET.Element:
    return ET.fromstring(xml)  # noqa: S314 - our own


def shape(element: ET.Element) -> tuple[object, ...]:
    """The tree without its values: tags and the names of attributes."""
    return (element.tag, sorted(element.attrib), [shape(child) for child in element])


@pytest.mark.parametrize(
    ("name", "spec", "kvm"),
    [("plain", PLAIN, False), ("full", FULL, False), ("kvm", FULL, True)],
)
def test_golden(name: str, spec: DomainSpec, *, kvm: bool) -> None:
    """NOPAL_GOLDEN=write writes them anew: look at the difference before you commit it."""
    path = GOLDEN / f"{name}.xml"
    written = write(spec, kvm=kvm)
    if os.environ.get("NOPAL_GOLDEN") == "write":
        path.write_text(written)
    assert written == path.read_text()


def test_ownership_is_read_back() -> None:
    assert parse_ownership(write(PLAIN)) == PLAIN.ownership


@given(namespace=words, name=words, cluster=words, host=words)
def test_words_stay_words(namespace: str, name: str, cluster: str, host: str) -> None:
    ownership = replace(
        PLAIN.ownership, namespace=namespace, name=name, cluster_uid=cluster, host_uid=host
    )
    root = parse(write(replace(PLAIN, ownership=ownership)))
    assert shape(root) == shape(parse(write(PLAIN)))
    owner = root.find(f"metadata/{{{NAMESPACE}}}owner")
    assert owner is not None
    assert owner.attrib == {
        "vmUID": UID,
        "epoch": "1",
        "clusterUID": cluster,
        "hostUID": host,
        "namespace": namespace,
        "name": name,
    }


@given(anything, anything, anything, anything, anything, anything, anything, anything)
def test_anything_is_either_itself_or_refused(
    namespace: str,
    serial: str,
    pool: str,
    image: str,
    user: str,
    bridge: str,
    mac: str,
    feature: str,
) -> None:
    hostile = replace(
        PLAIN,
        ownership=replace(PLAIN.ownership, namespace=namespace),
        disks=(replace(PLAIN.disks[0], serial=serial, pool=pool, image=image, user=user),),
        interfaces=(BridgeInterface(bridge=bridge, mac=mac),),
        cpu_features=(feature,),
    )
    harmless = replace(
        PLAIN,
        interfaces=(BridgeInterface("br0", "02:00:00:00:00:01"),),
        cpu_features=("avx2",),
    )
    try:
        written = write(hostile)
    except TerminalError as error:
        assert error.reason == "InvalidDomain"  # noqa: PT017 - most of them are refused
        return
    root = parse(written)
    assert shape(root) == shape(parse(write(harmless)))
    source = root.find("devices/disk/source")
    assert source is not None
    assert source.get("name") == f"{pool}/{image}"
    assert root.findtext("devices/disk/serial") == serial


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pool": "nopal/other"}, "RBD pool"),
        ({"pool": ""}, "RBD pool"),
        ({"image": "disk@snap"}, "RBD image"),
        ({"image": "disk:conf=/etc/passwd"}, "RBD image"),
        ({"user": "admin:key=x"}, "Ceph user"),
        ({"serial": "a,b"}, "disk serial"),
        ({"serial": "x" * 21}, "disk serial"),
        ({"monitors": ("10.0.0.1",)}, "monitor address"),
        ({"monitors": ("10.0.0.1:6789;x",)}, "monitor address"),
    ],
)
def test_what_qemu_would_read_as_something_else(changes: dict[str, object], named: str) -> None:
    disk = replace(PLAIN.disks[0], **changes)  # type: ignore[arg-type]
    with pytest.raises(TerminalError, match=re.escape(named)) as refused:
        write(replace(PLAIN, disks=(disk,)))
    assert refused.value.reason == "InvalidDomain"


@pytest.mark.parametrize("bad", ["", "avx2,kvm=off", "AVX2", "avx2/>", "a" * 65, "-avx2"])
def test_a_feature_that_is_no_name(bad: str) -> None:
    with pytest.raises(TerminalError, match="CPU feature") as refused:
        write(replace(PLAIN, cpu_features=("sse4.2", bad)))
    assert refused.value.reason == "InvalidDomain"


@pytest.mark.parametrize("bad", ["\0", "\x08", "\x1b", "\ud800", "\uffff"])
def test_what_xml_cannot_hold(bad: str) -> None:
    ownership = replace(PLAIN.ownership, name=f"web{bad}")
    with pytest.raises(TerminalError) as refused:
        write(replace(PLAIN, ownership=ownership))
    assert refused.value.reason == "InvalidDomain"


def test_a_namespace_is_refused() -> None:
    """libvirt 9.0 would look for an image of the name NAMESPACE/IMAGE."""
    disk = replace(PLAIN.disks[0], namespace="team-a")
    with pytest.raises(TerminalError) as refused:
        write(replace(PLAIN, disks=(disk,)))
    assert refused.value.reason == "NamespaceUnsupported"


def test_disks_are_named_in_order() -> None:
    disks = tuple(rbd_disk(f"disk-{n}", serial=f"d{n}", boot_order=None) for n in range(30))
    root = parse(write(replace(PLAIN, disks=disks)))
    targets = [target.get("dev") for target in root.iterfind("devices/disk/target")]
    assert targets[:2] == ["vda", "vdb"]
    assert targets[25:28] == ["vdz", "vdaa", "vdab"]
    assert len(set(targets)) == 30


def test_the_key_is_not_in_the_xml() -> None:
    assert PLAIN.disks[0].key not in write(PLAIN)
    assert PLAIN.disks[0].key not in repr(PLAIN)


def test_one_secret_for_each_user_and_cluster() -> None:
    disk = PLAIN.disks[0]
    other = replace(disk, image="other", monitors=tuple(reversed(disk.monitors)))
    assert secret_uuid(UID, disk) == secret_uuid(UID, other)
    assert secret_uuid(UID, disk) != secret_uuid(UID, replace(disk, user="somebody"))
    assert secret_uuid(UID, disk) != secret_uuid(UID, replace(disk, monitors=("10.0.0.9:6789",)))
    assert secret_uuid(UID, disk) != secret_uuid("7d2f0a3e-5f52-4f0e-9d0c-2a8f5b1c0d12", disk)


def test_secrets_are_private_and_in_memory_only() -> None:
    secret = parse(secret_xml(UID, usage="nopal-x-0"))
    assert secret.attrib == {"ephemeral": "yes", "private": "yes"}
    assert secret.findtext("usage[@type='ceph']/name") == "nopal-x-0"
