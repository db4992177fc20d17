# SPDX-License-Identifier: Apache-2.0
"""Which CPU features a guest can have here, as libvirt knows them.

Those of libvirt's host-model for the kind of domain that is used: with KVM what processor, kernel
and QEMU have, with TCG what QEMU emulates (its `maximum` has all of it). libvirt writes the model
as the name of a processor and what differs from it; virConnectBaselineHypervisorCPU spells out the
features behind the name.

That a domain requires a feature is not enough: libvirt 9.0 checks nothing for `maximum` and
compares host-model with the processor alone, and QEMU warns and starts without. So the daemon
looks before each start.
docs: https://libvirt.org/formatdomaincaps.html#cpu-configuration
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from nopal_runtime.errors import TransientError

from . import libvirt_api

if TYPE_CHECKING:
    import libvirt

FEATURE = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
"""A feature's name; all in libvirt's cpu_map/x86_features.xml are like this."""

_ARCH, _MACHINE = "x86_64", "q35"


def cpu_features(connection: libvirt.virConnect, *, kvm: bool) -> tuple[str, ...]:
    """Return the features that a guest can have, sorted; none where libvirt cannot tell.

    Milliseconds, because libvirt keeps what it once learned of QEMU.

    Raises:
        libvirt.libvirtError: the connection is lost.
    """
    api = libvirt_api.load()
    machine = (None, _ARCH, _MACHINE, "kvm" if kvm else "qemu")
    try:
        model = host_model(connection.getDomainCapabilities(*machine, 0))
        if model is None:
            return ()
        expand = api.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
        return required(connection.baselineHypervisorCPU(*machine, [model], expand))
    except api.libvirtError as error:
        if libvirt_api.is_broken_link(error):
            raise
        return ()


def refuse_lacking(wanted: Iterable[str], offered: Iterable[str]) -> None:
    """See that a guest can have the features that it must have.

    Raises:
        TransientError: StartFailed, with those that the host cannot give it.
    """
    lacking = sorted({*wanted} - {*offered})
    if lacking:
        raise TransientError(
            "StartFailed",
            f"a guest cannot have these CPU features on this host any more: {', '.join(lacking)}."
            " Set powerState to Stopped and then to Running: it gets a host that has them",
        )


def host_model(capabilities: str) -> str | None:
    """Return the host-model of libvirt's domain capabilities as a <cpu>; None without one."""
    # libvirt's own output: no entities, no external references.
    mode = ET.fromstring(capabilities).find("cpu/mode[@name='host-model']")  # noqa: S314
    if mode is None or mode.get("supported") != "yes":
        return None
    cpu = ET.Element("cpu")
    cpu.extend(mode)
    return ET.tostring(cpu, encoding="unicode")


def required(cpu: str) -> tuple[str, ...]:
    """Return the features that a <cpu> of libvirt's asks for, sorted."""
    found = ET.fromstring(cpu).iterfind("feature[@policy='require']")  # noqa: S314
    names = {feature.get("name", "") for feature in found}
    return tuple(sorted(name for name in names if FEATURE.fullmatch(name)))
