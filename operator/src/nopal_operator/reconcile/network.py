# SPDX-License-Identifier: Apache-2.0
"""Network: tell where it is realized; let it go when no host has it any more."""

from nopal_api.conditions import Condition, condition
from nopal_api.host import Host
from nopal_api.names import FINALIZER, MANAGER_OPERATOR
from nopal_api.network import Network
from nopal_api.zone import HostCount
from nopal_operator.places import not_ready
from nopal_operator.reconcile.plan import (
    ApplyStatus,
    Plan,
    remove_finalizer,
    repair_finalizer,
    wire,
)
from nopal_operator.world import Known, World
from nopal_runtime.kube.api import Key

_NAMED = 3
"""So many hosts or virtual machines are named in a message."""


def plan(world: World, key: Key, *, now: float) -> Plan:
    """Return the next steps for a network.

    Args:
        world: what is known.
        key: the network.
        now: seconds of the monotonic clock that the world's times are of.
    """
    network = world.network(key.name)
    if network is None:
        return Plan()
    if network.record.deleting:
        return _delete(world, network)
    repair = repair_finalizer(network.record)
    if repair is not None:
        return Plan((repair,))
    return Plan((_show(world, network, _ready(world, network)),))


def _delete(world: World, network: Known[Network]) -> Plan:
    if FINALIZER not in network.record.finalizers:
        return Plan()
    name = network.record.name
    generation = network.record.generation
    guests = _guests(world, name)
    hosts = [h.record.name for h in world.hosts() if _state(h, name) is not None]
    if guests:
        message = f"virtual machines are connected to it: {_some(guests)}. Stop or delete them."
        said = condition("Deleting", False, reason="InUse", message=message, generation=generation)
        return Plan((_show(world, network, said),))
    if hosts:
        message = f"removed from these hosts: {_some(hosts)}."
        said = condition(
            "Deleting", True, reason="Removing", message=message, generation=generation
        )
        return Plan((_show(world, network, said),))
    return Plan((remove_finalizer(network.record),))


def _guests(world: World, network: str) -> list[str]:
    """Return the virtual machines that a host may run with an interface in the network."""
    found = []
    for key in world.using_network(network):
        facts, vm = world.vm_facts(key), world.vm(key)
        assignment = vm.model.status.assignment if vm else None
        if facts is None or not facts.node or assignment is None:
            continue
        if any(interface.network == network for interface in assignment.interfaces):
            found.append(f"{key.namespace}/{key.name}")
    return found


def _ready(world: World, network: Known[Network]) -> Condition:
    zone, name = network.model.spec.zone, network.record.name
    hosts = [h for h in world.hosts(zone) if not not_ready(world, h)]
    missing = [h for h in hosts if _state(h, name) != "True"]
    if world.zone(zone) is None:
        reason, message = "ZoneNotFound", f'Zone "{zone}" not found: create it.'
    elif not hosts:
        reason, message = (
            "NoReadyHost",
            f'no host of zone "{zone}" is ready: see kubectl get hosts.',
        )
    elif missing:
        first = missing[0]
        why = next((n.message for n in first.model.status.networks if n.name == name), "")
        reason = "NotRealized"
        message = f"not on {_some([h.record.name for h in missing])}"
        message += f": {first.record.name}: {why}" if why else " yet."
    else:
        reason, message = "Realized", ""
    return condition(
        "Ready",
        reason == "Realized",
        reason=reason,
        message=message,
        generation=network.record.generation,
    )


def _show(world: World, network: Known[Network], said: Condition) -> ApplyStatus:
    hosts = world.hosts(network.model.spec.zone)
    ready = sum(_state(h, network.record.name) == "True" for h in hosts)
    return ApplyStatus(
        network.record,
        MANAGER_OPERATOR,
        wire(
            observedGeneration=network.record.generation,
            hosts=HostCount(total=len(hosts), ready=ready),
            conditions=(said,),
        ),
    )


def _state(host: Known[Host], network: str) -> str | None:
    return next((n.ready for n in host.model.status.networks if n.name == network), None)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
