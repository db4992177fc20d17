# SPDX-License-Identifier: Apache-2.0
"""Host: one node as a place for virtual machines. Its daemon makes it."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import ApiModel, DnsLabel, ObjectName, Uid, crd
from .conditions import Conditions
from .shared import Resources

Word = Annotated[str, StringConstraints(max_length=128)]


class HostSpec(ApiModel):
    """What a person decides about a host."""

    scheduling: Literal["Enabled", "Disabled"] = "Enabled"
    """Disabled: no further virtual machine is assigned to the host; those there stay."""


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
    ceph_addresses: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=45)], ...],
        Field(max_length=16, json_schema_extra=crd(list_set=True)),
    ] = ()
    """Addresses of this host's Ceph clients inside the zone's storageCIDRs."""
    networks: Annotated[
        tuple[HostNetwork, ...], Field(max_length=256, json_schema_extra=crd(list_map=("name",)))
    ] = ()
    """The networks of the zone as this host realizes them."""
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
