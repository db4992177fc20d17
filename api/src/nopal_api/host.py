# SPDX-License-Identifier: Apache-2.0
"""Host: one node as a place for virtual machines. Its daemon makes it."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import ApiModel, Bytes, DnsLabel, ObjectName, Uid, crd
from .conditions import Conditions
from .countables import Countables
from .redundancy import Failures
from .shared import CpuFeature, Resources

Word = Annotated[str, StringConstraints(max_length=128)]


class HostSpec(ApiModel):
    """What a person decides about a host."""

    scheduling: Literal["Enabled", "Disabled", "Draining"] = "Enabled"
    """Disabled: no further virtual machine is assigned to the host; those there stay. Draining: the
    same, and those there are to leave; nothing moves them by itself yet, stop and start them."""
    resources: Countables = Field(default_factory=dict)
    """What else virtual machines may take of the host, by name and number, for example
    {example.com/licence: 4}. Nopal counts it and places by it, and gives no device to a guest. What
    is there already stays when a number is lowered."""


class HostVersions(ApiModel):
    """Versions of what the host runs."""

    libvirt: Word = ""
    """libvirt, for example 9.0.0."""
    qemu: Word = ""
    """QEMU, for example 7.2.9."""
    ceph: Word = ""
    """Ceph, for example 16.2.15."""
    kernel: Word = ""
    """Linux, for example 6.1.0-18-amd64."""


class HostNetwork(ApiModel):
    """One network as this host realizes it."""

    name: ObjectName
    """Name of the Network."""
    bridge: Annotated[str, StringConstraints(max_length=15)] = ""
    """The Linux bridge."""
    mtu: Annotated[int, Field(ge=0, le=65535)] = 0
    """The bridge's MTU in bytes."""
    ready: Literal["True", "False"]
    """Whether virtual machines can use it here."""
    message: Annotated[str, StringConstraints(max_length=512)] = ""
    """Why not, and what to do about it."""


class HostPool(ApiModel):
    """One pool of the zone as this host sees it in Ceph.

    Figures that change by themselves are rounded, so that a quiet cluster writes nothing.
    """

    name: DnsLabel
    """Name of the pool inside the zone."""
    size: Annotated[int, Field(ge=1, le=64)]
    """Copies of each object (the pool's size)."""
    min_size: Annotated[int, Field(ge=1, le=64)]
    """Copies without which Ceph refuses to write (the pool's min_size)."""
    failure_domain: Annotated[str, StringConstraints(max_length=64)]
    """What the pool's CRUSH rule keeps copies apart by: osd, host, rack."""
    domains: Annotated[int, Field(ge=0, le=100_000)]
    """How many of these have OSDs."""
    copies_together: Annotated[int, Field(ge=1, le=64)]
    """Copies of one object that may be on one host: 1 unless failureDomain is osd."""
    raw_total: Bytes
    """Size of all OSDs of the cluster."""
    raw_used_percent: Annotated[int, Field(ge=0, le=100)]
    """How full they are, rounded up to a multiple of 5."""
    raw_space: Failures
    """Losses of the largest failureDomain (hosts, where that is osd) after which the rest has space
    for the copies that are made anew: see Zone."""


class HostStatus(ApiModel):
    """What the daemon sees of its host."""

    zone: DnsLabel | None = None
    """The zone that the host belongs to; written by the operator."""
    node_uid: Uid | None = Field(default=None, alias="nodeUID")
    """UID of the Kubernetes Node that the daemon registered for."""
    boot_id: Annotated[str, StringConstraints(max_length=36)] | None = Field(
        default=None, alias="bootID"
    )
    """The kernel's boot ID: another one means that no domain of before is left."""
    capacity: Resources | None = None
    """Host threads and memory, all of it."""
    versions: HostVersions | None = None
    """Versions of what the host runs."""
    acceleration: Literal["KVM", "Emulation"] | None = None
    """KVM, or Emulation where KVM was tried and does not work: guests then run slowly."""
    cpu_features: Annotated[
        tuple[CpuFeature, ...], Field(max_length=1024, json_schema_extra=crd(list_set=True))
    ] = ()
    """CPU features that a guest can have here, by libvirt's names, in the order of the alphabet;
    none where libvirt cannot tell. By emulation these are what QEMU emulates."""
    ceph_addresses: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=45)], ...],
        Field(max_length=16, json_schema_extra=crd(list_set=True)),
    ] = ()
    """Addresses of this host's Ceph clients inside the zone's storageCIDRs."""
    networks: Annotated[
        tuple[HostNetwork, ...], Field(max_length=256, json_schema_extra=crd(list_map=("name",)))
    ] = ()
    """The networks of the zone as this host realizes them."""
    pools: Annotated[
        tuple[HostPool, ...], Field(max_length=16, json_schema_extra=crd(list_map=("name",)))
    ] = ()
    """The pools of the zone, as far as Ceph has told this host about them."""
    conditions: Conditions = ()
    """Ready, and one condition for each preflight check with its remedy."""


class Host(ApiModel):
    """One node as a place for virtual machines, with the name of that node.

    Its daemon makes it; do not create it by hand. Its heartbeat is the Lease of the same name in
    the namespace nopal-hosts.
    """

    spec: HostSpec = HostSpec()
    """What a person decides."""
    status: HostStatus = HostStatus()
    """What the daemon sees."""
