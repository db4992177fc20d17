# SPDX-License-Identifier: Apache-2.0
"""The few facts of each virtual machine and disk that plans of *other* objects ask for.

They are what the world's indexes hold, so that 10,000 parsed objects need not stay in memory.
"""

from dataclasses import dataclass

from nopal_api import names
from nopal_api.disk import Disk
from nopal_api.virtualmachine import VirtualMachine, VirtualMachineStatus
from nopal_operator.candidates import candidate
from nopal_operator.demand import Demand
from nopal_operator.schedulers import Hold
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import Record

# Why a guest went down without having been asked to, and the restart policies that leave it so.
_LEFT_DOWN = {
    "GuestShutdown": ("Never", "OnCrash"),
    "Crashed": ("Never",),
    "Unknown": ("Never",),
}


@dataclass(frozen=True, slots=True)
class VmFacts:
    """One virtual machine, as others see it."""

    key: Key
    uid: str
    created: str
    zone: str
    hold: Hold | None
    """The room that it holds, and where."""
    epoch: int
    """Epoch of its assignment, 0 without one."""
    waiting: bool
    """It is to run and waits for a host."""
    disks: tuple[Key, ...]
    """The Disks that its spec names."""
    networks: frozenset[str]
    """The Networks that its spec names or its guest is connected to."""
    macs: frozenset[tuple[str, str]]
    """Its MAC addresses, each with the Network."""
    looks_around: bool
    """A required rule may let it in once others have come."""

    @property
    def node(self) -> str:
        """Return the host that it holds room on; empty if it holds none."""
        return self.hold.host if self.hold is not None else ""


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """One disk, as others see it."""

    key: Key
    uid: str
    zone: str
    pool: str | None
    image: str
    """Name of the Image that it starts from; empty if it starts empty."""
    claim_uid: str
    """UID of the virtual machine that claims it; empty if none does."""
    claim_node: str
    claim_epoch: int
    executor: str
    """Node of the executor; empty if it has none."""
    located: bool
    """It is decided where it lives and what it is cloned from."""
    realized: bool
    """Its RBD image exists."""
    deleting: bool


def is_released(status: VirtualMachineStatus) -> bool:
    """Tell whether the assigned host has let go of the assignment, for good."""
    assignment = status.assignment
    return assignment is not None and (status.released_epoch or 0) >= assignment.epoch


def is_live(status: VirtualMachineStatus) -> bool:
    """Tell whether a host may run the guest now."""
    return status.assignment is not None and not is_released(status)


def left_down(vm: VirtualMachine) -> str:
    """Return why a released guest stays down until it was stopped on request; empty if it does not.

    A host releases a guest that went down by itself only if the restart policy leaves it so; the
    user's way out is powerState Stopped, which the host answers with lastExit Requested.
    """
    exit_ = vm.status.last_exit
    if exit_ is None or not is_released(vm.status):
        return ""
    return exit_.reason if vm.spec.restart_policy in _LEFT_DOWN.get(exit_.reason, ()) else ""


def macs_of(uid: str, vm: VirtualMachine) -> frozenset[tuple[str, str]]:
    """Return (network, MAC address) of every interface, as asked for and as assigned."""
    found = {
        (interface.network.name, interface.mac or names.mac_address(uid, interface.name))
        for interface in vm.spec.interfaces
    }
    if is_live(vm.status) and vm.status.assignment is not None:
        found.update((i.network, i.mac) for i in vm.status.assignment.interfaces)
    return frozenset(found)


def vm_facts(record: Record, vm: VirtualMachine) -> VmFacts:
    """Return the facts of a virtual machine."""
    assignment = vm.status.assignment
    live = assignment is not None and not is_released(vm.status)
    placement = vm.spec.placement
    networks = {interface.network.name for interface in vm.spec.interfaces}
    if live and assignment is not None:
        networks.update(interface.network for interface in assignment.interfaces)
    return VmFacts(
        key=record.key,
        uid=record.uid,
        created=record.created,
        zone=vm.spec.zone,
        hold=_hold(record, vm) if live else None,
        epoch=assignment.epoch if assignment else 0,
        waiting=not live
        and not record.deleting
        and vm.spec.power_state == "Running"
        and not left_down(vm),
        disks=tuple(Key("Disk", record.namespace, d.disk.name) for d in vm.spec.disks),
        networks=frozenset(networks),
        macs=macs_of(record.uid, vm),
        looks_around=any(r.weight is None for r in (*placement.affinity, *placement.spread)),
    )


def _hold(record: Record, vm: VirtualMachine) -> Hold | None:
    assignment = vm.status.assignment
    if assignment is None:
        return None
    seen = candidate(
        record,
        vm,
        demand=Demand.assigned(assignment),
        networks=(interface.network for interface in assignment.interfaces),
    )
    return Hold(seen, assignment.node_name, assignment.epoch)


def disk_facts(record: Record, disk: Disk) -> DiskFacts:
    """Return the facts of a disk."""
    source, claim, executor = disk.spec.source, disk.status.claim, disk.status.executor
    return DiskFacts(
        key=record.key,
        uid=record.uid,
        zone=disk.spec.zone,
        pool=disk.spec.pool,
        image=source.image.name if source and source.image else "",
        claim_uid=claim.vm_uid if claim else "",
        claim_node=claim.node_name if claim else "",
        claim_epoch=claim.epoch if claim else 0,
        executor=executor.node_name if executor else "",
        located=disk.status.location is not None,
        realized=disk.status.size is not None,
        deleting=record.deleting,
    )
