# SPDX-License-Identifier: Apache-2.0
"""The kinds that Nopal defines: one registry for the CRD generator, the reference and the clients."""

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
class Kind:
    """A kind of object in kube-apiserver."""

    kind: str
    plural: str
    namespaced: bool
    group: str = GROUP
    version: str = VERSION
    model: type[ApiModel] | None = None

    @property
    def api_version(self) -> str:
        """Return group/version as objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        """Return the kind's name."""
        return self.kind


ZONE = Kind("Zone", "zones", namespaced=False, model=Zone)
HOST = Kind("Host", "hosts", namespaced=False, model=Host)
NETWORK = Kind("Network", "networks", namespaced=False, model=Network)
IMAGE = Kind("Image", "images", namespaced=False, model=Image)
DISK = Kind("Disk", "disks", namespaced=True, model=Disk)
VIRTUAL_MACHINE = Kind("VirtualMachine", "virtualmachines", namespaced=True, model=VirtualMachine)

KINDS = (ZONE, HOST, NETWORK, IMAGE, DISK, VIRTUAL_MACHINE)

NODE = Kind("Node", "nodes", namespaced=False, group="", version="v1")
SECRET = Kind("Secret", "secrets", namespaced=True, group="", version="v1")
NAMESPACE = Kind("Namespace", "namespaces", namespaced=False, group="", version="v1")
LEASE = Kind("Lease", "leases", namespaced=True, group="coordination.k8s.io", version="v1")
