# SPDX-License-Identifier: Apache-2.0
"""Write a cluster as a cluster file: what `cluster_yaml` reads back is the same cluster."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from .model import HOST, Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from .quantity import exact

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # the one in C is faster
_TERMS = {
    RuleKind.AFFINITY: "affinity",
    RuleKind.ANTI_AFFINITY: "antiAffinity",
    RuleKind.SPREAD: "spread",
}
_NO_READY = "not ready"


def write_cluster(cluster: Cluster) -> str:
    """Return the text of a cluster file, sorted by name; the same cluster gives the same text.

    Hosts have `capacity` and virtual machines all that they take, overhead included: what a
    machine has and what its guest sees are no longer known.
    """
    data: dict[str, Any] = {"version": 1}
    if cluster.redundancy != Redundancy():
        data["redundancy"] = {
            "failures": cluster.redundancy.failures,
            "topologyKey": cluster.redundancy.topology,
        }
    data["vmOverhead"] = False
    data["hosts"] = [_host(host) for host in sorted(cluster.hosts, key=lambda h: h.name)]
    data["vms"] = [_vm(vm) for vm in sorted(cluster.vms, key=lambda v: v.name)]
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return text


def _host(host: Host) -> dict[str, Any]:
    state = "Ready"
    if host.draining:
        state = "Draining"
    elif host.blocked:
        state = "NotReady" if host.blocked.startswith(_NO_READY) else "Unschedulable"
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


def _vm(vm: Vm) -> dict[str, Any]:
    entry = {
        "name": vm.name,
        "cores": vm.needs.cpu,
        "memory": exact(vm.needs.memory),
        **_given(
            more={name: exact(count) for name, count in sorted(vm.needs.more.items())},
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
        more={name: exact(count) for name, count in sorted(room.more.items())},
    )


def _sorted(labels: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(labels.items()))


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
