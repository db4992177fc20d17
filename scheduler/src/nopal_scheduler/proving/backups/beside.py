# SPDX-License-Identifier: Apache-2.0
"""Affinity by lists: a virtual machine has a keeper, another that is in its domain in every loss.

What is exact: whether one and the same keeper is beside it after each loss. What is sufficient
only: that it is one and the same.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ...model import Rule, Vm
from ...rules import Counts, Mask
from ...state import State
from .groups import GroupBook, key_of
from .stops import NOWHERE, Stop

_KEEPERS = 24
"""How many possible keepers a search looks at, those in the domain of its home first."""

StopsOf = Callable[[str], Sequence[Stop]]


class Beside:
    """What affinity leaves of lists.

    Args:
        state: Where everything is.
        domain: The failure domain of each host.
        book: Whom rules match.
        stops_of: The stops of a virtual machine by its name; home alone while it has no list.
    """

    def __init__(
        self,
        state: State,
        domain: Counts,
        *,
        book: GroupBook,
        stops_of: StopsOf,
    ) -> None:
        self._state = state
        self._domain = domain
        self._failures = state.redundancy.failures
        self._book = book
        self._stops_of = stops_of

    def holds(self, vm: Vm, rule: Rule, mine: Sequence[Stop]) -> bool:
        """Tell whether a virtual machine keeps its rule at every stop, whatever is lost."""
        domains = self._state.topologies.domains(rule.topology)
        if any(domains[stop.host] < 0 for stop in mine[1:]):
            return False
        alone = True
        for name in self._others(vm, rule):
            alone = False
            if self._keeps(domains, mine, self._stops_of(name)):
                return True
        return alone and rule.matches(vm.labels)

    def allowed(self, vm: Vm, rule: Rule, mine: Sequence[Stop], new: Stop) -> Mask:
        """Return the hosts for one more stop at which some keeper could be beside it.

        Args:
            vm: Whose rule it is.
            rule: A required affinity.
            mine: Its stops so far.
            new: The next stop, with any host.
        """
        domains = self._state.topologies.domains(rule.topology)
        home = domains[mine[0].host]
        others = list(self._others(vm, rule))
        if not others:
            return domains >= 0 if rule.matches(vm.labels) else np.zeros_like(domains, dtype=bool)
        others.sort(key=lambda name: bool(domains[self._stops_of(name)[0].host] != home))
        allowed: Mask = np.zeros(len(domains), dtype=np.bool_)
        for name in others[:_KEEPERS]:
            theirs = self._stops_of(name)
            if self._keeps(domains, mine, theirs):
                allowed |= self._near(rule, new, theirs)
        return allowed & (domains >= 0)

    def _others(self, vm: Vm, rule: Rule) -> Iterator[str]:
        return (name for name in self._book.matched(key_of(rule)) if name != vm.name)

    def _keeps(self, domains: Counts, mine: Sequence[Stop], theirs: Sequence[Stop]) -> bool:
        return all(
            other.host != NOWHERE and domains[stop.host] == domains[other.host]
            for stop in mine[1:]
            for other in theirs
            if stop.meets(other, self._failures)
        )

    def _near(self, rule: Rule, new: Stop, theirs: Sequence[Stop]) -> Mask:
        domains = self._state.topologies.domains(rule.topology)
        near: Mask = np.ones(len(domains), dtype=np.bool_)
        for other in theirs:
            if not new.meets(other, self._failures):
                continue
            same = domains == domains[other.host] if other.host != NOWHERE else np.False_
            # Where the host is lost with what the other must have lost, they do not meet.
            near &= same | np.isin(self._domain, list(other.lost))
        return near
