# SPDX-License-Identifier: Apache-2.0
"""What would help one that has room somewhere, but for which the redundancy would not be kept.

Each is tried on a copy of the cluster, with the proof, before it is said; a few of each kind.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..answer import NoPlacement, Placement
from ..model import HOST, Cluster, Host, Room, Vm, failure_domain
from ..proof import Impossible
from ..scheduler import Scheduler
from ..words import amount_of, joined
from .lacks import could_ever
from .way import Advice

_TRIES = 3
"""Hosts, and virtual machines, of which it is tried what they would change."""


def remedies(cluster: Cluster, vm: Vm, answer: NoPlacement) -> Iterator[Advice]:
    """Yield what would let a virtual machine in with the redundancy kept.

    Args:
        cluster: Where everything else is; it is to survive something.
        vm: What was refused.
        answer: Why; nothing is yielded where no host had room.
    """
    if not any(refusal.against for refusal in answer.refusals):
        return
    trial = _Trial(cluster, vm)
    if trial.admits(cluster):  # then no change is what it needs, but another search
        return
    if not trial.is_whole:
        yield Advice(
            f"{cluster.redundancy} does not hold as it is, and until it does nothing is placed:"
            " add a host, stop or shrink virtual machines, or look for moves with `balance`"
        )
    for kind in (_room, _one_more_host, _one_less, _no_restart):
        found = next(kind(trial, answer), None)
        if found is not None:
            yield Advice(f"fits {found}")


class _Trial:
    """Copies of a cluster, each with one change, and whether the virtual machine gets in then."""

    def __init__(self, cluster: Cluster, vm: Vm) -> None:
        self.cluster = cluster
        self.vm = vm
        # What it has found is where the search in every copy begins.
        self._base = Scheduler(cluster)
        eligible = self._base.state.eligible(vm)
        self.hosts = [h for h in cluster.hosts if eligible[self._base.state.index[h.name]]]
        """Those that may take it, room and rules aside."""

    @property
    def is_whole(self) -> bool:
        return self._base.is_proven

    def apart(self, count: int) -> list[Host]:
        """Return so many of the hosts, no two of which are lost together."""
        topology, found = self.cluster.redundancy.topology, dict[str, Host]()
        for host in self.hosts:
            found.setdefault(failure_domain(host, topology), host)
        return list(found.values())[:count]

    def lacking(self, host: Host) -> Room:
        """Return what would have to be free there besides what is."""
        state = self._base.state
        free = state.free[:, state.index[host.name]]
        lack = np.maximum(state.needs(self.vm) - free, 0).tolist()
        rest = zip(state.resources[2:], lack[2:], strict=True)
        return Room(lack[0], lack[1], {name: count for name, count in rest if count})

    def admits(self, changed: Cluster, vm: Vm | None = None) -> bool:
        then = Scheduler(changed, like=self._base)
        return isinstance(then.place(vm or self.vm), Placement)


def _room(trial: _Trial, answer: NoPlacement) -> Iterator[str]:
    """Yield what would have to be free: on one host, or on one more than may be lost."""
    short: dict[str, int] = {}
    for against in (each.against for each in answer.refusals):
        if isinstance(against, Impossible) and against.resource:
            known = short.get(against.resource, against.missing)
            short[against.resource] = min(known, against.missing)
    apart = trial.apart(trial.cluster.redundancy.failures + 1)
    for resource, missing in sorted(short.items()):
        # Pieces of room may be too small for it: then as much as it needs itself.
        for count in sorted({missing, max(missing, _by_resource(trial.vm.needs).get(resource, 0))}):
            more = _only(resource, count)
            for hosts in (*([each] for each in apart), apart):
                if trial.admits(_with_room(trial.cluster, hosts, more)):
                    yield _free(more, hosts)
    if short:
        return
    full = [h for h in trial.hosts if trial.lacking(h) != Room() and could_ever(h, trial.vm.needs)]
    for host in sorted(full, key=lambda h: (trial.lacking(h).memory, h.name))[:_TRIES]:
        more = trial.lacking(host)
        if trial.admits(_with_room(trial.cluster, [host], more)):
            yield _free(more, [host])


def _free(more: Room, hosts: Sequence[Host]) -> str:
    what = joined([amount_of(name, count) for name, count in _by_resource(more).items() if count])
    names = joined([host.name for host in hosts])
    return f"if another {what} were free on {'each of ' * (len(hosts) > 1)}{names}"


def _one_more_host(trial: _Trial, _: NoPlacement) -> Iterator[str]:
    """Yield what one more host would have to be like: the smallest kind that helps."""
    topology = trial.cluster.redundancy.topology
    kinds: dict[object, Host] = {}
    for host in trial.hosts:
        domain = None if topology == HOST else failure_domain(host, topology)
        kinds.setdefault((host.capacity, host.networks, host.cpu_features, domain), host)
    hosts = sorted(kinds.values(), key=lambda h: (h.capacity.memory, h.capacity.cpu, h.name))
    taken = {host.name for host in trial.cluster.hosts}
    for host in hosts[:_TRIES]:
        name = f"{host.name}+1"
        while name in taken:
            name += "+1"
        more = replace(host, name=name, allocated=Room())
        if trial.admits(replace(trial.cluster, hosts=(*trial.cluster.hosts, more))):
            where = "" if topology == HOST else f" in {topology} {failure_domain(host, topology)}"
            yield f"with one more host like {host.name}{where}"


def _one_less(trial: _Trial, _: NoPlacement) -> Iterator[str]:
    """Yield which one would have to be stopped: of lower priority, as small as helps."""
    lower = [vm for vm in trial.cluster.vms if vm.host and vm.priority < trial.vm.priority]
    lower.sort(key=lambda vm: (vm.priority, vm.needs.memory, vm.name))
    large = [vm for vm in lower if vm.needs.memory >= trial.vm.needs.memory]
    for vm in (large or lower)[:_TRIES]:
        rest = tuple(each for each in trial.cluster.vms if each.name != vm.name)
        if trial.admits(replace(trial.cluster, vms=rest)):
            yield f"if {vm.name}, which has a lower priority, were stopped"


def _no_restart(trial: _Trial, _: NoPlacement) -> Iterator[str]:
    """Yield that it would do not to restart it."""
    if trial.vm.restarts and trial.admits(trial.cluster, replace(trial.vm, restarts=False)):
        yield "if it were not to restart after a loss (restarts: false)"


def _only(resource: str, count: int) -> Room:
    more = {resource: count}
    return Room(more.pop("cpu", 0), more.pop("memory", 0), more)


def _with_room(cluster: Cluster, hosts: Sequence[Host], more: Room) -> Cluster:
    names = {host.name for host in hosts}
    changed = (
        replace(host, allocated=host.allocated - more) if host.name in names else host
        for host in cluster.hosts
    )
    return replace(cluster, hosts=tuple(changed))


def _by_resource(room: Room) -> dict[str, int]:
    return {"cpu": room.cpu, "memory": room.memory, **room.more}
