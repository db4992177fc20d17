# SPDX-License-Identifier: Apache-2.0
"""Local search in a packing: moves and swaps that make room for one more.

Each step lessens what the new one lacks on some host, so the search ends by itself; its effort is
bounded besides. What rules concern is moved only where they allow it.
"""

from typing import TYPE_CHECKING

import numpy as np

from ...rules import Mask, RuleBook
from ...state import Amounts, State
from .item import Effort, Item

if TYPE_CHECKING:
    from .packing import Packing

_HOSTS = 6
"""Hosts that one step looks at: those that lack the least."""
_SWAPS = 8
"""Swaps that are tried for one host, the most useful first: most fail at who may go where."""


class Exchange:
    """Makes room in one packing.

    Args:
        packing: What is changed.
        state: The cluster before the loss; read only.
        book: The rules' counts after the loss, with everything that is placed; kept up to date.
    """

    def __init__(self, packing: "Packing", state: State, book: RuleBook) -> None:
        self._packing = packing
        self._state = state
        self._book = book
        self._ruled = {name for name in packing.names() if packing.is_ruled(name)}

    def make_room(self, name: str, effort: Effort) -> bool:
        """Place one virtual machine by moving others out of its way; tell whether it worked."""
        packing = self._packing
        item = packing.items[name]
        while True:
            host = packing.best(item, self._allowed(item))
            if host is not None:
                self.put(item, host)
                return True
            if not self._step(item, effort):
                return False

    def put(self, item: Item, host: int) -> None:
        """Place one virtual machine on a host that is known to fit."""
        self._packing.put(item.vm.name, host)
        self._book.add(item.vm, host)

    def _step(self, item: Item, effort: Effort) -> bool:
        """Make some host lack less for the item; False if none can, or the effort is spent."""
        usable, allowed = self._packing.usable(item), self._allowed(item)
        hosts = self._packing.closest(item, usable if allowed is None else usable & allowed)
        return any(effort.spend() and self._lighten(host, item.needs) for host in hosts[:_HOSTS])

    def _lighten(self, host: int, needs: Amounts) -> bool:
        """Move or swap something so that the host lacks less for these needs; False if nothing."""
        packing = self._packing
        missing = np.maximum(needs - packing.left[:, host], 0)
        here: list[Item] = []
        there: list[Item] = []
        for name, at in packing.placed.items():
            (here if at == host else there).append(packing.items[name])
        if not here:
            return False
        here.sort(key=lambda item: item.order)
        there.sort(key=lambda item: item.order)
        return self._move_one(host, here, missing) or bool(
            there and self._swap(host, here, there, missing)
        )

    def _move_one(self, host: int, here: list[Item], missing: Amounts) -> bool:
        """Move one away: the smallest that frees all that is missing, else the largest."""
        packing = self._packing
        away = np.ones(packing.left.shape[1], dtype=np.bool_)
        away[host] = False
        # Room elsewhere, item by host, before the dear question for each.
        needs = np.array([item.needs for item in here])
        room = np.all(packing.left[None, :, :] >= needs[:, :, None], axis=1)
        possible = np.flatnonzero(np.any(room & away, axis=1)).tolist()
        useful = [i for i in possible if (np.minimum(needs[i], missing) > 0).any()]
        enough = [i for i in useful if (needs[i] >= missing).all()]
        for i in (*enough, *(i for i in reversed(useful) if i not in enough)):
            allowed = self._allowed(here[i])
            target = packing.best(here[i], away if allowed is None else away & allowed)
            if target is not None:
                self._move(here[i], target)
                return True
        return False

    def _swap(self, host: int, here: list[Item], there: list[Item], missing: Amounts) -> bool:
        """Swap a larger one of this host for a smaller one elsewhere: as much as is missing."""
        packing = self._packing
        mine, theirs = (np.array([item.needs for item in items]) for items in (here, there))
        at = np.array([packing.placed[item.vm.name] for item in there])
        gain = mine[:, None, :] - theirs[None, :, :]
        # The other host must take the difference, and ours must win something and lose nothing.
        fits = (gain <= packing.left[:, at].T[None, :, :]).all(axis=2)
        useful = np.minimum(gain, missing) @ packing.items.scale
        useful[~(fits & (gain >= 0).all(axis=2))] = 0
        for flat in np.argsort(-useful, axis=None, kind="stable")[:_SWAPS].tolist():
            i, j = divmod(int(flat), len(there))
            if useful[i, j] <= 0:
                return False
            one, other, elsewhere = here[i], there[j], int(at[j])
            if self._may_swap(one, host, other, elsewhere):
                self._move(one, elsewhere)
                self._move(other, host)
                return True
        return False

    def _may_swap(self, one: Item, here: int, other: Item, there: int) -> bool:
        """Tell whether two may change places, by who may go where and by the rules."""
        eligible, book = self._state.eligible, self._book
        if not (eligible(one.vm)[there] and eligible(other.vm)[here]):
            return False
        if self._ruled.isdisjoint((one.vm.name, other.vm.name)):
            return True
        book.add(one.vm, here, -1)
        book.add(other.vm, there, -1)
        allowed = book.allowed(one.vm, self._packing.usable(one))[there]
        book.add(one.vm, there)
        allowed = allowed and book.allowed(other.vm, self._packing.usable(other))[here]
        book.add(one.vm, there, -1)
        book.add(one.vm, here)
        book.add(other.vm, there)
        return bool(allowed)

    def _allowed(self, item: Item) -> Mask | None:
        """Return where its rules, and those of others, allow it to be; None for anywhere."""
        name = item.vm.name
        if name not in self._ruled:
            return None
        at = self._packing.placed.get(name)
        if at is not None:
            self._book.add(item.vm, at, -1)
        allowed = self._book.allowed(item.vm, self._packing.usable(item))
        if at is not None:
            self._book.add(item.vm, at)
        return allowed

    def _move(self, item: Item, host: int) -> None:
        self._book.add(item.vm, self._packing.placed[item.vm.name], -1)
        self._packing.forget(item.vm.name)
        self.put(item, host)
