# SPDX-License-Identifier: Apache-2.0
"""A cluster in the words of Ganeti's htools: the text file of `-t` and the request of hail.

Amounts are MiB. Every host gets 1 MiB more than it has: htools wants free memory to stay above
nothing, where we let equal amounts fit, and all sizes here are whole GiB. Disks are on shared
storage (rbd), so they are no limit.
"""

from collections.abc import Mapping
from typing import Any

from nopal_scheduler.model import Cluster, Host, Room, Vm

MIB = 2**20
VCPU_RATIO = 4
"""Virtual CPUs for each thread of a host."""
_GROUP, _UUID = "default", "group-1"
_SMALL = {"memory-size": 1024, "cpu-count": 1, "disk-size": 1024, "disk-count": 1}
_LARGE = {"memory-size": 1 << 20, "cpu-count": 64, "disk-size": 1 << 20, "disk-count": 16}
_SMALL |= {"nic-count": 0, "spindle-use": 1}
_LARGE |= {"nic-count": 8, "spindle-use": 8}
_DISK = 1024


def to_text(cluster: Cluster, *, only: Vm | None = None) -> str:
    """Return the text file of a cluster, for `hbal -t`, `hinfo -t` and `hspace -t`.

    Args:
        cluster: The cluster.
        only: The one size that the policy lets in; without it all that we make are let in.
    """
    used = _used(cluster)
    small, large = _SMALL, _LARGE
    if only:
        size = {"memory-size": only.needs.memory // MIB, "cpu-count": only.needs.cpu}
        small, large = _SMALL | size, _SMALL | size
    policy = f"{_spec(small)}|{_spec(small)};{_spec(large)}|rbd|{VCPU_RATIO}.0|32.0"
    sections: tuple[list[str], ...] = (
        [f"{_GROUP}|{_UUID}|preferred||"],
        [
            f"{host.name}|{_total(host)}|0|{_total(host) - used[host.name].memory // MIB}"
            f"|0|0|{host.capacity.cpu // VCPU_RATIO}|{'N' if number else 'M'}|{_UUID}|1"
            for number, host in enumerate(cluster.hosts)
        ],
        [
            f"{vm.name}|{vm.needs.memory // MIB}|{_DISK}|{vm.needs.cpu}|running|Y|{vm.host}||rbd||1"
            for vm in cluster.vms
        ],
        [],
        [f"|{policy}", f"{_GROUP}|{policy}"],
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def to_request(cluster: Cluster, vm: Vm) -> dict[str, Any]:
    """Return what hail reads to find a host for one more virtual machine: the whole state."""
    used = _used(cluster)
    policy = {
        "disk-templates": ["rbd"],
        "minmax": [{"min": _SMALL, "max": _LARGE}],
        "std": _SMALL,
        "spindle-ratio": 32.0,
        "vcpu-ratio": float(VCPU_RATIO),
    }
    group = {
        "name": _GROUP,
        "alloc_policy": "preferred",
        "ipolicy": policy,
        "networks": [],
        "tags": [],
    }
    return {
        "cluster_tags": [],
        "enabled_hypervisors": ["fake"],
        "nodegroups": {_UUID: group},
        "nodes": {host.name: _node(host, used[host.name]) for host in cluster.hosts},
        "instances": {each.name: _instance(each, nodes=[each.host]) for each in cluster.vms},
        "request": _instance(vm) | {"type": "allocate", "name": vm.name, "required_nodes": 1},
    }


def _node(host: Host, used: Room) -> dict[str, Any]:
    free, taken = _total(host) - used.memory // MIB, used.memory // MIB
    return {
        "group": _UUID,
        "total_memory": _total(host), "free_memory": free, "reserved_memory": 0,
        "i_pri_memory": taken, "i_pri_up_memory": taken,
        "total_cpus": host.capacity.cpu // VCPU_RATIO, "reserved_cpus": 0,
        "total_disk": 0, "free_disk": 0, "total_spindles": 1, "free_spindles": 1,
        "drained": False, "offline": False, "vm_capable": True,
        "master_candidate": True, "master_capable": True,
        "ndparams": {"exclusive_storage": False, "oob_program": None, "spindle_count": 1},
        "tags": [],
    }  # fmt: skip


def _instance(vm: Vm, **more: Any) -> dict[str, Any]:
    return {
        "admin_state": "up", "admin_state_source": "admin", "hypervisor": "fake", "os": "any",
        "disk_template": "rbd", "disk_space_total": _DISK,
        "disks": [{"mode": "rw", "size": _DISK, "spindles": 1}],
        "memory": vm.needs.memory // MIB, "vcpus": vm.needs.cpu, "spindle_use": 1,
        "nics": [], "tags": [],
    } | more  # fmt: skip


def _used(cluster: Cluster) -> dict[str, Room]:
    used = {host.name: Room() for host in cluster.hosts}
    for vm in cluster.vms:
        if vm.host is not None:
            used[vm.host] = used[vm.host] + vm.needs
    return used


def _total(host: Host) -> int:
    return host.capacity.memory // MIB + 1


def _spec(spec: Mapping[str, int]) -> str:
    """The six numbers in the order of the file; the man page lists five."""
    order = ("memory-size", "cpu-count", "disk-size", "disk-count", "nic-count", "spindle-use")
    return ",".join(str(spec[key]) for key in order)
