# SPDX-License-Identifier: Apache-2.0
"""Plans of moves, recounted by hand; hosts and virtual machines for them."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from hypothesis import settings

from nopal_scheduler.checker import check_proof
from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Vm
from nopal_scheduler.moving.plan import Limits, Move, Plan
from nopal_scheduler.proof import Case, NotProven, Proof
from nopal_scheduler.proving.unproven import PlainProver
from nopal_scheduler.scheduler import prover_for
from nopal_scheduler.state import State
from support.naiveplacing import fits, holds

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
EAGER = Limits(gain=0.001, effort=500)


class NothingToB(PlainProver):
    """Refuses whatever would go to b."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.refused = state.index["b"]

    def admit(self, vm: Vm, host: int) -> NotProven | None:  # type: ignore[override]
        if host == self.refused:
            return NotProven(Case(("a",)), (vm.name,))
        return super().admit(vm, host)


def full(chance: Random, hosts: int, failures: int) -> Cluster:
    """Hosts filled to about two thirds, by sizes of which some fit on few hosts."""
    free, vms = {f"h{i}": 16 for i in range(hosts)}, list[Vm]()
    while sum(free.values()) > hosts * 5:
        size, at = chance.choice((1, 2, 4, 8, 10)), chance.choice([*free])
        if free[at] >= size:
            free[at] -= size
            vms.append(vm(f"v{len(vms)}", at, size))
    made = tuple(host(name, memory=16) for name in free)
    return Cluster(made, tuple(vms), Redundancy(failures))


def singles(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster after each move that has room and breaks no rule of anyone."""
    blocked = {host.name for host in cluster.hosts if host.blocked}
    for vm in cluster.vms:
        for host in cluster.hosts if vm.movable and vm.host not in blocked else ():
            after = moved(cluster, Move(vm.name, vm.host or "", host.name, 0.0, 0))
            good = host.name != vm.host and fits(without(cluster, vm.name), vm, host)
            if good and broken(after) <= broken(cluster):
                yield after


def moved(cluster: Cluster, move: Move) -> Cluster:
    """The cluster after a move."""
    vms = (replace(v, host=move.target) if v.name == move.vm else v for v in cluster.vms)
    return replace(cluster, vms=tuple(vms))


def without(cluster: Cluster, *names: str) -> Cluster:
    return replace(cluster, vms=tuple(vm for vm in cluster.vms if vm.name not in names))


def broken(cluster: Cluster) -> int:
    """How many required rules are broken, counted for each that has one."""
    hosts = {host.name: host for host in cluster.hosts}
    return sum(
        not holds(rule, without(cluster, vm.name), vm, hosts[vm.host or ""])
        for vm in cluster.vms
        for rule in vm.rules
        if rule.required
    )


def steps(cluster: Cluster, plan: Plan) -> Iterator[tuple[Cluster, Move, Cluster]]:
    """Every move with the cluster before and after it."""
    for move in plan.moves:
        after = moved(cluster, move)
        yield cluster, move, after
        cluster = after


def is_right(cluster: Cluster, plan: Plan) -> None:
    """Room, rules and proof at every step, and the gains as the score has them."""
    proven = isinstance(prover_for(State(cluster)).verdict(), Proof)
    hosts = {host.name: host for host in cluster.hosts}
    for before, move, after in steps(cluster, plan):
        vm = next(vm for vm in before.vms if vm.name == move.vm)
        assert vm.host == move.source != move.target
        assert vm.movable
        assert move.memory == vm.needs.memory
        assert fits(without(before, vm.name), vm, hosts[move.target])
        assert broken(after) <= broken(before)
        verdict = prover_for(State(after)).verdict()
        if proven and isinstance(verdict, Proof):
            assert check_proof(after, verdict) == ()
    names = [move.vm for move in plan.moves]
    assert len(set(names)) == len(names), "nothing is moved twice"


def batches_are_right(cluster: Cluster, plan: Plan, limits: Limits) -> None:
    """All of a batch fit while nobody has left yet, so whoever is ready first may go first."""
    hosts = {host.name: host for host in cluster.hosts}
    for batch in plan.batches:
        assert 1 <= len(batch) <= limits.concurrent
        busy = [host for move in batch for host in (move.source, move.target)]
        assert max(busy.count(host) for host in busy) <= limits.per_host
        crowded = cluster
        for move in batch:
            vm = next(vm for vm in cluster.vms if vm.name == move.vm)
            copy = replace(vm, host=None, rules=())
            assert fits(
                replace(crowded, vms=tuple(map(bare, crowded.vms))), copy, hosts[move.target]
            )
            arrived = replace(vm, name=f"{vm.name}'", host=move.target)
            crowded = replace(crowded, vms=(*crowded.vms, arrived))
        for move in batch:
            cluster = moved(cluster, move)


def bare(vm: Vm) -> Vm:
    return replace(vm, rules=())


def host(name: str, *, memory: int = 64, cpu: int = 64, **more: object) -> Host:
    return replace(Host(name, Room(cpu, memory)), **more)  # type: ignore[arg-type]


def vm(name: str, at: str, memory: int = 8, **more: object) -> Vm:
    return replace(Vm(name, Room(1, memory), host=at), **more)  # type: ignore[arg-type]
