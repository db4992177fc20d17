# SPDX-License-Identifier: Apache-2.0
"""What a virtual machine needs before a host is chosen: each found, or named with its remedy."""

from dataclasses import dataclass

from nopal_api import names
from nopal_api.disk import Disk
from nopal_api.network import Network
from nopal_api.quantity import whole_mib
from nopal_api.virtualmachine import (
    AssignedDisk,
    AssignedInterface,
    Interface,
    VirtualMachine,
    VmDisk,
)
from nopal_api.zone import Zone
from nopal_operator.reconcile.plan import UnmetError
from nopal_operator.reconcile.sites import Site, site_of, usable_zone
from nopal_operator.world import Known, World
from nopal_runtime.kube.api import Key


@dataclass(frozen=True, slots=True)
class Needs:
    """All that a virtual machine needs, found."""

    zone: Known[Zone]
    disks: tuple[tuple[Known[Disk], Site], ...]
    assigned_disks: tuple[AssignedDisk, ...]
    interfaces: tuple[AssignedInterface, ...]

    @property
    def networks(self) -> tuple[str, ...]:
        """Return the networks that the host must realize, by name."""
        return tuple(sorted({interface.network for interface in self.interfaces}))


def needs_of(world: World, vm: Known[VirtualMachine]) -> Needs:
    """Return what the virtual machine needs.

    Raises:
        UnmetError: the first thing that is missing; the reason and the message name it.
    """
    zone = usable_zone(world, vm.model.spec.zone, vm.record.namespace)
    interfaces = tuple(_interface(world, vm, wanted) for wanted in vm.model.spec.interfaces)
    disks = tuple(_disk(world, vm, wanted) for wanted in vm.model.spec.disks)
    assigned = tuple(
        AssignedDisk(
            name=wanted.name,
            disk_name=disk.record.name,
            uid=disk.record.uid,
            location=site.location,
            size=whole_mib(disk.model.spec.size),
            boot_order=wanted.boot_order,
            parent=site.parent,
        )
        for wanted, (disk, site) in zip(vm.model.spec.disks, disks, strict=True)
    )
    return Needs(zone, disks, assigned, interfaces)


def _disk(world: World, vm: Known[VirtualMachine], wanted: VmDisk) -> tuple[Known[Disk], Site]:
    name = wanted.disk.name
    disk = world.disk(Key("Disk", vm.record.namespace, name))
    if disk is None:
        raise UnmetError(
            "DiskNotFound",
            f'Disk "{name}" not found in namespace "{vm.record.namespace}": create it.',
        )
    claim = disk.model.status.claim
    if claim is not None and claim.vm_uid != vm.record.uid:
        raise UnmetError("DiskInUse", _in_use(vm, name, claim.vm_name))
    if disk.record.deleting:
        raise UnmetError(
            "DiskNotFound", f'Disk "{name}" is being deleted: create it again when it is gone.'
        )
    if disk.model.spec.zone != vm.model.spec.zone:
        raise UnmetError(
            "DiskInOtherZone",
            f'Disk "{name}" is in zone "{disk.model.spec.zone}", the virtual machine in zone'
            f' "{vm.model.spec.zone}": use a Disk of its own zone.',
        )
    return disk, site_of(world, disk)


def _in_use(vm: Known[VirtualMachine], disk: str, holder: str) -> str:
    if holder == vm.record.name:
        return (
            f'Disk "{disk}" is still in use by an earlier VirtualMachine "{holder}" of the same'
            " name: it is free when that one's host has released it."
        )
    return (
        f'Disk "{disk}" is in use by VirtualMachine "{holder}": delete that one, or stop it and'
        " take the disk out of its spec."
    )


def _interface(world: World, vm: Known[VirtualMachine], wanted: Interface) -> AssignedInterface:
    network = _network(world, vm, wanted.network.name)
    mac = wanted.mac or names.mac_address(vm.record.uid, wanted.name)
    _check_mac(world, vm, network=wanted.network.name, mac=mac)
    bridge = network.model.spec.bridge
    return AssignedInterface(
        name=wanted.name,
        network=wanted.network.name,
        bridge=bridge.name if bridge else "",
        mac=mac,
        mtu=bridge.mtu if bridge else None,
    )


def _network(world: World, vm: Known[VirtualMachine], name: str) -> Known[Network]:
    network = world.network(name)
    if network is None or network.record.deleting:
        state = "not found: create it" if network is None else "is being deleted: use another"
        raise UnmetError("NetworkNotFound", f'Network "{name}" {state}.')
    if network.model.spec.zone != vm.model.spec.zone:
        raise UnmetError(
            "NetworkInOtherZone",
            f'Network "{name}" is in zone "{network.model.spec.zone}", the virtual machine in zone'
            f' "{vm.model.spec.zone}": use a Network of its own zone.',
        )
    if not network.model.spec.allowed_namespaces.allows(vm.record.namespace):
        raise UnmetError(
            "NamespaceNotAllowed",
            f'Network "{name}" does not allow namespace "{vm.record.namespace}": add it to the'
            " network's spec.allowedNamespaces.names.",
        )
    return network


def _check_mac(world: World, vm: Known[VirtualMachine], *, network: str, mac: str) -> None:
    """Refuse a MAC address that another virtual machine has in the same network.

    One that holds room on a host has it; among those that wait the oldest gets it.
    """
    own = (vm.record.created, vm.record.uid)
    for rival in world.with_mac(network, mac):
        if rival.uid == vm.record.uid:
            continue
        if rival.node or (rival.waiting and (rival.created, rival.uid) < own):
            raise UnmetError(
                "MACConflict",
                f'MAC address {mac} is used in Network "{network}" by VirtualMachine'
                f' "{rival.key.namespace}/{rival.key.name}": give one of the two another mac.',
            )
