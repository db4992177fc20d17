# SPDX-License-Identifier: Apache-2.0
"""Ejection search in a packing: one comes in, a few others go out and look for a place again.

For what moves and swaps cannot settle, above all where rules say who must be apart. Everyone
counts how often no place was free for it; out go those who had it easy so far. The counters lead
the search out of circles (Nagata and Braysy, "A powerful route minimization heuristic", 2009).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ...model import Rule, RuleKind, Vm
from ...rules import Mask, RuleBook
from ...state import State
from .exchange import Exchange
from .item import Effort, Item

if TYPE_CHECKING:
    from .packing import Packing

_MOST = 4
"""How many go out for one: with more the search only shuffles."""
_HOSTS = 12
"""Hosts that are looked at for one, those that lack the least; a bound on the time of a step."""
_SQUEEZE = 12
"""Steps of `Exchange` for one before others have to go."""


class Ejection:
    """Settles one packing.

    Args:
        packing: What is changed.
        state: The cluster before the loss; read only.
        book: The rules' counts after the loss, with everything that is placed; kept up to date.
    """

    def __init__(self, packing: "Packing", state: State, book: RuleBook) -> None:
        self._packing = packing
        self._state = state
        self._book = book
        self._exchange = Exchange(packing, state, book)
        self._failures: defaultdict[str, int] = defaultdict(lambda: 1)
        """How often each found no free place, and one."""

    def settle(self, effort: Effort) -> bool:
        """Place all that is unplaced, or stop when the effort is spent; tell whether all is."""
        packing = self._packing
        waiting = sorted(packing.unplaced, key=lambda name: packing.items[name].order)
        while waiting:
            if not effort.spend_ejection():
                return False
            name = waiting.pop()
            item = packing.items[name]
            usable = packing.usable(item)
            host = packing.best(item, self._book.allowed(item.vm, usable))
            if host is None:
                self._failures[name] += 1
                if self._exchange.make_room(name, Effort(_SQUEEZE)):
                    continue
                found = self._cheapest(item, usable)
                if found is None:
                    return False
                host, out = found
                for each in out:
                    self._take(each)
                waiting.extend(sorted(out, key=lambda n: packing.items[n].order))
            self._exchange.put(item, host)
        return True

    def _cheapest(self, item: Item, eligible: Mask) -> tuple[int, list[str]] | None:
        """Return the host where those who have to go had it easiest so far, and who they are."""
        packing, foes = self._packing, self._foes(item.vm)
        open_to = self._open_to(item.vm, eligible, foes)
        apart = self._by_host(foes)
        spread = [r for r in item.vm.rules if r.required and r.kind is RuleKind.SPREAD]
        best: tuple[int, int, int] | None = None
        found: list[str] = []
        for host in packing.closest(item, open_to)[:_HOSTS]:
            out = set(apart.get(host, ()))
            if not all(self._even_out(rule, item.vm, host, out, eligible) for rule in spread):
                continue
            all_out = self._who_goes(item, host, sorted(out))
            if all_out is None:
                continue
            cost = sum(self._failures[name] for name in all_out), len(all_out), host
            if best is None or cost < best:
                best, found = cost, all_out
        return None if best is None else (best[2], found)

    def _even_out(self, rule: Rule, vm: Vm, host: int, out: set[str], eligible: Mask) -> bool:
        """Add to those who go members of the host's domain until one more is even; False if not."""
        packing, domains = self._packing, self._state.topologies.domains(rule.topology)
        gone = [name for name in out if rule.matches(packing.items[name].vm.labels)]
        per_domain, usable = self._book.spread(rule, eligible)
        least = per_domain[usable].min()
        gone_here = sum(domains[packing.placed[name]] == domains[host] for name in gone)
        over = int(per_domain[host] - gone_here + rule.matches(vm.labels) - least - rule.max_skew)
        if over <= 0:
            return True
        members = [
            name
            for name, at in packing.placed.items()
            if domains[at] == domains[host]
            and name not in out
            and rule.matches(packing.items[name].vm.labels)
        ]
        members.sort(key=lambda name: (self._failures[name], packing.items[name].order))
        out.update(members[:over])
        return len(members) >= over

    def _who_goes(self, item: Item, host: int, apart: Iterable[str]) -> list[str] | None:
        """Return who must leave for the item to have room on a host; None if it is too many."""
        packing, out = self._packing, list(apart)
        free = packing.left[:, host].copy()
        for name in out:
            if packing.placed[name] == host:
                free += packing.items[name].needs
        here = [name for name, at in packing.placed.items() if at == host and name not in out]
        # Who had it easiest first, of these the largest.
        here.sort(key=lambda name: packing.items[name].order, reverse=True)
        here.sort(key=lambda name: self._failures[name])
        while len(out) <= _MOST and (free < item.needs).any():
            missing = item.needs - free
            useful = [n for n in here if (np.minimum(packing.items[n].needs, missing) > 0).any()]
            if not useful:
                return None
            enough = [n for n in useful if (packing.items[n].needs >= missing).all()]
            easy = [n for n in enough if self._failures[n] == self._failures[enough[0]]]
            name = easy[-1] if easy else useful[0]
            out.append(name)
            here.remove(name)
            free += packing.items[name].needs
        return out if len(out) <= _MOST else None

    def _foes(self, vm: Vm) -> list[tuple[str, str]]:
        """Return those placed that required anti-affinity has apart from this one, and by what."""
        items = self._packing.items
        return [
            (name, topology)
            for name in self._packing.placed
            for topology in _apart_by(vm, items[name].vm)
        ]

    def _by_host(self, foes: Iterable[tuple[str, str]]) -> dict[int, set[str]]:
        """Return, for every host, which of them would have to leave."""
        found: defaultdict[int, set[str]] = defaultdict(set)
        for name, topology in foes:
            domains = self._state.topologies.domains(topology)
            near = domains == domains[self._packing.placed[name]]
            for host in near.nonzero()[0].tolist():
                found[host].add(name)
        return found

    def _open_to(self, vm: Vm, eligible: Mask, foes: Iterable[tuple[str, str]]) -> Mask:
        """Return the hosts that nobody keeps it from but placed ones, who could leave."""
        gone = [(name, self._packing.placed[name]) for name in dict(foes)]
        items, book = self._packing.items, self._book
        for name, host in gone:
            book.add(items[name].vm, host, -1)
        open_to = eligible.copy()
        for rule in vm.rules:
            if rule.required and rule.kind is RuleKind.SPREAD:
                open_to &= self._state.topologies.domains(rule.topology) >= 0
            elif rule.required:
                open_to &= book.satisfied(rule, vm, eligible)
        for _, _, near in book.against(vm):
            open_to &= ~near
        for name, host in gone:
            book.add(items[name].vm, host)
        return open_to

    def _take(self, name: str) -> None:
        host = self._packing.placed[name]
        self._packing.take(name)
        self._book.add(self._packing.items[name].vm, host, -1)


def _apart_by(one: Vm, other: Vm) -> Iterator[str]:
    """Yield the topologies in which a required rule of either has the two apart."""
    for vm, foe in ((one, other), (other, one)):
        yield from (rule.topology for rule in vm.rules if rule.repels(foe.labels))
