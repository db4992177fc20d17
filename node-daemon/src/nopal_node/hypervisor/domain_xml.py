# SPDX-License-Identifier: Apache-2.0
"""A domain as libvirt's XML, built from typed objects with an element API. Pure.

No string of a tenant can become markup: every value is an attribute or a text node, and what XML
or QEMU would read as something else is refused. docs: https://libvirt.org/formatdomain.html
"""

import re
import uuid
from xml.etree import ElementTree as ET

from nopal_runtime.errors import TerminalError

from .base import BridgeInterface, DomainSpec, Ownership, RbdDisk
from .cpu_features import FEATURE

NAMESPACE = "https://nopal.dev/xmlns/domain/1"
PREFIX = "nopal-"
"""Every domain of ours is called nopal-<VM UID>."""

_MIB = 1 << 20
# XML 1.0 has no way to write other characters, not even escaped.
_XML_TEXT = re.compile(r"[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
_RBD_NAME = re.compile(r"[A-Za-z0-9._-]+")
_CEPH_USER = re.compile(r"[A-Za-z0-9._-]+")
_SERIAL = re.compile(r"[A-Za-z0-9_.-]{1,20}")
_BRIDGE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
_MONITOR = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")

ET.register_namespace("nopal", NAMESPACE)


def domain_name(vm_uid: str) -> str:
    """Return the name of a VM's domain."""
    return f"{PREFIX}{vm_uid}"


def secret_uuid(vm_uid: str, disk: RbdDisk) -> str:
    """Return the UUID of the libvirt secret with a disk's key: one for each user and cluster."""
    return str(uuid.uuid5(uuid.UUID(vm_uid), "\n".join((disk.user, *sorted(disk.monitors)))))


def domain_xml(spec: DomainSpec, *, kvm: bool, console_log: str) -> str:
    """Return the XML of a transient domain.

    Args:
        spec: what to start.
        kvm: hardware acceleration; False is TCG.
        console_log: where virtlogd writes the serial console, a path on the host.

    Raises:
        TerminalError: InvalidDomain, with the value that cannot be written.
    """
    domain = ET.Element("domain", type="kvm" if kvm else "qemu")
    _text(domain, "name", domain_name(spec.ownership.vm_uid))
    _text(domain, "uuid", str(uuid.UUID(spec.ownership.vm_uid)))
    ET.SubElement(domain, "metadata").append(_ownership(spec.ownership))
    _text(domain, "memory", str(spec.memory // _MIB), unit="MiB")
    _text(domain, "vcpu", str(spec.cores), placement="static")
    _machine(domain, spec, kvm=kvm)
    devices = ET.SubElement(domain, "devices")
    # No USB: without a screen nobody needs it, and its timers keep idle guests busy.
    ET.SubElement(devices, "controller", type="usb", model="none")
    for index, disk in enumerate(spec.disks):
        devices.append(_disk(disk, f"vd{_letters(index)}", spec.ownership.vm_uid))
    for interface in spec.interfaces:
        devices.append(_interface(interface))
    _serial(devices, console_log)
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    rng = ET.SubElement(devices, "rng", model="virtio")
    ET.SubElement(rng, "backend", model="builtin")  # QEMU's own: no path on the host
    ET.SubElement(devices, "memballoon", model="virtio")
    # A guest that panics says so: on_crash then takes effect.
    ET.SubElement(devices, "panic", model="isa")
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode") + "\n"


def _ownership(ownership: Ownership) -> ET.Element:
    words = {
        "vmUID": ownership.vm_uid,
        "epoch": str(ownership.epoch),
        "clusterUID": ownership.cluster_uid,
        "hostUID": ownership.host_uid,
        "namespace": ownership.namespace,
        "name": ownership.name,
    }
    return ET.Element(f"{{{NAMESPACE}}}owner", {k: _checked(v, k) for k, v in words.items()})


def _machine(domain: ET.Element, spec: DomainSpec, *, kvm: bool) -> None:
    system = ET.SubElement(domain, "os")
    # q35 starts as fast as pc (i440fx), and SeaBIOS boots from virtio-blk on both.
    _text(system, "type", "hvm", arch="x86_64", machine="q35")
    # The firmware's words ("No bootable device.") go to the console log: there is no screen.
    ET.SubElement(system, "bios", useserial="yes")
    features = ET.SubElement(domain, "features")
    for name in ("acpi", "apic"):
        ET.SubElement(features, name)
    ET.SubElement(features, "vmport", state="off")
    # host-model can migrate between like hosts; TCG's maximum is what it can emulate, while its
    # default (qemu64) is too old for systems that want x86-64-v2.
    cpu = ET.SubElement(domain, "cpu", mode="host-model" if kvm else "maximum")
    ET.SubElement(cpu, "topology", sockets="1", dies="1", cores=str(spec.cores), threads="1")
    for feature in sorted(set(spec.cpu_features)):
        name = _matching(FEATURE, feature, "CPU feature")
        ET.SubElement(cpu, "feature", policy="require", name=name)
    clock = ET.SubElement(domain, "clock", offset="utc")
    for timer, policy in (("rtc", "catchup"), ("pit", "delay")):
        ET.SubElement(clock, "timer", name=timer, tickpolicy=policy)
    ET.SubElement(clock, "timer", name="hpet", present="no")
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    # A guest that put itself to sleep would neither run nor be down.
    power = ET.SubElement(domain, "pm")
    for sleep in ("suspend-to-mem", "suspend-to-disk"):
        ET.SubElement(power, sleep, enabled="no")


def _disk(disk: RbdDisk, target: str, vm_uid: str) -> ET.Element:
    element = ET.Element("disk", type="network", device="disk")
    ET.SubElement(
        element,
        "driver",
        name="qemu",
        type="raw",
        # librbd's cache, with flushes passed through, and writethrough until the guest's first
        # flush (rbd_cache_writethrough_until_flush): a disk with a volatile write cache, as real
        # ones are. `none` would turn it off and cost every small write a round trip.
        cache="writeback",
        # A disk that refuses pauses the guest: it never sees an error that is not its own, and a
        # fenced guest stops instead of running on without its disks.
        error_policy="stop",
        rerror_policy="stop",
        discard="unmap",
    )
    if disk.namespace:
        # libvirt 9.0 takes POOL/NAMESPACE/IMAGE and hands QEMU an image NAMESPACE/IMAGE.
        raise TerminalError(
            "NamespaceUnsupported",
            f"image {disk.image} is in the RBD namespace {disk.namespace}, which libvirt cannot"
            " attach: use a pool without a namespace",
        )
    words = (("pool", disk.pool), ("image", disk.image))
    path = "/".join(_matching(_RBD_NAME, word, f"RBD {what}") for what, word in words)
    source = ET.SubElement(element, "source", protocol="rbd", name=path)
    for monitor in disk.monitors:
        match = _MONITOR.fullmatch(monitor)
        if match is None:
            raise _invalid("monitor address", monitor)
        ET.SubElement(source, "host", name=match["host"].strip("[]"), port=match["port"])
    user = _matching(_CEPH_USER, disk.user, "Ceph user")
    auth = ET.SubElement(source, "auth", username=user)
    ET.SubElement(auth, "secret", type="ceph", uuid=secret_uuid(vm_uid, disk))
    ET.SubElement(element, "target", dev=target, bus="virtio")
    if disk.read_only:
        ET.SubElement(element, "readonly")
    _text(element, "serial", _matching(_SERIAL, disk.serial, "disk serial"))
    if disk.boot_order is not None:
        ET.SubElement(element, "boot", order=str(disk.boot_order))
    return element


def _interface(interface: BridgeInterface) -> ET.Element:
    element = ET.Element("interface", type="bridge")
    ET.SubElement(element, "mac", address=_matching(_MAC, interface.mac.lower(), "MAC address"))
    ET.SubElement(element, "source", bridge=_matching(_BRIDGE, interface.bridge, "bridge"))
    ET.SubElement(element, "model", type="virtio")
    if interface.mtu:
        ET.SubElement(element, "mtu", size=str(interface.mtu))
    # No network boot: a guest without a bootable disk must not run what a neighbour serves.
    ET.SubElement(element, "rom", enabled="no")
    return element


def _serial(devices: ET.Element, console_log: str) -> None:
    serial = ET.SubElement(devices, "serial", type="pty")
    # Through virtlogd, which rotates it: QEMU itself gets a pipe, and no path.
    ET.SubElement(serial, "log", file=console_log, append="off")
    ET.SubElement(serial, "target", type="isa-serial", port="0")


def _letters(index: int) -> str:
    """Return a, b, ... z, aa, ab, ...: libvirt's names of disks."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = _checked(text, tag)


def _checked(value: str, what: str) -> str:
    return _matching(_XML_TEXT, value, what)


def _matching(pattern: re.Pattern[str], value: str, what: str) -> str:
    if not pattern.fullmatch(value):
        raise _invalid(what, value)
    return value


def _invalid(what: str, value: str) -> TerminalError:
    return TerminalError("InvalidDomain", f"{what} {value!r} cannot be given to libvirt")
