# SPDX-License-Identifier: Apache-2.0
"""What arrives on one host for pairs of failure domains: the most over all sets with such a pair.

No set is left out, and yet not every set is looked at. A set of three domains holds one pair, or
two that share a domain (its hub), or all three: a triangle. The first two are, for each hub, the
two largest of the other domains; triangles are few and are listed.
"""

from collections.abc import Mapping

import numpy as np

from ...rules import Counts
from ...state import Amounts

Trigger = tuple[int, ...]
"""Failure domains by number, in rising order."""


class Pairs:
    """The pairs of one host.

    Args:
        pairs: What arrives once both are lost, by resource.
        single: What arrives once one is lost, by resource and domain.
    """

    def __init__(self, pairs: Mapping[Trigger, Amounts], single: Amounts) -> None:
        self._single = single
        self._domains = single.shape[1]
        ends = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
        keys = ends @ (self._domains, 1)
        order = keys.argsort()
        self._keys: Counts = keys[order]
        self._ends: Counts = ends[order].T
        amounts = np.array(list(pairs.values()), dtype=np.int64).reshape(-1, single.shape[0])
        # One more for every pair that is not there.
        nothing = np.zeros((single.shape[0], 1), dtype=np.int64)
        self._amounts: Amounts = np.concatenate((amounts[order].T, nothing), axis=1)

    def raise_to_triples(self, most: Amounts) -> None:
        """Raise the most by domain to what arrives in each loss of three with a pair in it."""
        if self._keys.size:
            self._raise_to_hubs(most)
            triangles = self._triangles()
            if triangles.size:
                self.raise_to(most, triangles)

    def raise_to(self, most: Amounts, sets: Counts, own: Amounts | int = 0) -> None:
        """Raise the most by domain to what arrives in the given losses.

        Args:
            most: By resource and domain; changed in place.
            sets: Two or three domains in rising order in each row.
            own: What arrives besides for all three, by resource and row.
        """
        columns = sets.T
        total = self._single[:, columns].sum(axis=1) + own
        for first in range(len(columns)):
            for second in range(first + 1, len(columns)):
                total += self._of(columns[first], columns[second])
        for row, values in zip(most, total, strict=True):
            for column in columns:
                np.maximum.at(row, column, values)

    def _of(self, first: Counts, second: Counts) -> Amounts:
        keys = first * self._domains + second
        at = np.searchsorted(self._keys, keys)
        at[at == self._keys.size] = 0
        known = self._keys[at] == keys if self._keys.size else np.zeros(len(keys), dtype=np.bool_)
        amounts: Amounts = self._amounts[:, np.where(known, at, self._keys.size)]
        return amounts

    def _raise_to_hubs(self, most: Amounts) -> None:
        a, b = self._ends
        degree = np.bincount(self._ends.ravel(), minlength=self._domains)
        is_hub = degree > 1
        is_hub[a[~is_hub[a] & ~is_hub[b]]] = True
        hubs = np.flatnonzero(is_hub)
        number = np.cumsum(is_hub) - 1
        beside = np.repeat(self._single[:, None, :], len(hubs), axis=1)
        for one, other in ((a, b), (b, a)):
            at = is_hub[one]
            beside[:, number[one[at]], other[at]] += self._amounts[:, :-1][:, at]
        rows = np.arange(len(hubs))
        beside[:, rows, hubs] = 0
        largest = beside.argmax(axis=2)[:, :, None]
        first = np.take_along_axis(beside, largest, axis=2)
        np.put_along_axis(beside, largest, -1, axis=2)
        second = beside.max(axis=2, keepdims=True)
        np.put_along_axis(beside, largest, second, axis=2)
        beside += first + self._single[:, hubs, None]
        beside[:, rows, hubs] += second[:, :, 0]
        np.maximum(most, beside.max(axis=1), out=most)

    def _triangles(self) -> Counts:
        a, b = self._ends
        near = np.zeros((self._domains, self._domains), dtype=np.bool_)
        near[a, b] = True
        pair, third = (near[a] & near[b]).nonzero()
        return np.stack((a[pair], b[pair], third), axis=1)
