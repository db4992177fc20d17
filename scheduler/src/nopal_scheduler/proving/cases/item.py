# SPDX-License-Identifier: Apache-2.0
"""What a packing handles: a virtual machine with its needs as numbers, worked out once."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...model import Vm
from ...state import Amounts, State


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One virtual machine that is to be packed."""

    vm: Vm
    needs: Amounts
    """By resource."""
    size: float
    """Its largest share of a mean host, over all resources."""

    @property
    def order(self) -> tuple[float, str]:
        """Return what items are sorted by, so that equals have an order too."""
        return self.size, self.vm.name


class Items:
    """The items of a state's virtual machines.

    Args:
        state: Where the resources are from.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        totals = np.maximum(state.capacity.sum(axis=1), 1)
        self.scale: npt.NDArray[np.float64] = len(state.hosts) / totals
        """One over the mean capacity of each resource: makes amounts comparable."""
        self._items: dict[str, Item] = {}

    def __getitem__(self, name: str) -> Item:
        """Return the item of a virtual machine that the state has; raises KeyError."""
        item = self._items.get(name)
        if item is None:
            vm = self._state.vms[name]
            needs = self._state.needs(vm)
            item = self._items[name] = Item(vm, needs, float((self.scale * needs).max()))
        return item

    def forget(self, name: str) -> None:
        """Drop a virtual machine's item: it leaves the state."""
        self._items.pop(name, None)


class Effort:
    """How much searching a decision may still do; counts steps, never time.

    Args:
        steps: How many moves and swaps.
        ejections: How many ejections after those.
    """

    def __init__(self, steps: int, ejections: int = 0) -> None:
        self._left = steps
        self._ejections = ejections
        self.ejected = 0
        """How many ejections were asked for."""

    def spend(self) -> bool:
        """Take one step; tell whether there was one left."""
        self._left -= 1
        return self._left >= 0

    def spend_ejection(self) -> bool:
        """Take one ejection; tell whether there was one left."""
        self.ejected += 1
        return self.ejected <= self._ejections
