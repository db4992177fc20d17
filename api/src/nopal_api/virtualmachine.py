# SPDX-License-Identifier: Apache-2.0
"""VirtualMachine: what a user wants to run, and where it runs."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from .base import (
    ApiModel,
    DnsLabel,
    Epoch,
    Generation,
    MacAddress,
    ObjectName,
    Quantity,
    Rule,
    Time,
    Uid,
    crd,
    within,
)
from .conditions import Conditions
from .countables import Countables, Counted
from .placement import Availability, HostLoss, Placement, PlacementRules
from .selectors import LabelKey, LabelValue
from .shared import CpuFeature, Location, NameRef, Parent

PowerState = Literal["Running", "Stopped"]
Power = Literal["Starting", "Running", "Stopping", "Stopped", "Paused", "Crashed", "Unknown"]
RestartPolicy = Literal["Always", "OnCrash", "Never"]
ExitReason = Literal["Requested", "GuestShutdown", "Crashed", "Deleted", "Unknown"]


VmDiskName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=20),
]
"""A disk's name inside its VM: virtio carries 20 bytes of a serial."""

CpuFeatures = Annotated[
    tuple[CpuFeature, ...], Field(max_length=64, json_schema_extra=crd(list_set=True))
]


LABEL_LIMIT = 64
"""So many labels of a virtual machine count for the rules of others."""


class Cpu(ApiModel):
    """Processors of the virtual machine."""

    cores: Annotated[int, Field(ge=1, le=255)]
    """Virtual CPUs that the guest sees."""
    features: CpuFeatures = ()
    """CPU features that the guest must have, by libvirt's names, for example avx2: it gets a host
    only if that one's status.cpuFeatures has them all. It may have others besides."""


class Memory(ApiModel):
    """Memory of the virtual machine."""

    size: Annotated[Quantity, Field(json_schema_extra=crd(rules=within("16Mi", "16Ti")))]
    """Memory that the guest sees, for example 2Gi: between 16Mi and 16Ti, rounded up to whole
    MiB."""


class VmDisk(ApiModel):
    """A disk of the virtual machine."""

    name: VmDiskName
    """Name inside this virtual machine, at most 20 characters. The guest sees it as the disk's
    serial: Linux has it as /dev/disk/by-id/virtio-NAME."""
    disk: NameRef
    """The Disk, of the same namespace and zone. One virtual machine at a time has it."""
    boot_order: Annotated[int, Field(ge=1, le=64)] | None = None
    """The firmware tries 1 first. When no disk has one, the first disk boots."""


class Interface(ApiModel):
    """A network interface of the virtual machine."""

    name: DnsLabel
    """Name inside this virtual machine."""
    network: NameRef
    """The Network that it connects to."""
    mac: MacAddress | None = None
    """MAC address, lower case, locally administered. Left out, Nopal derives one that stays the
    same for the life of the virtual machine."""


class SecretKeyRef(ApiModel):
    """Points to one key of a Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: Annotated[
        str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)
    ]
    """Key inside the Secret."""


class CloudInit(ApiModel):
    """What the guest's cloud-init is given, as a NoCloud seed."""

    model_config = ConfigDict(
        json_schema_extra=crd(
            rules=(
                Rule(
                    "has(self.userData) != has(self.userDataSecretRef)",
                    "exactly one of userData and userDataSecretRef must be given",
                    field=".userData",
                ),
            )
        )
    )

    user_data: Annotated[str, StringConstraints(min_length=1, max_length=65536)] | None = None
    """user-data, for example a document that begins with #cloud-config. Everybody who may read the
    virtual machine may read it: put passwords and tokens in a Secret."""
    user_data_secret_ref: SecretKeyRef | None = None
    """user-data from a Secret of the same namespace: for passwords and tokens."""
    network_data: Annotated[str, StringConstraints(min_length=1, max_length=65536)] | None = None
    """network-config in cloud-init's format, version 1 or 2; left out, the guest asks DHCP."""


class Shutdown(ApiModel):
    """How the virtual machine is stopped."""

    grace_period_seconds: Annotated[int, Field(ge=0, le=3600)] = 60
    """The guest is asked to shut down; after this time, in seconds, it is powered off. 0 powers
    off at once."""


class VirtualMachineSpec(ApiModel):
    """What the virtual machine is to be."""

    model_config = ConfigDict(
        json_schema_extra=crd(
            rules=(
                Rule(
                    "!has(self.disks) || self.disks.all(a,"
                    " self.disks.exists_one(b, b.disk.name == a.disk.name))",
                    "disks must not name the same Disk twice",
                    field=".disks",
                ),
                Rule(
                    "!has(self.disks) || self.disks.all(a, !has(a.bootOrder) ||"
                    " self.disks.exists_one(b, has(b.bootOrder) && b.bootOrder == a.bootOrder))",
                    "disks must not have the same bootOrder twice",
                    field=".disks",
                ),
                Rule(
                    "!has(self.interfaces) || self.interfaces.all(a, !has(a.mac) ||"
                    " self.interfaces.exists_one(b, has(b.mac) && b.mac == a.mac))",
                    "interfaces must not have the same mac twice",
                    field=".interfaces",
                ),
            )
        )
    )

    zone: Annotated[DnsLabel, Field(json_schema_extra=crd(immutable="zone cannot change"))]
    """The zone that it runs in."""
    power_state: PowerState = "Running"
    """Running or Stopped. Stopping keeps the disks, and frees the host's CPU and memory."""
    restart_policy: RestartPolicy = "Always"
    """What to do when the guest goes down by itself. Always: start it again. OnCrash: start it
    again unless it shut itself down. Never: leave it; set powerState to Stopped and then to Running
    to start it again."""
    cpu: Cpu
    """Processors. A change takes effect at the next start after powerState Stopped: until then the
    zone counts what was assigned, also in the room that it keeps on other hosts."""
    memory: Memory
    """Memory. A change takes effect at the next start after powerState Stopped: until then the zone
    counts what was assigned, also in the room that it keeps on other hosts."""
    disks: Annotated[
        tuple[VmDisk, ...],
        Field(max_length=16, json_schema_extra=crd(list_map=("name",))),
    ] = ()
    """Disks, in the order in which the guest sees them. Each points to a Disk of the same
    namespace; the virtual machine waits until all are there. A change takes effect at the next
    start after powerState Stopped: a guest that is restarted by itself has those it had."""
    interfaces: Annotated[
        tuple[Interface, ...],
        Field(max_length=8, json_schema_extra=crd(list_map=("name",))),
    ] = ()
    """Network interfaces, in the order in which the guest sees them. Each points to a Network of
    the same zone. A change takes effect at the next start after powerState Stopped."""
    cloud_init: CloudInit | None = None
    """What the guest's cloud-init is given, as a small read-only disk (NoCloud). Left out, there is
    no such disk. A change takes effect at every start, one after a crash included; cloud-init does
    most of its work only at the guest's first."""
    resources: Countables = Field(default_factory=dict)
    """What it takes of its host's spec.resources, by name and number, for example
    {example.com/licence: 1}. It is counted, and nothing is attached to the guest. A change takes
    effect at the next start after powerState Stopped."""
    placement: Placement = Placement()
    """Where it wants to be. Counts when it gets a host, and stays as it was then until the next
    start after powerState Stopped; so do metadata.labels, by which rules of others select (the
    first 64 in the order of their keys). What has a host is not moved."""
    availability: Availability = Availability()
    """What becomes of it when its host is lost."""
    shutdown: Shutdown = Shutdown()
    """How it is stopped, when powerState becomes Stopped or it is deleted."""


class AssignedDisk(ApiModel):
    """A disk as the assigned host is to attach it."""

    name: VmDiskName
    """Name inside the virtual machine."""
    disk_name: ObjectName
    """Name of the Disk."""
    uid: Uid
    """UID of the Disk."""
    location: Location
    """The RBD image."""
    size: Annotated[int, Field(ge=1, le=2**53)]
    """Size in bytes."""
    boot_order: Annotated[int, Field(ge=1, le=64)] | None = None
    """The firmware tries 1 first."""
    parent: Parent | None = None
    """The snapshot to clone it from, if it does not exist yet."""


class AssignedInterface(ApiModel):
    """An interface as the assigned host is to connect it."""

    name: DnsLabel
    """Name inside the virtual machine."""
    network: ObjectName
    """Name of the Network."""
    bridge: Annotated[str, StringConstraints(max_length=15)]
    """The Linux bridge."""
    mac: Annotated[str, StringConstraints(max_length=17)]
    """MAC address."""
    mtu: Annotated[int, Field(ge=0, le=65535)] | None = None
    """MTU in bytes, if the Network sets one."""


class Assignment(ApiModel):
    """Where the virtual machine belongs, with all that its host needs to start it."""

    node_name: ObjectName
    """The Kubernetes node of the host."""
    epoch: Epoch
    """Counts the assignments; a host starts the guest only at the newest one."""
    disks: Annotated[
        tuple[AssignedDisk, ...], Field(max_length=16, json_schema_extra=crd(list_map=("name",)))
    ] = ()
    """The disks, claimed for this virtual machine."""
    interfaces: Annotated[
        tuple[AssignedInterface, ...],
        Field(max_length=8, json_schema_extra=crd(list_map=("name",))),
    ] = ()
    """The interfaces with their MAC addresses."""
    cores: Annotated[int, Field(ge=1, le=255)]
    """Virtual CPUs that room was made for."""
    memory: Annotated[int, Field(ge=1, le=2**53)]
    """Guest memory in bytes that room was made for."""
    cpu_features: CpuFeatures = ()
    """CPU features that the host had, and without which it starts no guest."""
    resources: Counted = Field(default_factory=dict)
    """What it takes of the host's spec.resources."""
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=LABEL_LIMIT)] = Field(
        default_factory=dict
    )
    """Its labels of then, by which rules of others select."""
    rules: PlacementRules | None = None
    """Its rules of then: they count while it has this host, and where it could restart."""
    host_loss: HostLoss = "Restart"
    """Whether room is kept for it on other hosts."""


class LastExit(ApiModel):
    """How the guest last went down."""

    reason: ExitReason
    """Requested, GuestShutdown (by itself), Crashed (QEMU died), Deleted or Unknown (it happened
    while nobody watched)."""
    time: Time
    """When it was seen, RFC 3339."""


class VirtualMachineStatus(ApiModel):
    """Where the virtual machine is and how it does.

    The operator writes assignment and the condition Scheduled; the assigned host writes the rest.
    """

    assignment: Assignment | None = None
    """Where it belongs."""
    observed_generation: Generation | None = None
    """The metadata.generation that the host has acted on."""
    power: Power | None = None
    """What the host sees."""
    observed_epoch: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """The assignment's epoch that power was seen at."""
    released_epoch: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """The host reported that the guest is stopped at this epoch and will never start it at this
    epoch again: only then may another assignment be made."""
    restart_count: Annotated[int, Field(ge=0, le=2**31)] | None = None
    """How often the host started it again by itself at this epoch."""
    last_exit: LastExit | None = None
    """How the guest last went down."""
    conditions: Conditions = ()
    """Scheduled, DisksReady, Ready."""


class VirtualMachine(ApiModel):
    """A virtual machine: what a user wants to run, and where it runs.

    The operator chooses a host of the zone, claims the disks and writes status.assignment; that
    host's daemon starts the guest and reports how it does. The virtual machine's name is the
    guest's host name.
    """

    spec: VirtualMachineSpec
    """What it is to be."""
    status: VirtualMachineStatus = VirtualMachineStatus()
    """Where it is and how it does."""
