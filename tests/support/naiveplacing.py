# SPDX-License-Identifier: Apache-2.0
"""Where a virtual machine may go, written down as the model's docs say it, host by host."""

from nopal_scheduler.model import HOST, Cluster, Host, Room, Rule, RuleKind, Vm


def fitting(cluster: Cluster, vm: Vm) -> list[str]:
    """Return the names of the hosts that may take it, sorted."""
    return sorted(h.name for h in cluster.hosts if fits(cluster, vm, h))


def fits(cluster: Cluster, vm: Vm, host: Host) -> bool:
    return (
        eligible(vm, host)
        and has_room(cluster, vm, host)
        and all(holds(rule, cluster, vm, host) for rule in vm.rules if rule.weight is None)
        and not repelled(cluster, vm, host)
    )


def eligible(vm: Vm, host: Host) -> bool:
    return (
        not host.blocked
        and not host.draining
        and all(host.labels.get(k) == v for k, v in vm.node_selector.items())
        and set(vm.networks) <= host.networks
        and vm.cpu_features <= host.cpu_features
    )


def left(cluster: Cluster, host: Host) -> dict[str, int]:
    """Return what is left on a host, by resource; negative where it is over its capacity."""
    rest = named(host.capacity)
    for gone in (host.allocated, *(v.needs for v in cluster.vms if v.host == host.name)):
        for name, amount in named(gone).items():
            rest[name] = rest.get(name, 0) - amount
    return rest


def named(room: Room) -> dict[str, int]:
    return {"cpu": room.cpu, "memory": room.memory, **room.more}


def has_room(cluster: Cluster, vm: Vm, host: Host) -> bool:
    rest = left(cluster, host)
    return all(amount <= rest.get(name, 0) for name, amount in named(vm.needs).items())


def domain(host: Host, topology: str) -> str | None:
    return host.name if topology == HOST else host.labels.get(topology)


def matched(rule: Rule, cluster: Cluster) -> list[str | None]:
    """Return the domain of every placed virtual machine that the rule's selector matches."""
    of = {host.name: domain(host, rule.topology) for host in cluster.hosts}
    return [
        of[v.host]
        for v in cluster.vms
        if v.host is not None and all(v.labels.get(k) == value for k, value in rule.selector)
    ]


def holds(rule: Rule, cluster: Cluster, vm: Vm, host: Host) -> bool:
    here = domain(host, rule.topology)
    if here is None:
        return False
    others = matched(rule, cluster)
    itself = all(vm.labels.get(k) == value for k, value in rule.selector)
    if rule.kind is RuleKind.ANTI_AFFINITY:
        return here not in others
    if rule.kind is RuleKind.AFFINITY:
        return here in others or (not others and itself)
    usable = {domain(h, rule.topology) for h in cluster.hosts if eligible(vm, h)} - {None}
    if not usable:
        return False
    return others.count(here) + itself - min(map(others.count, usable)) <= rule.max_skew


def repelled(cluster: Cluster, vm: Vm, host: Host) -> bool:
    """Tell whether anyone in the host's domains must be apart from the virtual machine."""
    by_name = {h.name: h for h in cluster.hosts}
    for other in cluster.vms:
        for rule in other.rules:
            if (
                other.host is not None
                and rule.kind is RuleKind.ANTI_AFFINITY
                and rule.weight is None
                and all(vm.labels.get(k) == value for k, value in rule.selector)
            ):
                there = domain(by_name[other.host], rule.topology)
                if there is not None and there == domain(host, rule.topology):
                    return True
    return False


def preference(cluster: Cluster, vm: Vm, host: Host) -> int:
    return sum(r.weight for r in vm.rules if r.weight and holds(r, cluster, vm, host))


def load(cluster: Cluster, vm: Vm, host: Host) -> tuple[float, float]:
    """Return the fullest share with the virtual machine there, and the sum of the shares."""
    rest, has = left(cluster, host), named(host.capacity)
    wanted = named(vm.needs)
    counted = ["cpu", "memory", *sorted(n for n in vm.needs.more if wanted[n])]
    shares = [(has.get(n, 0) - rest.get(n, 0) + wanted[n]) / max(has.get(n, 0), 1) for n in counted]
    return max(shares), sum(shares)
