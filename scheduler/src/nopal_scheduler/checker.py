# SPDX-License-Identifier: Apache-2.0
"""The checker: does a placement, or a proof of N+k, hold what it says?

It shares no code with the search: of this package it knows only what the data mean (`model`,
`proof`), counts with plain dicts, and goes through every loss. To be read and believed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from .model import Cluster, Host, Room, Rule, RuleKind, Vm, failure_domain
from .proof import Case, Proof
from .words import at_least, at_most

_Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that does not hold."""

    lost: tuple[str, ...]
    """The failure domains that are lost; empty where it does not hold without any loss."""
    vm: str
    """Empty where it is about a host or a proof as a whole."""
    host: str
    """Empty where it is about no host."""
    reason: str

    @property
    def message(self) -> str:
        """Return the sentence for people."""
        parts = [f"after the loss of {', '.join(self.lost)}"] if self.lost else []
        parts += [f"vm {self.vm}"] if self.vm else []
        parts += [f"host {self.host}"] if self.host else []
        return ": ".join((", ".join(parts), self.reason)) if parts else self.reason


def check_placement(cluster: Cluster) -> tuple[Violation, ...]:
    """Return everything in which the placement of a cluster, as it is, does not hold.

    Every virtual machine must be on a host that is there and that has its networks, CPU features
    and labels; every host within its capacity; every required rule kept. One that is on a blocked
    or draining host is fine: such a host only takes no more. One without a host is not placed,
    and nothing is said of it.
    """
    world = _World(cluster)
    if world.malformed:
        return world.malformed
    full = [
        Violation((), "", name, reason)
        for name, host in world.hosts.items()
        for reason in _over(world.used[name], host.capacity)
    ]
    return (*full, *_judge(world, (), {vm.name: vm.host or "" for vm in world.placed}))


def check_proof(cluster: Cluster, proof: Proof) -> tuple[Violation, ...]:
    """Return everything in which a proof of N+k does not hold for a cluster; empty: it is one.

    For every set of 1 to k failure domains, every virtual machine that restarts and was on their
    hosts must get a host, and no other may. That host must be alive, take virtual machines, have
    what they need, and with all that arrive be within its capacity. Then, with everything where
    it is in the end, each that was restarted must keep its own required rules, and be in no
    domain that another's required anti-affinity forbids it. What was against a rule or above a
    capacity before, and gets nothing new, is no fault of the proof: see `check_placement`.
    """
    world = _World(cluster)
    if world.malformed:
        return world.malformed
    if proof.redundancy != cluster.redundancy:
        return (_about_all(f"proves {proof.redundancy}, not {cluster.redundancy}"),)
    if proof.cases and proof.backups:
        return (_about_all("has both cases and backups"),)
    found = _check_cases(world, proof) if proof.cases else _check_backups(world, proof)
    return tuple(found)


def _losses(world: "_World") -> Iterator[tuple[str, ...]]:
    """Yield every set of 1 to k failure domains, each sorted by name."""
    for count in range(1, world.failures + 1):
        yield from combinations(sorted(world.domains), count)


def _check_cases(world: "_World", proof: Proof) -> Iterator[Violation]:
    """Every loss must have its case, once, and there must be no other."""
    times = Counter(tuple(sorted(case.lost)) for case in proof.cases)
    known = set(_losses(world))
    for lost in sorted(known):
        if times[lost] != 1:
            yield Violation(lost, "", "", f"has {times[lost]} cases, must have one")
    for case in proof.cases:
        if tuple(sorted(case.lost)) in known:
            yield from _check_case(world, case)
        else:
            yield Violation(case.lost, "", "", "is no set of 1 to k failure domains")


def _check_backups(world: "_World", proof: Proof) -> Iterator[Violation]:
    """Every name in the lists must mean something, and every loss go well by them."""
    yield from _wrong_names(world, proof)
    for lost in _losses(world):
        yield from _check_case(world, _from_backups(world, proof, lost))


def _wrong_names(world: "_World", proof: Proof) -> Iterator[Violation]:
    for name, hosts in proof.backups.items():
        vm = world.vms.get(name)
        if vm is None or vm.host is None or not vm.restarts:
            yield Violation((), name, "", "has backups, but is not there or does not restart")
        for host in hosts:
            if host not in world.hosts:
                yield Violation((), name, host, "the host is not there")


def _from_backups(world: "_World", proof: Proof, lost: tuple[str, ...]) -> Case:
    """Return the case that the lists stand for: the first host of each that is not lost."""
    dead = {host for domain in lost for host in world.domains[domain]}
    restarts = {}
    for vm in world.on_domains(lost):
        alive = [h for h in proof.backups.get(vm.name, ()) if h not in dead]
        if vm.restarts and alive:
            restarts[vm.name] = alive[0]
    return Case(lost, restarts)


def _check_case(world: "_World", case: Case) -> Iterator[Violation]:
    """Judge one loss of failure domains that are there."""
    must = {vm.name for vm in world.on_domains(case.lost) if vm.restarts}
    for name in sorted(must - case.restarts.keys()):
        yield Violation(case.lost, name, "", "gets no new host")
    for name in sorted(case.restarts.keys() - must):
        yield Violation(case.lost, name, "", "is given a host, but is not lost or does not restart")
    dead = {host for domain in case.lost for host in world.domains[domain]}
    arrived = {}
    for name in sorted(must & case.restarts.keys()):
        host = case.restarts[name]
        if host not in world.hosts:
            yield Violation(case.lost, name, host, "the host is not there")
        elif host in dead:
            yield Violation(case.lost, name, host, "the host is lost too")
        elif world.hosts[host].refusal:
            yield Violation(case.lost, name, host, f"the host is {world.hosts[host].refusal}")
        else:
            arrived[name] = host
    total = {host: world.used[host] for host in arrived.values()}
    for name, host in arrived.items():
        total[host] = total[host] + world.vms[name].needs
    for host, room in total.items():
        for reason in _over(room, world.hosts[host].capacity):
            yield Violation(case.lost, "", host, reason)
    yield from _judge(world, case.lost, arrived)


def _judge(
    world: "_World", lost: tuple[str, ...], arrived: Mapping[str, str]
) -> Iterator[Violation]:
    """Judge where some virtual machines are in the end: what their hosts have, and the rules."""
    end = _End(world, lost, arrived)
    for name, host in arrived.items():
        for reason in world.mismatch(name, host):
            yield Violation(lost, name, host, reason)
        for rule in world.rules[name]:
            if not end.keeps(world.vms[name], rule, host):
                yield Violation(lost, name, host, f"breaks its {_words(rule)}")
        for rule in world.against(name):
            if end.is_near_a_holder(world.vms[name], rule, host):
                yield Violation(lost, name, host, f"breaks another's {_words(rule)}")


class _World:
    """The cluster by name."""

    def __init__(self, cluster: Cluster) -> None:
        self.hosts: dict[str, Host] = {host.name: host for host in cluster.hosts}
        self.vms: dict[str, Vm] = {vm.name: vm for vm in cluster.vms}
        self.malformed = tuple(self._malformed(cluster))
        self.failures = cluster.redundancy.failures
        self.placed = [vm for vm in cluster.vms if vm.host in self.hosts]
        self.domains: dict[str, list[str]] = defaultdict(list)
        """The hosts of each failure domain."""
        for host in cluster.hosts:
            self.domains[failure_domain(host, cluster.redundancy.topology)].append(host.name)
        self._alike: dict[_Labels, set[str]] = defaultdict(set)
        """Those placed, by all of their labels: far fewer than virtual machines."""
        self.on: dict[str, list[Vm]] = {name: [] for name in self.hosts}
        self.used: dict[str, Room] = {host.name: host.allocated for host in cluster.hosts}
        for vm in self.placed:
            host_name = vm.host or ""
            self._alike[frozenset(vm.labels.items())].add(vm.name)
            self.on[host_name].append(vm)
            self.used[host_name] = self.used[host_name] + vm.needs
        self.rules = {vm.name: [rule for rule in vm.rules if rule.required] for vm in cluster.vms}
        """The required rules of each virtual machine."""
        holders: dict[Rule, set[str]] = defaultdict(set)
        for vm in self.placed:
            for rule in self.rules[vm.name]:
                if rule.kind is RuleKind.ANTI_AFFINITY:
                    holders[rule].add(vm.name)
        self.holding = {r: self._group(names, r.topology) for r, names in holders.items()}
        """By required anti-affinity rule: who holds it."""
        self._mismatches: dict[tuple[str, str], tuple[str, ...]] = {}
        self._matching: dict[Rule, _Group] = {}
        self._against: dict[_Labels, list[Rule]] = {}
        self._usable: dict[tuple[str, str], dict[str, list[str]]] = {}

    def _malformed(self, cluster: Cluster) -> Iterator[Violation]:
        for name, count in Counter(host.name for host in cluster.hosts).items():
            if count > 1:
                yield Violation((), "", name, "two hosts have this name")
        for name, count in Counter(vm.name for vm in cluster.vms).items():
            if count > 1:
                yield Violation((), name, "", "two vms have this name")
        for vm in cluster.vms:
            if vm.host is not None and vm.host not in self.hosts:
                yield Violation((), vm.name, vm.host, "the host is not there")

    def on_domains(self, lost: Iterable[str]) -> Iterator[Vm]:
        """Yield what is on the hosts of some failure domains."""
        for domain in lost:
            for host in self.domains[domain]:
                yield from self.on[host]

    def mismatch(self, vm_name: str, host_name: str) -> tuple[str, ...]:
        """Return what a virtual machine needs and the host does not have, amounts aside."""
        known = self._mismatches.get((vm_name, host_name))
        if known is None:
            vm, host = self.vms[vm_name], self.hosts[host_name]
            labels = vm.node_selector.items()
            known = self._mismatches[vm_name, host_name] = (
                *(f"network {n} is missing" for n in vm.networks if n not in host.networks),
                *(
                    f"cpu feature {f} is missing"
                    for f in sorted(vm.cpu_features - host.cpu_features)
                ),
                *(f"label {k}={v} is missing" for k, v in labels if host.labels.get(k) != v),
            )
        return known

    def matching(self, rule: Rule) -> "_Group":
        """Return the placed virtual machines that the rule's selector matches."""
        if rule not in self._matching:
            alike = (vms for labels, vms in self._alike.items() if rule.matches(dict(labels)))
            self._matching[rule] = self._group(set().union(*alike), rule.topology)
        return self._matching[rule]

    def against(self, vm_name: str) -> list[Rule]:
        """Return the required anti-affinity rules, whoever holds them, that match it."""
        labels = self.vms[vm_name].labels
        key = frozenset(labels.items())
        if key not in self._against:
            self._against[key] = [rule for rule in self.holding if rule.matches(labels)]
        return self._against[key]

    def usable(self, vm_name: str, topology: str) -> dict[str, list[str]]:
        """Return the domains that it could use, room and rules aside, with their hosts for it."""
        if (vm_name, topology) not in self._usable:
            usable = self._usable[vm_name, topology] = defaultdict(list)
            for host in self.hosts.values():
                domain = host.domain(topology)
                if (
                    domain is not None
                    and not host.refusal
                    and not self.mismatch(vm_name, host.name)
                ):
                    usable[domain].append(host.name)
        return self._usable[vm_name, topology]

    def _group(self, names: set[str], topology: str) -> "_Group":
        on = (self.hosts[self.vms[name].host or ""] for name in names)
        return _Group(names, Counter(host.domain(topology) for host in on))


@dataclass(frozen=True, slots=True)
class _Group:
    """Some virtual machines, and how many of them are in each domain of a topology at first."""

    names: set[str]
    there: Counter[str | None]
    """Under None those that are in no domain."""


class _End:
    """Where everything is in the end: survivors on their hosts, and what arrived on theirs."""

    def __init__(self, world: _World, lost: tuple[str, ...], arrived: Mapping[str, str]) -> None:
        self._world = world
        self._dead = {host for domain in lost for host in world.domains[domain]}
        self._arrived = arrived
        self._left = {vm.name for vm in world.on_domains(lost)} | arrived.keys()
        """Those that are not, or not for certain, where they were."""
        self._matching: dict[Rule, Counter[str | None]] = {}
        self._holding: dict[Rule, Counter[str | None]] = {}

    def keeps(self, vm: Vm, rule: Rule, host: str) -> bool:
        """Tell whether a virtual machine on a host keeps a rule of its own."""
        domain = self._world.hosts[host].domain(rule.topology)
        if domain is None:
            return False
        if rule not in self._matching:
            self._matching[rule] = self._count(self._world.matching(rule), rule.topology)
        there = self._matching[rule]
        own = int(rule.matches(vm.labels))
        others = there[domain] - own
        if rule.kind is RuleKind.ANTI_AFFINITY:
            return others == 0
        if rule.kind is RuleKind.AFFINITY:
            is_the_first = own == 1 and there.total() == 1
            return others > 0 or is_the_first
        usable = self._world.usable(vm.name, rule.topology)
        alive = [d for d, hosts in usable.items() if not self._dead.issuperset(hosts)]
        return there[domain] - min(there[d] for d in (domain, *alive)) <= rule.max_skew

    def is_near_a_holder(self, vm: Vm, rule: Rule, host: str) -> bool:
        """Tell whether another that holds this anti-affinity rule is in the host's domain."""
        domain = self._world.hosts[host].domain(rule.topology)
        if rule not in self._holding:
            self._holding[rule] = self._count(self._world.holding[rule], rule.topology)
        others = self._holding[rule][domain] - int(vm.name in self._world.holding[rule].names)
        return domain is not None and others > 0

    def _count(self, group: _Group, topology: str) -> Counter[str | None]:
        """Count a group in each domain, as it is in the end."""
        hosts, vms = self._world.hosts, self._world.vms
        there = group.there.copy()
        for name in group.names & self._left:
            there[hosts[vms[name].host or ""].domain(topology)] -= 1
            if name in self._arrived:
                there[hosts[self._arrived[name]].domain(topology)] += 1
        return there


def _over(used: Room, capacity: Room) -> Iterator[str]:
    """Say what of a host is used beyond its capacity."""
    if used.cpu > capacity.cpu:
        yield f"over its capacity: cpu {used.cpu} of {capacity.cpu}"
    if used.memory > capacity.memory:
        yield f"over its capacity: memory {at_least(used.memory)} of {at_most(capacity.memory)}"
    for name, count in used.more.items():
        if count > capacity.more.get(name, 0):
            yield f"over its capacity: {name} {count} of {capacity.more.get(name, 0)}"


def _words(rule: Rule) -> str:
    selector = ",".join(f"{key}={value}" for key, value in rule.selector) or "any"
    return f"{rule.kind.value} to {selector} over {rule.topology}"


def _about_all(reason: str) -> Violation:
    return Violation((), "", "", reason)
