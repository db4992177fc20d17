# SPDX-License-Identifier: Apache-2.0
"""A second opinion on N+k by brute force: end every set of hosts, move what ran there, recount.

Shares no code with the scheduler's search nor with its checker: of the package it reads plain
data. `killed` is quick enough for a bench; the `find_...` try everything and are for tiny clusters.
"""

from collections.abc import Iterator
from itertools import combinations, permutations, product

from nopal_scheduler.model import Cluster, Host, Room, Rule, RuleKind, Vm
from nopal_scheduler.proof import Case, Proof

Places = dict[str, str]
"""Host by virtual machine."""


def killed(cluster: Cluster, proof: Proof) -> list[str]:
    """Return what goes wrong when any 1 to k failure domains are lost and the proof is followed."""
    wrong = []
    by_loss = {frozenset(case.lost): case for case in proof.cases}
    for lost in losses(cluster):
        before, dead = _kill(cluster, lost)
        movers = [vm for vm in cluster.vms if vm.host in dead and vm.restarts]
        if proof.cases:
            case = by_loss.get(frozenset(lost))
            moves = dict(case.restarts) if case else {}
        else:
            moves = {}
            for vm in movers:
                alive = [h for h in proof.backups.get(vm.name, ()) if h not in dead]
                moves.update({vm.name: alive[0]} if alive else {})
        if moves.keys() != {vm.name for vm in movers}:
            wrong.append(f"{lost}: restarts {sorted(moves)}, not {sorted(v.name for v in movers)}")
            continue
        wrong += [f"{lost}: {what}" for what in _after(cluster, dead, before, moves)]
    return wrong


def losses(cluster: Cluster) -> Iterator[tuple[str, ...]]:
    """Yield every set of 1 to k failure domains."""
    names = sorted({_fails_with(cluster, host) for host in cluster.hosts})
    for count in range(cluster.redundancy.failures):
        yield from combinations(names, count + 1)


def find_proof(cluster: Cluster) -> Proof | None:
    """Return a proof by cases if there is any: tries every host for every virtual machine."""
    cases = []
    for lost in losses(cluster):
        before, dead = _kill(cluster, lost)
        movers = [vm.name for vm in cluster.vms if vm.host in dead and vm.restarts]
        alive = [host.name for host in cluster.hosts if host.name not in dead]
        for places in product(alive, repeat=len(movers)):
            moves = dict(zip(movers, places, strict=True))
            if not _after(cluster, dead, before, moves):
                cases.append(Case(lost, moves))
                break
        else:
            return None
    return Proof(cluster.redundancy, cases=tuple(cases))


def find_backups(cluster: Cluster) -> Proof | None:
    """Return a proof by lists of k backups if there is any: tries every list for every VM."""
    names = [vm.name for vm in cluster.vms if vm.host is not None and vm.restarts]
    hosts = [host.name for host in cluster.hosts]
    lists = list(permutations(hosts, min(cluster.redundancy.failures, len(hosts))))
    for chosen in product(lists, repeat=len(names)):
        proof = Proof(cluster.redundancy, backups=dict(zip(names, chosen, strict=True)))
        if not killed(cluster, proof):
            return proof
    return None


def misplaced(cluster: Cluster, places: Places, names: list[str]) -> list[str]:
    """Return what is wrong with where some virtual machines are, with everything in its place."""
    hosts = {host.name: host for host in cluster.hosts}
    vms = {vm.name: vm for vm in cluster.vms}
    everyone = [(vms[name], hosts[at]) for name, at in places.items()]
    return [
        f"{name} on {places[name]}: {what}"
        for name in names
        for what in _wrong_for(vms[name], hosts[places[name]], everyone, cluster.hosts)
    ]


def overfull(cluster: Cluster, places: Places) -> set[str]:
    """Return the hosts that have less than what is on them takes."""
    taken = {host.name: [host.allocated] for host in cluster.hosts}
    for vm in cluster.vms:
        if vm.name in places:
            taken[places[vm.name]].append(vm.needs)
    return {
        host.name
        for host in cluster.hosts
        for name in {name for room in taken[host.name] for name in _amounts(room)}
        if sum(_amounts(room).get(name, 0) for room in taken[host.name])
        > _amounts(host.capacity).get(name, 0)
    }


def _kill(cluster: Cluster, lost: tuple[str, ...]) -> tuple[Places, set[str]]:
    """Return where the survivors are, and the hosts that are dead."""
    dead = {host.name for host in cluster.hosts if _fails_with(cluster, host) in lost}
    return {vm.name: vm.host for vm in cluster.vms if vm.host and vm.host not in dead}, dead


def _after(cluster: Cluster, dead: set[str], before: Places, moves: Places) -> list[str]:
    """Return what is wrong once the moves are made."""
    rest = Cluster(
        tuple(host for host in cluster.hosts if host.name not in dead),
        tuple(vm for vm in cluster.vms if vm.name in before or vm.name in moves),
    )
    there = {host.name for host in rest.hosts}
    wrong = [f"{name} goes to {host}" for name, host in moves.items() if host not in there]
    if wrong:
        return wrong
    places = before | moves
    wrong += [f"{host} is overfull" for host in overfull(rest, places) & set(moves.values())]
    return wrong + misplaced(rest, places, list(moves))


def _wrong_for(
    vm: Vm, host: Host, everyone: list[tuple[Vm, Host]], hosts: tuple[Host, ...]
) -> Iterator[str]:
    if not _could_use(vm, host):
        yield "is no host for it"
    for rule in vm.rules:
        others = [(other, at) for other, at in everyone if other.name != vm.name]
        if rule.weight is None and not _kept(rule, vm, host, others, hosts):
            yield f"breaks {rule.kind}"
    for other, at in everyone:
        for rule in other.rules if other.name != vm.name else ():
            repels = rule.weight is None and rule.kind is RuleKind.ANTI_AFFINITY
            if repels and _matches(rule, vm) and _near(rule.topology, host, at):
                yield f"is too near to {other.name}"


def _kept(
    rule: Rule, vm: Vm, host: Host, others: list[tuple[Vm, Host]], hosts: tuple[Host, ...]
) -> bool:
    if _domain(host, rule.topology) is None:
        return False
    matching = [at for other, at in others if _matches(rule, other)]
    near = [at for at in matching if _near(rule.topology, host, at)]
    if rule.kind is RuleKind.ANTI_AFFINITY:
        return not near
    if rule.kind is RuleKind.AFFINITY:
        return bool(near) or (not matching and _matches(rule, vm))
    own = [host] if _matches(rule, vm) else []
    counts = [
        sum(_near(rule.topology, place, at) for at in matching + own)
        for place in hosts
        if _could_use(vm, place) and _domain(place, rule.topology) is not None
    ]
    return len(near + own) - min(counts, default=len(near + own)) <= rule.max_skew


def _could_use(vm: Vm, host: Host) -> bool:
    return (
        not host.blocked
        and not host.draining
        and set(vm.networks) <= host.networks
        and vm.cpu_features <= host.cpu_features
        and dict(vm.node_selector).items() <= dict(host.labels).items()
    )


def _near(topology: str, one: Host, other: Host) -> bool:
    domain = _domain(one, topology)
    return domain is not None and domain == _domain(other, topology)


def _domain(host: Host, topology: str) -> str | None:
    return host.name if topology == "host" else host.labels.get(topology)


def _fails_with(cluster: Cluster, host: Host) -> str:
    topology = cluster.redundancy.topology
    return _domain(host, topology) or f"[{host.name}]"


def _matches(rule: Rule, vm: Vm) -> bool:
    return set(rule.selector) <= set(vm.labels.items())


def _amounts(room: Room) -> dict[str, int]:
    return {"cpu": room.cpu, "memory": room.memory, **room.more}
