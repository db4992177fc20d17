# SPDX-License-Identifier: Apache-2.0
"""What the node daemon's pure plans take: views of objects and of a host, one change at a time."""

from dataclasses import replace
from typing import Any

from nopal_api.disk import DiskSpec, DiskStatus
from nopal_api.names import disk_image
from nopal_api.virtualmachine import VirtualMachineSpec, VirtualMachineStatus
from nopal_node.hypervisor.base import Domain, DomainState, Exit, Ownership
from nopal_node.reconcile.disk import DiskView
from nopal_node.reconcile.memory import VmMemory
from nopal_node.reconcile.virtual_machine import Seen, VmView
from support import objects

NODE, OTHER = "node-1", "node-2"
UID = "00000000-0000-4000-8000-000000000001"
DISK_UID = "00000000-0000-4000-8000-000000000002"
TIME = "2026-01-01T00:00:00Z"
LOCATION = {"fsid": objects.FSID, "pool": "vms", "image": disk_image(DISK_UID)}


def assignment(*, epoch: int = 1, node: str = NODE, **more: Any) -> dict[str, Any]:
    return {
        "nodeName": node,
        "epoch": epoch,
        "cores": 1,
        "memory": 2**30,
        "disks": [
            {
                "name": "root",
                "diskName": "disk1",
                "uid": DISK_UID,
                "location": LOCATION,
                "size": 2**30,
            }
        ],
        "interfaces": [
            {"name": "eth0", "network": "n1", "bridge": "br0", "mac": "02:00:00:00:00:01"}
        ],
        **more,
    }


def vm(*, deleting: bool = False, generation: int = 3, status: Any = None, **spec: Any) -> VmView:
    """A VM that is assigned to this host at epoch 1, unless status says otherwise."""
    status = {"assignment": assignment()} if status is None else status
    return VmView(
        namespace="default",
        name="vm1",
        uid=UID,
        generation=generation,
        deleting=deleting,
        spec=VirtualMachineSpec.model_validate(objects.vm(**spec)["spec"]),
        status=VirtualMachineStatus.model_validate(status),
    )


def told(power: str, *, epoch: int = 1, **more: Any) -> dict[str, Any]:
    """A status that this host has told before, at that epoch."""
    return {"assignment": assignment(), "power": power, "observedEpoch": epoch} | more


def domain(
    *, epoch: int = 1, state: DomainState = DomainState.RUNNING, io_error: bool = False
) -> Domain:
    owner = Ownership(
        vm_uid=UID,
        epoch=epoch,
        cluster_uid="cluster",
        host_uid="host",
        namespace="default",
        name="vm1",
    )
    return Domain(ownership=owner, state=state, pid=1, io_error=io_error)


def seen(
    running: Domain | None = None,
    *,
    last_exit: Exit | None = None,
    memory: VmMemory | None = None,
    now: float = 1000.0,
) -> Seen:
    return Seen(
        node_name=NODE,
        domain=running,
        last_exit=last_exit,
        memory=memory or VmMemory(epoch=1),
        now=now,
        time=TIME,
        backoff_base=10.0,
    )


def disk(*, deleting: bool = False, status: Any = None, **spec: Any) -> DiskView:
    """A Disk whose executor this host is, made and free, unless status says otherwise."""
    default = {"location": LOCATION, "executor": executor(), "size": str(2**30)}
    return DiskView(
        namespace="default",
        name="disk1",
        uid=DISK_UID,
        generation=2,
        deleting=deleting,
        spec=DiskSpec.model_validate(objects.disk(**spec)["spec"]),
        status=DiskStatus.model_validate(default if status is None else {**default, **status}),
    )


def executor(*, node: str = NODE, epoch: int = 4) -> dict[str, Any]:
    return {"nodeName": node, "epoch": epoch}


def claim(*, node: str = NODE, epoch: int = 4) -> dict[str, Any]:
    return {"vmName": "vm1", "vmUID": UID, "nodeName": node, "epoch": epoch}


def with_memory(view: Seen, **changes: Any) -> Seen:
    return replace(view, memory=replace(view.memory, **changes))
