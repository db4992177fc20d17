# SPDX-License-Identifier: Apache-2.0
"""The kinds that Nopal defines: one registry for the CRDs, the reference and the clients."""

from dataclasses import dataclass

from .base import ApiModel
from .disk import Disk
from .host import Host
from .image import Image
from .names import GROUP, VERSION
from .network import Network
from .virtualmachine import VirtualMachine
from .zone import Zone


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`."""

    name: str
    path: str
    """JSON path inside the object."""
    meaning: str
    type: str = "string"
    wide: bool = False
    """Shown with -o wide only."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object in kube-apiserver.

    From model on, the fields are of our own kinds only. selectable are paths for --field-selector;
    label_name means that an object's name is a DNS label of at most 63 characters.
    """

    kind: str
    plural: str
    namespaced: bool
    group: str = GROUP
    version: str = VERSION
    model: type[ApiModel] | None = None
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    selectable: tuple[str, ...] = ()
    label_name: bool = False

    @property
    def api_version(self) -> str:
        """Return group/version as objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """Return the name that kubectl takes for one object."""
        return self.kind.lower()

    def __str__(self) -> str:
        """Return the kind's name."""
        return self.kind


_READY = '.status.conditions[?(@.type=="Ready")]'
_AGE = Column("Age", ".metadata.creationTimestamp", "Time since it was made", type="date")
_WHY = (
    Column("Reason", f"{_READY}.reason", "Why it is ready or not, in one word", wide=True),
    Column("Message", f"{_READY}.message", "Why it is ready or not", wide=True),
)


def _ready(meaning: str) -> Column:
    return Column("Ready", f"{_READY}.status", meaning)


ZONE = Kind(
    "Zone",
    "zones",
    namespaced=False,
    model=Zone,
    short_names=("nzone",),
    label_name=True,
    columns=(
        _ready("Whether virtual machines can run there"),
        Column("Hosts", ".status.hosts.total", "Hosts of the zone", type="integer"),
        Column("Hosts-Ready", ".status.hosts.ready", "Hosts that are ready", type="integer"),
        Column("CPU-Used", ".status.allocated.cpu", "Assigned virtual CPUs", type="integer"),
        Column("CPU", ".status.capacity.cpu", "Virtual CPUs of all hosts", type="integer"),
        Column("Memory-Used", ".status.allocated.memory", "Assigned memory"),
        Column("Memory", ".status.capacity.memory", "Memory of all hosts"),
        Column(
            "Survives",
            ".status.redundancy.failures",
            "Losses at once that it survives, where spec.redundancy asks for it",
            type="integer",
        ),
        _AGE,
        *_WHY,
    ),
)
HOST = Kind(
    "Host",
    "hosts",
    namespaced=False,
    model=Host,
    short_names=("nhost",),
    columns=(
        _ready("Whether the host can run virtual machines"),
        Column("Zone", ".status.zone", "The zone that it belongs to"),
        Column("Scheduling", ".spec.scheduling", "Whether it takes further virtual machines"),
        Column("CPU", ".status.capacity.cpu", "Host threads", type="integer"),
        Column("Memory", ".status.capacity.memory", "Memory of the host"),
        Column("Acceleration", ".status.acceleration", "KVM or Emulation"),
        _AGE,
        Column("libvirt", ".status.versions.libvirt", "Version of libvirt", wide=True),
        Column("QEMU", ".status.versions.qemu", "Version of QEMU", wide=True),
        Column("Ceph", ".status.versions.ceph", "Version of Ceph's libraries", wide=True),
        Column("Kernel", ".status.versions.kernel", "Version of Linux", wide=True),
        *_WHY,
    ),
    selectable=(".status.zone",),
)
NETWORK = Kind(
    "Network",
    "networks",
    namespaced=False,
    model=Network,
    short_names=("nnet",),
    columns=(
        _ready("Whether every ready host realizes it"),
        Column("Zone", ".spec.zone", "The zone whose hosts realize it"),
        Column("Type", ".spec.type", "Kind of network"),
        Column("Bridge", ".spec.bridge.name", "The Linux bridge"),
        Column("Hosts", ".status.hosts.total", "Hosts of the zone", type="integer"),
        Column("Hosts-Ready", ".status.hosts.ready", "Hosts that realize it", type="integer"),
        _AGE,
        Column("MTU", ".spec.bridge.mtu", "MTU in bytes", type="integer", wide=True),
        *_WHY,
    ),
    selectable=(".spec.zone",),
)
IMAGE = Kind(
    "Image",
    "images",
    namespaced=False,
    model=Image,
    short_names=("nimg",),
    columns=(
        _ready("Whether every pool that needs it has it"),
        Column("Format", ".spec.source.format", "Format of the file"),
        Column(
            "Progress",
            ".status.pools[0].progressPercent",
            "How much of the file is there, in percent, in the first pool",
            type="integer",
        ),
        Column("Size", ".status.pools[0].size", "Virtual size in bytes"),
        _AGE,
        Column("URL", ".spec.source.url", "Where the bytes come from", wide=True),
        *_WHY,
    ),
)
DISK = Kind(
    "Disk",
    "disks",
    namespaced=True,
    model=Disk,
    short_names=("ndisk",),
    columns=(
        _ready("Whether the RBD image exists"),
        Column("Size", ".spec.size", "Size as asked for"),
        Column("VM", ".status.claim.vmName", "The virtual machine that may use it"),
        Column("Zone", ".spec.zone", "The zone that it lives in"),
        Column("Source", ".spec.source.image.name", "The Image that it started from"),
        _AGE,
        Column("Pool", ".status.location.pool", "The RBD pool", wide=True),
        Column("Image", ".status.location.image", "The RBD image", wide=True),
        Column("Reclaim", ".spec.reclaimPolicy", "What a deletion does to the data", wide=True),
        *_WHY,
    ),
    selectable=(".status.executor.nodeName", ".spec.zone"),
)
VIRTUAL_MACHINE = Kind(
    "VirtualMachine",
    "virtualmachines",
    namespaced=True,
    model=VirtualMachine,
    short_names=("vm", "vms"),
    label_name=True,
    columns=(
        _ready("Whether it runs as asked"),
        Column("Power", ".status.power", "What the host sees"),
        Column("Node", ".status.assignment.nodeName", "The node that it is assigned to"),
        Column("Cores", ".spec.cpu.cores", "Virtual CPUs", type="integer"),
        Column("Memory", ".spec.memory.size", "Memory as asked for"),
        _AGE,
        Column("Zone", ".spec.zone", "The zone that it runs in", wide=True),
        Column("Restarts", ".status.restartCount", "Restarts by itself", "integer", wide=True),
        *_WHY,
    ),
    selectable=(".status.assignment.nodeName", ".spec.zone"),
)

KINDS = (ZONE, HOST, NETWORK, IMAGE, DISK, VIRTUAL_MACHINE)

NODE = Kind("Node", "nodes", namespaced=False, group="", version="v1")
SECRET = Kind("Secret", "secrets", namespaced=True, group="", version="v1")
NAMESPACE = Kind("Namespace", "namespaces", namespaced=False, group="", version="v1")
LEASE = Kind("Lease", "leases", namespaced=True, group="coordination.k8s.io", version="v1")
