# SPDX-License-Identifier: Apache-2.0
"""Local search in a packing: moves and swaps that make room for one more.

Only what no rule concerns is moved. Each step lessens what the new one lacks on some host, so the
search ends by itself; its effort is bounded besides.
"""

from typing import TYPE_CHECKING

import numpy as np

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
        effort: How many steps are left.
    """

    def __init__(self, packing: "Packing", state: State, effort: Effort) -> None:
        self._packing = packing
        self._state = state
        self._effort = effort
        self._free = [name for name in packing.placed if not packing.is_ruled(name)]
        self._free.sort(key=lambda name: packing.items[name].order)

    def make_room(self, name: str) -> bool:
        """Place one virtual machine by moving others out of its way; tell whether it worked."""
        packing = self._packing
        item = packing.items[name]
        while True:
            host = packing.best(item)
            if host is not None:
                packing.put(name, host)
                self._free.append(name)
                self._free.sort(key=lambda each: packing.items[each].order)
                return True
            if not self._step(item):
                return False

    def _step(self, item: Item) -> bool:
        """Make some host lack less for the item; False if none can, or the effort is spent."""
        left, eligible = self._packing.left, self._state.eligible(item.vm)
        hosts = (eligible & self._packing.targets).nonzero()[0]
        if not hosts.size:
            return False
        lack = self._packing.items.scale @ np.maximum(item.needs[:, None] - left[:, hosts], 0)
        order = hosts[np.argsort(lack, kind="stable")][:_HOSTS]
        return any(self._effort.spend() and self._lighten(h, item.needs) for h in order.tolist())

    def _lighten(self, host: int, needs: Amounts) -> bool:
        """Move or swap something so that the host lacks less for these needs; False if nothing."""
        packing = self._packing
        missing = np.maximum(needs - packing.left[:, host], 0)
        here: list[Item] = []
        there: list[Item] = []
        for name in self._free:
            (here if packing.placed[name] == host else there).append(packing.items[name])
        if not here:
            return False
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
            target = packing.best(here[i], away)
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
            if self._state.eligible(one.vm)[elsewhere] and self._state.eligible(other.vm)[host]:
                self._move(one, elsewhere)
                self._move(other, host)
                return True
        return False

    def _move(self, item: Item, host: int) -> None:
        self._packing.forget(item.vm.name)
        self._packing.put(item.vm.name, host)
