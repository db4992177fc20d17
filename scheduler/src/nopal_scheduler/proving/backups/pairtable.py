# SPDX-License-Identifier: Apache-2.0
"""What arrives on one host by pair of failure domains, as arrays that grow and shrink in place."""

import numpy as np

from ...rules import Counts
from ...state import Amounts
from .pairs import Trigger

_FIRST = 16
"""Rows at the start; twice as many whenever they are used up."""


class PairTable:
    """The pairs of one host, for k = 2: no order, one row for each.

    Args:
        resources: How many there are.
    """

    def __init__(self, resources: int) -> None:
        self._rows: dict[Trigger, int] = {}
        self._triggers: list[Trigger] = []
        self._ends: Counts = np.zeros((2, _FIRST), dtype=np.int64)
        self._amounts: Amounts = np.zeros((resources, _FIRST), dtype=np.int64)

    def put(self, pair: Trigger, amount: Amounts) -> None:
        """Set what arrives once both domains of a pair are lost; nothing takes the pair out."""
        row = self._rows.get(pair)
        if not amount.any():
            if row is not None:
                self._take_out(pair, row)
            return
        if row is None:
            row = self._rows[pair] = len(self._triggers)
            self._triggers.append(pair)
            if row == self._ends.shape[1]:
                self._ends = np.concatenate((self._ends, self._ends), axis=1)
                self._amounts = np.concatenate((self._amounts, self._amounts), axis=1)
            self._ends[:, row] = pair
        self._amounts[:, row] = amount

    def raise_most(self, most: Amounts, single: Amounts) -> None:
        """Raise the most by domain to what arrives in each loss of two that is a pair.

        Args:
            most: By resource and domain; changed in place.
            single: What arrives once one domain is lost, by resource and domain.
        """
        count = len(self._triggers)
        first, second = self._ends[:, :count]
        for row, alone, amounts in zip(most, single, self._amounts[:, :count], strict=True):
            total = alone[first] + alone[second] + amounts
            np.maximum.at(row, first, total)
            np.maximum.at(row, second, total)

    def _take_out(self, pair: Trigger, row: int) -> None:
        last = self._triggers.pop()
        del self._rows[pair]
        if last != pair:
            self._triggers[row] = last
            self._rows[last] = row
            self._ends[:, row] = last
            self._amounts[:, row] = self._amounts[:, len(self._triggers)]
