# SPDX-License-Identifier: Apache-2.0
"""After the loss of hosts: what is restarted where, and in which order.

Places come from the proof as far as it covers the loss and the world is still as it was; the rest
is searched. A plan is advice for one moment: whoever follows it fences the lost hosts first.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from .model import Cluster, Vm, failure_domain
from .placing.place import no_placement
from .proof import Proof
from .restarts import Restart, search_restarts
from .state import State


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A virtual machine that is to restart and cannot."""

    vm: str
    reason: str
    """Why no host that is left takes it once all others are restarted, for people."""


@dataclass(frozen=True, slots=True)
class FailoverPlan:
    """What to do after a loss."""

    restarts: tuple[Restart, ...]
    """In the order in which they are to be made."""
    unplaced: tuple[Unplaced, ...] = ()
    """Those that no host takes, by priority and name."""
    stays_off: tuple[str, ...] = ()
    """Those that were on the lost hosts and do not restart, by name."""


def plan_failover(
    cluster: Cluster, lost_hosts: Collection[str], proof: Proof | None = None
) -> FailoverPlan:
    """Return what is restarted where after the loss of hosts.

    Higher priority comes first, then what the proof places, by name; then the rest, largest first.
    Two things go before that order: an affinity's anchor comes before the one that waits for it,
    and one that a rule holds up comes as soon as the rule allows it. Each restart fits at its
    moment: within capacity and every required rule. The one exception is a circle, where each
    waits for the next, that the proof places: it comes as a block, and its rules hold at its end.

    What has a lower priority never takes the room of what has a higher one: nothing fits into the
    room that is left for one that is unplaced, even with every restart of lower priority taken
    back, unless one of them is an anchor. (Rules that want company, affinity and spread, can make
    an exception: one may come to fit only when its room is gone.)
    Within one priority the search packs, and takes as many as it can find room for in three
    attempts; that is no proof that there is no better way.

    Args:
        cluster: The zone as it is now, the lost hosts and what was on them included.
        lost_hosts: Names of the hosts that are lost: whole failure domains or single hosts.
        proof: What was proven before. It may be older than the cluster: each of its places is
            looked at again, and those that are no place any more are searched.

    Raises:
        ValueError: a lost host is not in the cluster, or what `State` raises.
    """
    unknown = sorted(set(lost_hosts) - {host.name for host in cluster.hosts})
    if unknown:
        raise ValueError(f'host "{unknown[0]}" is not there')
    lost = [vm for vm in cluster.vms if vm.host in lost_hosts]
    waiting = [vm for vm in lost if vm.restarts]
    state = State(_survivors(cluster, lost_hosts))
    places = _places(cluster, lost_hosts, proof)
    promises = {
        vm.name: state.index[places[vm.name]]
        for vm in waiting
        if vm.name in places and places[vm.name] in state.index
    }
    restarts = search_restarts(state, waiting, promises)
    left = sorted(
        (vm for vm in waiting if vm.name not in state.vms), key=lambda vm: (-vm.priority, vm.name)
    )
    return FailoverPlan(
        restarts=restarts,
        unplaced=tuple(Unplaced(vm.name, _why(state, vm)) for vm in left),
        stays_off=tuple(sorted(vm.name for vm in lost if not vm.restarts)),
    )


def _why(state: State, vm: Vm) -> str:
    return no_placement(state, vm).message if state.hosts else "no host is left"


def _survivors(cluster: Cluster, lost: Collection[str]) -> Cluster:
    """Return the cluster without the lost hosts; what was on them has no host."""
    return replace(
        cluster,
        hosts=tuple(host for host in cluster.hosts if host.name not in lost),
        vms=tuple(replace(vm, host=None) if vm.host in lost else vm for vm in cluster.vms),
    )


def _places(cluster: Cluster, lost: Collection[str], proof: Proof | None) -> dict[str, str]:
    """Return the proof's host for each virtual machine in this loss; nothing where it has none."""
    if proof is None:
        return {}
    topology = proof.redundancy.topology
    domains = {h.name: failure_domain(h, topology) for h in cluster.hosts}
    gone = {domains[name] for name in lost}
    if len(gone) > proof.redundancy.failures:
        return {}
    for case in proof.cases:
        if set(case.lost) == gone:
            return dict(case.restarts)
    alive = {
        vm: [host for host in hosts if host in domains and domains[host] not in gone]
        for vm, hosts in proof.backups.items()
    }
    return {vm: hosts[0] for vm, hosts in alive.items() if hosts}
