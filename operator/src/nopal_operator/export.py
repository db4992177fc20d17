# SPDX-License-Identifier: Apache-2.0
"""A live zone as a cluster file, for `python -m nopal_scheduler` and for a look at home.

Reads alone: it needs no more than a person who may list zones, hosts, nodes and virtual machines.
"""

from dataclasses import replace

from nopal_api.kinds import HOST, NODE, VIRTUAL_MACHINE, ZONE
from nopal_api.virtualmachine import VirtualMachine
from nopal_operator.candidates import candidate
from nopal_operator.demand import Demand
from nopal_operator.places import premises_of
from nopal_operator.world import Known, World
from nopal_runtime.errors import NotFoundError
from nopal_runtime.kube.api import Key, KubeApi
from nopal_runtime.kube.cache import ObjectCache
from nopal_scheduler import Vm
from nopal_scheduler.files.cluster_writer import write_cluster


async def export_zone(kube: KubeApi, name: str) -> str:
    """Return the zone as the text of a cluster file.

    Hosts are as ready as their last word says. Virtual machines are called NAMESPACE/NAME; those
    that wait for a host are there without one.

    Raises:
        NotFoundError: there is no such zone (ZoneNotFound).
        NopalError: kube-apiserver does not answer, or refuses.
    """
    cache = ObjectCache()
    world = World(cache)
    for kind in (ZONE, NODE, HOST, VIRTUAL_MACHINE):
        for key in cache.sync(kind, await kube.list(kind)):
            world.changed(key)
    zone = world.zone(name)
    if zone is None:
        there = ", ".join(each.record.name for each in world.zones()) or "none"
        raise NotFoundError("ZoneNotFound", f'Zone "{name}" not found; there are: {there}')
    world.heartbeats = {host.record.name: True for host in world.hosts(name)}
    cluster = world.schedulers.cluster(premises_of(world, zone))
    assigned = (_named(world, vm) for vm in cluster.vms)
    waiting = (_waiting(vm) for key in world.waiting(name) if (vm := world.vm(key)) is not None)
    return write_cluster(replace(cluster, vms=(*assigned, *waiting)))


def _named(world: World, vm: Vm) -> Vm:
    found = world.vm_by_uid(vm.name)
    return vm if found is None else replace(vm, name=_name(found.record.key))


def _waiting(known: Known[VirtualMachine]) -> Vm:
    record, model = known.record, known.model
    networks = (interface.network.name for interface in model.spec.interfaces)
    vm = candidate(record, model, demand=Demand.asked(model, record.labels), networks=networks)
    return replace(vm, name=_name(record.key))


def _name(key: Key) -> str:
    return f"{key.namespace}/{key.name}"
