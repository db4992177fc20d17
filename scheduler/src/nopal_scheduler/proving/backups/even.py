# SPDX-License-Identifier: Apache-2.0
"""Spread by lists: bounds on how many of a group can be in each domain after any loss.

At most: those that are there now, and the most that arrive from other domains in one loss. At
least: those that are there now without those that the loss of k failure domains takes away for
good or to elsewhere; a domain that lies within one failure domain loses nobody, or is lost itself
and does not count. A list keeps the rule if the at most of each of its hosts' domains is within
`max_skew` of the least at least of all domains. This is sufficient only: the two need not belong
to one loss.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...model import Rule, Vm
from ...rules import Counts, Mask
from ...state import State
from .beside import StopsOf
from .groups import GroupBook, Key, key_of
from .stops import NOWHERE, Stop

_EXACT = 12
"""How many different triggers on one domain are tried in all their combinations."""
_Lost = frozenset[int]


@dataclass(frozen=True, slots=True)
class _Tally:
    """One group over the domains of a topology; arrays by host, the same in all of a domain."""

    there: Counts
    most: Counts
    least: Counts
    arriving: dict[int, list[_Lost]]
    """By domain what must be lost for each that may arrive from elsewhere."""
    leaving: dict[int, Counter[int]]
    """By domain of several failure domains: how many may leave, by failure domain of their home."""


class Even:
    """What spread leaves of lists.

    Args:
        state: Where everything is.
        spans: By topology, how many failure domains each host's domain has hosts in.
        book: Whom rules match.
        stops_of: The stops of a virtual machine by its name; home alone while it has no list.
    """

    def __init__(
        self, state: State, spans: Callable[[str], Counts], book: GroupBook, stops_of: StopsOf
    ) -> None:
        self._state = state
        self._failures = state.redundancy.failures
        self._spans = spans
        self._book = book
        self._stops_of = stops_of
        self._tallies: dict[Key, _Tally] = {}

    def touch(self, keys: Iterable[Key]) -> None:
        """Take note that who is in a group has come, gone, or another list."""
        for key in keys:
            self._tallies.pop(key, None)

    def holds(self, vm: Vm, rule: Rule, mine: Sequence[Stop]) -> bool:
        """Tell whether a virtual machine keeps its rule at every stop, whatever is lost."""
        hosts = [stop.host for stop in mine[1:]]
        domains = self._state.topologies.domains(rule.topology)
        if not hosts or (domains[hosts] < 0).any():
            return not hosts
        tally = self._tally(key_of(rule))
        least = tally.least[self._state.eligible(vm) & (domains >= 0)]
        return bool(tally.most[hosts].max() - least.min() <= rule.max_skew)

    def allowed(self, vm: Vm, key: Key, mine: Sequence[Stop], new: Stop) -> Mask:
        """Return the hosts for one more stop with which the rules of a group may hold still.

        Args:
            vm: One that has such a rule, or that it matches, or both.
            key: The rule.
            mine: Its stops so far.
            new: The next stop, with any host.
        """
        tally, domains = self._tally(key), self._state.topologies.domains(key[2])
        own = [rule for rule in vm.rules if _is(rule, key)]
        others = (self._book[name] for name in self._book.holders(key))
        rules = own or (rule for other in others for rule in other.rules if _is(rule, key))
        skew = min(rule.max_skew for rule in rules)
        usable = self._state.eligible(vm) & (domains >= 0)
        if not usable.any():
            return usable
        least = int(tally.least[usable].min())
        if vm.name not in self._book.matched(key):
            stays: Mask = tally.most <= skew + least
            return stays
        home = int(domains[mine[0].host])
        lower = min(least, self._without(tally, self._spans(key[2]), home, mine[0]))
        most = tally.there + 1
        for domain, triggers in tally.arriving.items():
            most[domains == domain] += _most((*triggers, new.lost), self._failures) - 1
        allowed: Mask = most <= skew + lower
        left = any(domains[stop.host] != home for stop in mine)
        at_home = not own or int(tally.most[mine[0].host]) <= skew + (lower if left else least)
        return np.where(domains == home, home >= 0 and at_home, allowed)

    def _without(self, tally: _Tally, spans: Counts, home: int, stop: Stop) -> int:
        """Return the at least of a virtual machine's home domain if that one leaves it, too."""
        there = int(tally.there[stop.host])
        if spans[stop.host] <= 1:
            return there
        leaving = tally.leaving.get(home, Counter[int]()) + Counter((stop.domain,))
        return there - _largest(leaving, self._failures)

    def _tally(self, key: Key) -> _Tally:
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = self._count(key)
        return tally

    def _count(self, key: Key) -> _Tally:
        topologies = self._state.topologies
        domains, spans = topologies.domains(key[2]), self._spans(key[2])
        per_host = np.zeros(len(domains), dtype=np.int64)
        arriving: defaultdict[int, list[_Lost]] = defaultdict(list)
        leaving: defaultdict[int, Counter[int]] = defaultdict(Counter)
        for name in self._book.matched(key):
            home, *others = self._stops_of(name)
            per_host[home.host] += 1
            seen = {int(domains[home.host])}
            for stop in others:
                # Who may be in a domain at several stops is there at most once in each loss, and
                # always with what must be lost for the first of them.
                domain = -1 if stop.host == NOWHERE else int(domains[stop.host])
                if domain >= 0 and domain not in seen:
                    arriving[domain].append(stop.lost)
                seen.add(domain)
            if len(seen) > 1 and spans[home.host] > 1:
                leaving[int(domains[home.host])][home.domain] += 1
        there = topologies.per_domain(key[2], per_host)
        most, least = there.copy(), there.copy()
        for domain, triggers in arriving.items():
            most[domains == domain] += _most(triggers, self._failures)
        for domain, homes in leaving.items():
            least[domains == domain] -= _largest(homes, self._failures)
        return _Tally(there, most, least, dict(arriving), dict(leaving))


def _is(rule: Rule, key: Key) -> bool:
    return rule.required and key_of(rule) == key


def _most(triggers: Sequence[_Lost], failures: int) -> int:
    """Return of how many triggers all can be lost in one loss; never too few."""
    counts = Counter(triggers)
    if len(counts) > _EXACT:
        # Each is lost with one domain of its own at least, the least of its numbers for example.
        return _largest(Counter(min(trigger) for trigger in triggers), failures)
    best = 0
    unions = {_Lost()}
    for trigger in counts:
        unions |= {union | trigger for union in unions if len(union | trigger) <= failures}
    for union in unions:
        best = max(best, sum(count for trigger, count in counts.items() if trigger <= union))
    return best


def _largest(counts: Counter[int], failures: int) -> int:
    return sum(count for _, count in counts.most_common(failures))
