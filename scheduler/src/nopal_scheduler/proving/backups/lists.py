# SPDX-License-Identifier: Apache-2.0
"""Backup lists: for each virtual machine the hosts it goes to, in order, when its home is lost.

What is here is always a proof for the virtual machines that have a list: each list was taken only
where no loss of k domains sends more to a host than it has free, or two to one domain that must be
apart. That holds as long as nobody changes the state without asking. Of affinity and spread see
`keeping`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...model import RuleKind, Vm
from ...rules import Counts, Mask
from ...state import Amounts, State
from .keeping import Keeping
from .pairs import Trigger
from .sums import BackupSums

Hosts = tuple[int, ...]
_WIDTH = (4, 3, 2)
"""How many hosts are tried at each place of a list before the search gives up."""


@dataclass(frozen=True, slots=True)
class _Search:
    """What a search for one list is told."""

    followed: Amounts
    """What it needs together with those that must go where it goes."""
    push: bool


class BackupLists:
    """Lists by virtual machine, and the search for one more.

    Args:
        state: Where everything is.
        domain: The failure domain of each host; there are more of them than may fail.
    """

    def __init__(self, state: State, domain: Counts) -> None:
        self._state = state
        self._failures = state.redundancy.failures
        self._domain = domain
        self.sums = BackupSums(state.free.shape, len(state.lost_with), state.redundancy.failures)
        self.parked: tuple[dict[str, tuple[Trigger, Amounts]], ...]
        self.parked = tuple({} for _ in state.hosts)
        """For each host who has it in the list: what must be lost for that, and what it needs."""
        self._lists: dict[str, Hosts] = {}
        self.keeping = Keeping(state, domain, lambda name: self._lists.get(name, ()))
        total = state.capacity.sum(axis=1, keepdims=True)
        self._scale = 1 / np.maximum(1, total)

    def __contains__(self, name: str) -> bool:
        return name in self._lists

    def __getitem__(self, name: str) -> Hosts:
        return self._lists[name]

    def items(self) -> Iterator[tuple[str, Hosts]]:
        """Yield every virtual machine with its list."""
        yield from self._lists.items()

    def give(self, vm: Vm, hosts: Hosts) -> None:
        """Give a virtual machine its list."""
        self._count(vm, hosts, 1)
        self._lists[vm.name] = hosts
        self.keeping.touch(vm)

    def drop(self, vm: Vm) -> Hosts:
        """Take a virtual machine's list away and return it; its home must be known still."""
        hosts = self._lists.pop(vm.name)
        self._count(vm, hosts, -1)
        self.keeping.touch(vm)
        return hosts

    def overfull(self, host: int) -> Counts:
        """Return the resources of which a host may get more than it has free.

        A host that is overfull on its own account and is in no list is not.
        """
        if not self.parked[host]:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self.sums.worst_of(host) > self._state.free[:, host])

    def takes(self, vm: Vm, hosts: Hosts) -> bool:
        """Tell whether a list that was found elsewhere is one here, for who has none.

        Affinity and spread aside: those hold, or do not, when all have their lists.
        """
        if len(hosts) != self._failures:
            return False
        lost, needs = self.home(vm), self._state.needs(vm)[:, None]
        for host in hosts:
            if not self._allowed(vm, lost)[host]:
                return False
            load = self.sums.with_all_of(tuple(sorted(lost))) + needs
            if (load > self._state.free)[:, host].any():
                return False
            lost = (*lost, int(self._domain[host]))
        return True

    def find(self, vm: Vm, *, push: bool = False) -> tuple[Hosts | None, Trigger]:
        """Find a list; changes nothing.

        Args:
            vm: One that is on a host and has no list.
            push: Take hosts as well that have the room only once others are gone from there.

        Returns:
            The list and, where there is none, the loss up to which the search came.
        """
        followed = self._state.needs(vm)
        for name in self.keeping.followers(vm):
            followed = followed + self._state.needs(self._state.vms[name])
        return self._extend(vm, (), self.home(vm), _Search(followed[:, None], push))

    def _extend(
        self, vm: Vm, chosen: Hosts, lost: Trigger, search: "_Search"
    ) -> tuple[Hosts | None, Trigger]:
        place = len(chosen)
        if place == self._failures:
            return chosen, lost
        furthest = lost
        for host in self._candidates(vm, chosen, lost, search):
            hosts, reached = self._extend(
                vm, (*chosen, host), (*lost, int(self._domain[host])), search
            )
            if hosts is not None:
                return hosts, reached
            furthest = max(furthest, reached, key=len)
        return None, furthest

    def _candidates(self, vm: Vm, chosen: Hosts, lost: Trigger, search: "_Search") -> list[int]:
        """Return the cheapest hosts for the next place of a list."""
        state = self._state
        needs = state.needs(vm)[:, None]
        allowed = self._allowed(vm, lost)
        if not allowed.any():
            return []
        kept = self.keeping.allowed(vm, (state.host_of(vm.name), *chosen))
        if kept is not None:
            allowed &= kept
        trigger = tuple(sorted(lost))
        load = self.sums.with_all_of(trigger) + needs
        worst = np.maximum(load, self.sums.worst)
        over = worst - state.free
        if not search.push:
            allowed &= (over <= 0).all(axis=0)
        for_all = allowed & (load + search.followed - needs <= state.free).all(axis=0)
        if for_all.any():
            allowed = for_all
        hosts = np.flatnonzero(allowed)
        if search.push:
            cost = np.maximum(over, 0)
            tie = -self.sums.worst[1, hosts]
        else:
            part = state.free // (self._failures - len(chosen))
            share = np.maximum(self.sums.exactly(trigger) + needs - part, 0)
            cost = worst - self.sums.worst + share
            tie = (-self.sums.worst * self._scale).sum(axis=0)[hosts]
        order = np.lexsort((-hosts, tie, (cost * self._scale).sum(axis=0)[hosts]))
        found: list[int] = hosts[order[: _WIDTH[len(chosen)]]].tolist()
        return found

    def _allowed(self, vm: Vm, lost: Trigger) -> Mask:
        """Return the hosts for the next place of a list, affinity, spread and arrivals aside."""
        state = self._state
        allowed = state.eligible(vm) & (state.free >= state.needs(vm)[:, None]).all(axis=0)
        for domain in lost:
            allowed &= self._domain != domain
        return allowed & self._apart(vm, lost) if allowed.any() else allowed

    def _apart(self, vm: Vm, lost: Trigger) -> Mask:
        """Return the hosts where no loss brings it to one domain with who must be apart."""
        allowed: Mask = np.ones(len(self._state.hosts), dtype=np.bool_)
        for rule in vm.rules:
            if rule.required:
                allowed &= self._state.topologies.domains(rule.topology) >= 0
        for name, topology in self.keeping.book.partners(vm):
            domains = self._state.topologies.domains(topology)
            for host, trigger in self._places(name):
                both = {*lost, *trigger}
                if domains[host] < 0 or len(both) > self._failures or self._domain[host] in lost:
                    continue
                near = domains == domains[host]
                allowed &= ~near | np.isin(self._domain, trigger)
        return allowed

    def conflicts(self, vm: Vm) -> set[str]:
        """Return whose lists do not keep the rules, theirs or its own, as this one is there now."""
        home, found = self._state.host_of(vm.name), set(self.keeping.broken((vm,)))
        for name, topology in self.keeping.book.partners(vm):
            domains = self._state.topologies.domains(topology)
            for host, trigger in self._places(name):
                meets = domains[host] == domains[home] >= 0
                if meets and trigger and self._domain[home] not in trigger:
                    found.add(name)
        return found

    def home(self, vm: Vm) -> Trigger:
        """Return the loss that hits the host that a virtual machine is on, and nothing else."""
        return (int(self._domain[self._state.host_of(vm.name)]),)

    def order(self, vm: Vm) -> tuple[int, float, str]:
        """Return what virtual machines are sorted by that need a list: the hardest first.

        Whoever others must be beside comes before them, and what is large before what is small.
        """
        rules = {rule.kind for rule in vm.rules if rule.required}
        seen = {key[0] for key in self.keeping.book.seen_by(vm)}
        if RuleKind.AFFINITY in rules or RuleKind.SPREAD in rules:
            rank = 1
        else:
            rank = 0 if RuleKind.AFFINITY in seen else 2
        total = np.maximum(1, self._state.capacity.sum(axis=1))
        return rank, -float((self._state.needs(vm) / total).sum()), vm.name

    def _places(self, name: str) -> Iterator[tuple[int, Trigger]]:
        """Yield every host where it may be, with what must be lost for that; its home first."""
        home = self._state.host_of(name)
        hosts = (home, *self._lists.get(name, ()))
        lost: Trigger = ()
        yield home, lost
        for before, host in pairwise(hosts):
            lost = (*lost, int(self._domain[before]))
            yield host, lost

    def _count(self, vm: Vm, hosts: Hosts, sign: int) -> None:
        needs = self._state.needs(vm)
        lost = self.home(vm)
        for host in hosts:
            self.sums.add(tuple(sorted(lost)), host, sign * needs)
            if sign > 0:
                self.parked[host][vm.name] = lost, needs
            else:
                del self.parked[host][vm.name]
            lost = (*lost, int(self._domain[host]))
