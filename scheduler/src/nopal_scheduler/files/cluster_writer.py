# SPDX-License-Identifier: Apache-2.0
"""Write a cluster as a cluster file: what `cluster_yaml` reads back is the same cluster."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ..model import HOST, Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm, vm_memory_cost
from ..words import is_bytes
from .file_entries import NOT_READY
from .quantity import exact

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # the one in C is faster
_TERMS = {
    RuleKind.AFFINITY: "affinity",
    RuleKind.ANTI_AFFINITY: "antiAffinity",
    RuleKind.SPREAD: "spread",
}


def write_cluster(cluster: Cluster, *, overhead: bool = False) -> str:
    """Return the text of a cluster file, sorted by name; the same cluster gives the same text.

    Hosts have `capacity`: what their machines have is not known any more.

    Args:
        cluster: What is to be written.
        overhead: Write the memory that guests see, so that what is added to the file later gets
            the same overhead. Where a virtual machine takes what no guest would, all are written
            with what they take, overhead included, as without this.
    """
    guests = {vm.name: guest_memory(vm.needs) for vm in cluster.vms} if overhead else {}
    overhead = overhead and None not in guests.values()
    data: dict[str, Any] = {"version": 1}
    if cluster.redundancy != Redundancy():
        data["redundancy"] = {
            "failures": cluster.redundancy.failures,
            "topologyKey": cluster.redundancy.topology,
        }
    data["vmOverhead"] = overhead
    data["hosts"] = [_host(host) for host in sorted(cluster.hosts, key=lambda h: h.name)]
    data["vms"] = [
        _vm(vm, (guests[vm.name] if overhead else None) or vm.needs.memory)
        for vm in sorted(cluster.vms, key=lambda v: v.name)
    ]
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return text


def guest_memory(needs: Room) -> int | None:
    """Return the guest's memory, by the inverse of `vm_memory_cost`; None if there is none."""
    page_tables = 512  # one byte for so many of the guest
    rest = needs.memory - vm_memory_cost(needs.cpu, 0)
    near = rest * page_tables // (page_tables + 1)
    fits = (m for m in (near, near + 1) if vm_memory_cost(needs.cpu, m) == needs.memory)
    return next(fits, None) if rest > 0 else None


def _host(host: Host) -> dict[str, Any]:
    state = "Ready"
    if host.draining:
        state = "Draining"
    elif host.blocked:
        state = "NotReady" if host.blocked.startswith(NOT_READY) else "Unschedulable"
    return {
        "name": host.name,
        "capacity": _room(host.capacity),
        **_given(
            allocated=_room(host.allocated),
            labels=_sorted(host.labels),
            networks=sorted(host.networks),
            cpuFeatures=sorted(host.cpu_features),
            state="" if state == "Ready" else state,
            reason=host.blocked,
        ),
    }


def _vm(vm: Vm, memory: int) -> dict[str, Any]:
    entry = {
        "name": vm.name,
        "cores": vm.needs.cpu,
        "memory": exact(memory),
        **_given(
            more=_more(vm.needs),
            host=vm.host,
            labels=_sorted(vm.labels),
            nodeSelector=_sorted(vm.node_selector),
            networks=list(vm.networks),
            cpuFeatures=sorted(vm.cpu_features),
            priority=vm.priority,
        ),
    }
    for rule in vm.rules:
        entry.setdefault(_TERMS[rule.kind], []).append(_term(rule))
    entry.update({name: False for name, yes in _flags(vm) if not yes})
    return entry


def _flags(vm: Vm) -> Iterator[tuple[str, bool]]:
    yield "restarts", vm.restarts
    yield "movable", vm.movable


def _term(rule: Rule) -> dict[str, Any]:
    return {
        "matchLabels": dict(rule.selector),
        **_given(
            topologyKey="" if rule.topology == HOST else rule.topology,
            maxSkew=rule.max_skew if rule.kind is RuleKind.SPREAD else 0,
            weight=rule.weight,
        ),
    }


def _room(room: Room) -> dict[str, Any]:
    return _given(
        cpu=room.cpu,
        memory=exact(room.memory) if room.memory else "",
        more=_more(room),
    )


def _more(room: Room) -> dict[str, str | int]:
    more = sorted(room.more.items())
    return {name: exact(count) if is_bytes(name) else count for name, count in more}


def _sorted(labels: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(labels.items()))


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
