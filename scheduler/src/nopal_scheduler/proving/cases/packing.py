# SPDX-License-Identifier: Apache-2.0
"""One loss: what is left on every host, and where everything that was lost goes.

Vector bin packing with rules. What rules concern is placed first, the rest largest first, each
where the least is left over (best fit); then `exchange` moves and swaps within the rules. Where
that fails in a packing from nothing, `ejection` sends some out to let others in.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from ...model import Vm
from ...rules import Mask, RuleBook
from ...state import Amounts, State
from .ejection import Ejection
from .exchange import Exchange
from .item import Effort, Item, Items

Saved = tuple[Amounts, dict[str, int], set[str], dict[str, Vm]]


class Packing:
    """Where the virtual machines of lost hosts are, after one loss.

    Args:
        state: The cluster before the loss; read only.
        items: The items of its virtual machines.
        lost: The hosts that are lost.
        left: What is left on each host, by resource: a view that the packing keeps up to date.
            `NO_TARGET` on hosts that are lost or take nothing.
    """

    def __init__(self, state: State, items: Items, lost: Mask, left: Amounts) -> None:
        self._state = state
        self.items = items
        self._lost = lost
        self.left = left
        self.targets: Mask = state.takes & ~lost
        """The hosts that are alive and take virtual machines."""
        self.placed: dict[str, int] = {}
        """Host by virtual machine."""
        self.unplaced: set[str] = set()
        self._stirred: dict[str, Vm] = {}
        """Those that rules concern and that came, went or moved since all was in order."""

    @property
    def is_settled(self) -> bool:
        """Tell whether everything is placed."""
        return not self.unplaced

    def names(self) -> Iterable[str]:
        """Return the names of everything that is lost and restarts, placed or not."""
        return (*self.placed, *self.unplaced)

    def save(self) -> Saved:
        """Return what `restore` needs to undo every change from here on."""
        return self.left.copy(), dict(self.placed), set(self.unplaced), dict(self._stirred)

    def restore(self, saved: Saved) -> None:
        """Undo every change since `save`."""
        self.left[...], self.placed, self.unplaced, self._stirred = saved

    def put(self, name: str, host: int) -> None:
        """Place one virtual machine on a host that is known to fit."""
        self.unplaced.discard(name)
        self.note(name, host)
        if self.is_ruled(name):
            self.stir(self.items[name].vm)
        self.left[:, host] -= self.items[name].needs

    def put_if_it_fits(self, name: str, host: int) -> None:
        """Place one virtual machine on a host that has room and may take it; rules come later."""
        item = self.items[name]
        if self.usable(item)[host] and (self.left[:, host] >= item.needs).all():
            self.put(name, host)

    def note(self, name: str, host: int) -> None:
        """Take note of a place whose room is taken already."""
        self.placed[name] = host

    def forget(self, name: str) -> None:
        """Take one virtual machine out: it is not in the loss any more."""
        host = self.placed.pop(name, None)
        if host is None:
            self.unplaced.discard(name)
        else:
            self.left[:, host] += self.items[name].needs
            if self.is_ruled(name):
                self.stir(self.items[name].vm)

    def stir(self, vm: Vm) -> None:
        """Take note that one came, went or moved, here or on a host that is not lost."""
        self._stirred[vm.name] = vm

    def take(self, name: str) -> None:
        """Make one virtual machine unplaced."""
        self.forget(name)
        self.unplaced.add(name)

    def settle(self, effort: Effort) -> bool:
        """Place what is unplaced, and move what stands in the way; tell whether all is placed."""
        self._relieve()
        if self._insert_all(effort) and not self._out_of_order():
            return True
        self.repack(effort)
        return self.is_settled

    def repack(self, effort: Effort) -> None:
        """Place everything anew; what cannot be placed is in `unplaced` afterwards."""
        for name in tuple(self.placed):
            self.take(name)
        self._insert_all(effort)
        self._take_all(self._out_of_order())
        while self._is_worth_it() and Ejection(self, self._state, self._book()).settle(effort):
            self._take_all(self._out_of_order())

    def _is_worth_it(self) -> bool:
        """Tell whether something is unplaced and all hosts together have room for it."""
        if not self.unplaced:
            return False
        wanted = sum(self.items[name].needs for name in self.unplaced)
        left = np.maximum(self.left[:, self.targets], 0).sum(axis=1)
        return bool((wanted <= left).all())

    def _take_all(self, names: Iterable[str]) -> None:
        for name in names:
            self.take(name)

    def best(self, item: Item, allowed: Mask | None = None) -> int | None:
        """Return the host with room that has least left afterwards; None without one."""
        fits = (self.left >= item.needs[:, None]).all(axis=0)
        fits &= self._state.eligible(item.vm)
        if allowed is not None:
            fits &= allowed
        hosts = fits.nonzero()[0]
        if not hosts.size:
            return None
        return int(hosts[(self.items.scale @ self.left[:, hosts]).argmin()])

    def closest(self, item: Item, hosts: Mask) -> list[int]:
        """Return some hosts, those first that lack the least to have room for it."""
        some = hosts.nonzero()[0]
        lack = self.items.scale @ np.maximum(item.needs[:, None] - self.left[:, some], 0)
        closest: list[int] = some[np.argsort(lack, kind="stable")].tolist()
        return closest

    def is_ruled(self, name: str) -> bool:
        """Tell whether rules decide where it may go, or it decides so for others."""
        rules, vm = self._state.rules, self.items[name].vm
        return rules.concerns(vm) or rules.counts(vm)

    def _relieve(self) -> None:
        """Take virtual machines off hosts that have less than nothing left."""
        over = (self.left < 0).any(axis=0) & self.targets
        for host in over.nonzero()[0].tolist():
            there = [name for name, at in self.placed.items() if at == host]
            there.sort(key=lambda name: self.items[name].order)
            while there and (self.left[:, host] < 0).any():
                missing = -self.left[:, host]
                enough = (n for n in there if (self.items[n].needs >= missing).all())
                # The smallest that is enough, else the largest: few moves, and small ones.
                name = next(enough, there[-1])
                there.remove(name)
                self.take(name)

    def _insert_all(self, effort: Effort) -> bool:
        """Place what is unplaced; tell whether all found a host."""
        waiting = sorted(self.unplaced, key=lambda name: self.items[name].order, reverse=True)
        ruled = [name for name in waiting if self.is_ruled(name)]
        if ruled:
            self._insert_ruled(ruled)
            waiting = [name for name in waiting if not self.is_ruled(name)]
        for name in waiting:
            self._insert(name)
        stuck = sorted(self.unplaced, key=lambda name: self.items[name].order, reverse=True)
        if not stuck:
            return True
        exchange = Exchange(self, self._state, self._book())
        return not [name for name in stuck if not exchange.make_room(name, effort)]

    def _insert_ruled(self, names: list[str]) -> None:
        """Place what rules concern; whoever needs another one nearby comes after it."""
        book, progress = self._book(), True
        while names and progress:
            progress = False
            for name in tuple(names):
                item = self.items[name]
                host = self.best(item, book.allowed(item.vm, self.usable(item)))
                if host is not None:
                    self.put(name, host)
                    book.add(item.vm, host)
                    names.remove(name)
                    progress = True

    def _insert(self, name: str) -> bool:
        host = self.best(self.items[name])
        if host is None:
            return False
        self.put(name, host)
        return True

    def _out_of_order(self) -> tuple[str, ...]:
        """Return placed virtual machines whose host is against a rule, with all in place."""
        rules, items = self._state.rules, self.items
        ruled = [n for n in self.placed if rules.concerns(items[n].vm) and self._is_stirred(n)]
        if not ruled:
            self._stirred.clear()
            return ()
        book, found = self._book(), []
        for name in ruled:
            item, host = items[name], self.placed[name]
            book.add(item.vm, host, -1)
            if not book.allowed(item.vm, self.usable(item))[host]:
                found.append(name)
            book.add(item.vm, host)
        if not found:
            self._stirred.clear()
        return tuple(found)

    def _is_stirred(self, name: str) -> bool:
        """Tell whether its rules may have come to be broken: by itself or by one they look at."""
        vm = self.items[name].vm
        return name in self._stirred or any(
            any(rule.required and rule.matches(other.labels) for rule in vm.rules)
            or any(rule.repels(vm.labels) for rule in other.rules)
            for other in self._stirred.values()
        )

    def _book(self) -> RuleBook:
        """Return the rules' counts after the loss, with everything that is placed."""
        book = self._state.rules.without(self._lost)
        for name, host in self.placed.items():
            book.add(self.items[name].vm, host)
        return book

    def usable(self, item: Item) -> Mask:
        """Return the hosts left on which it could be but for rules and room."""
        usable: Mask = self._state.eligible(item.vm) & ~self._lost
        return usable


def in_words(state: State, placed: Mapping[str, int]) -> dict[str, str]:
    """Return a packing in words: host name by virtual machine."""
    return {name: state.hosts[placed[name]].name for name in sorted(placed)}
