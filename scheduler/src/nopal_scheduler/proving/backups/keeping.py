# SPDX-License-Identifier: Apache-2.0
"""Affinity and spread by lists: which hosts they leave for one more stop, and whose rule is broken.

What a search is told is a hint. What decides is `broken`: it is asked after every change, when
everything has a list, of every group that the change may have touched. Until then who restarts
and has no list is taken to be at home, or to be where it does no harm: taking lists away breaks no
rule, giving them may.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ...model import Rule, RuleKind, Vm
from ...rules import Counts, Mask
from ...state import State
from .beside import Beside
from .even import Even
from .groups import GroupBook, Key, keys_of
from .stops import NOWHERE, Stop, stops

_KEPT = frozenset({RuleKind.AFFINITY, RuleKind.SPREAD})


class Keeping:
    """The rules that lists are to keep, but for anti-affinity.

    Args:
        state: Where everything is.
        domain: The failure domain of each host.
        listed: The list of a virtual machine by its name; empty while it has none.
    """

    def __init__(
        self, state: State, domain: Counts, listed: Callable[[str], Sequence[int]]
    ) -> None:
        self._state = state
        self._domain = domain
        self._listed = listed
        self.book = GroupBook()
        self._known: dict[str, tuple[Stop, ...]] = {}
        self._spans: dict[str, Counts] = {}
        self._beside = Beside(state, domain, book=self.book, stops_of=self._stops_of)
        self._even = Even(state, spans=self._spans_of, book=self.book, stops_of=self._stops_of)

    def add(self, vm: Vm) -> None:
        """Take note of a virtual machine that is in the state."""
        self.book.add(vm)
        self.touch(vm)

    def remove(self, vm: Vm) -> None:
        """Forget one."""
        self.touch(vm)
        self.book.remove(vm.name)

    def touch(self, vm: Vm) -> None:
        """Take note that a virtual machine has another list."""
        self._known.pop(vm.name, None)
        self._even.touch((*self.book.seen_by(vm), *keys_of(vm)))

    def allowed(self, vm: Vm, hosts: Sequence[int]) -> Mask | None:
        """Return the hosts for the next place of a list; None if rules leave all.

        Args:
            vm: Whose list it is.
            hosts: Its home and the list so far.
        """
        keys = self._spread_by(vm)
        rules = _own(vm, RuleKind.AFFINITY)
        if not keys and not rules:
            return None
        mine = stops(hosts, self._domain)
        new = Stop(NOWHERE, NOWHERE, frozenset(stop.domain for stop in mine))
        allowed: Mask = np.ones(len(self._domain), dtype=np.bool_)
        for rule in rules:
            allowed &= self._beside.allowed(vm, rule, mine, new)
        for key in keys:
            allowed &= self._even.allowed(vm, key, mine, new)
        return allowed

    def followers(self, vm: Vm) -> list[str]:
        """Return who has no list yet and must go where this one goes when their home is lost.

        Those that rules want in one domain with it which fails as a whole: one room for them all.
        """
        home, found = self._state.host_of(vm.name), set[str]()
        for key in (*self.book.seen_by(vm), *keys_of(vm)):
            if key[0] is not RuleKind.AFFINITY or self._spans_of(key[2])[home] != 1:
                continue
            domains = self._state.topologies.domains(key[2])
            for name in (*self.book.matched(key), *self.book.holders(key)):
                there = domains[self._state.host_of(name)] == domains[home]
                if there and self.book[name].restarts and not self._listed(name):
                    found.add(name)
        return sorted(found - {vm.name})

    def broken(self, vms: Iterable[Vm]) -> list[str]:
        """Return who has a list that does not keep its rules, as some have come, gone or changed.

        Args:
            vms: Those that have, in the state or not.
        """
        keys = {key for vm in vms for key in (*self.book.seen_by(vm), *keys_of(vm))}
        found = {n for key in keys for n in self.book.holders(key) if key[0] in _KEPT}
        return sorted(name for name in found if not self._keeps(self.book[name]))

    def _keeps(self, vm: Vm) -> bool:
        mine = self._stops_of(vm.name)
        if not vm.restarts or len(mine) == 1:
            return True
        return all(self._beside.holds(vm, r, mine) for r in _own(vm, RuleKind.AFFINITY)) and all(
            self._even.holds(vm, r, mine) for r in _own(vm, RuleKind.SPREAD)
        )

    def _spread_by(self, vm: Vm) -> list[Key]:
        found = dict.fromkeys((*keys_of(vm), *self.book.seen_by(vm)))
        return [key for key in found if key[0] is RuleKind.SPREAD]

    def _stops_of(self, name: str) -> tuple[Stop, ...]:
        known = self._known.get(name)
        if known is None:
            hosts = (self._state.host_of(name), *self._listed(name))
            ends = not self.book[name].restarts
            known = self._known[name] = stops(hosts, self._domain, ends=ends)
        return known

    def _spans_of(self, topology: str) -> Counts:
        """Return in how many failure domains each host's domain has hosts; 0 where it has none."""
        known = self._spans.get(topology)
        if known is None:
            domains = self._state.topologies.domains(topology)
            pairs = np.unique(np.stack((domains, self._domain)), axis=1)
            counts = np.bincount(pairs[0, pairs[0] >= 0], minlength=1)
            known = self._spans[topology] = np.where(domains >= 0, counts[domains], 0)
        return known


def _own(vm: Vm, kind: RuleKind) -> list[Rule]:
    return [rule for rule in vm.rules if rule.required and rule.kind is kind]
