# SPDX-License-Identifier: Apache-2.0
"""How even hosts are used, as sums that one move changes: thousands of moves are tried at once."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..rules import Counts, Mask
from ..state import Amounts, State
from .score import VMS, Weights, weight_of

Floats = npt.NDArray[np.float64]


class Levels:
    """The used share of every resource on every host that counts, and the spread of the shares.

    The number of virtual machines is one row more, as a share of the mean of the beginning.

    Args:
        state: Where everything is; read once, `move` follows from there.
        counted: The hosts whose evenness counts.
        weights: What each spread counts.
    """

    def __init__(self, state: State, counted: Mask, weights: Weights) -> None:
        self.names = (*state.resources, VMS)
        each = np.array([len(there) for there in state.on], dtype=np.int64)
        mean = max(1.0, float(each.sum()) / max(1, int(counted.sum())))
        capacity = np.vstack((state.capacity, np.full((1, len(each)), mean)))
        inside = counted & (capacity > 0)
        with np.errstate(divide="ignore"):
            self._unit: Floats = np.where(inside, 1.0 / capacity, 0.0)
        """By how much one unit raises the share of a host; 0 where it does not count."""
        self._share: Floats = np.vstack((state.capacity - state.free, each)) * self._unit
        self._hosts: Floats = np.maximum(inside.sum(axis=1), 1).astype(np.float64)
        self._weights: Floats = np.array([weight_of(weights, name) for name in self.names])

    def spread(self) -> Mapping[str, float]:
        """Return the standard deviation of the shares, by name."""
        return dict(zip(self.names, self._deviation().tolist(), strict=True))

    @property
    def total(self) -> float:
        """Return the weighted sum of the standard deviations."""
        return float(self._weights @ self._deviation())

    def move(self, needs: Amounts, source: int, target: int) -> None:
        """Follow one virtual machine from host to host."""
        row = np.append(needs, 1)
        self._share[:, source] -= row * self._unit[:, source]
        self._share[:, target] += row * self._unit[:, target]

    def pressure(self) -> Floats:
        """Return how far every host is above the means, weighted: where moves win most."""
        above = (self._share - self._means()[:, None]) * (self._unit > 0)
        result: Floats = self._weights @ np.square(np.maximum(above, 0.0))
        return result

    def gains(self, needs: Amounts, sources: Counts) -> Floats:
        """Return by how much the total falls for every move to every host.

        Args:
            needs: One virtual machine a row: what it takes, by resource.
            sources: The host that each is on; its own column means nothing.
        """
        rows = np.hstack((needs, np.ones((len(needs), 1), dtype=np.int64)))
        out = rows * self._unit[:, sources].T
        count = self._hosts[:, None]
        # What the source alone changes: sum and sum of squares, by resource and row.
        sums = (self._share.sum(axis=1) - out).T
        squares = (np.square(self._share).sum(axis=1) + out * (out - 2 * self._share.T[sources])).T
        total = np.zeros((len(rows), self._unit.shape[1]))
        for r, weight in enumerate(self._weights.tolist()):
            if weight:
                into = rows[:, r, None] * self._unit[r]
                mean = (sums[r, :, None] + into) / count[r]
                mine = into * (into + 2 * self._share[r])
                variance = (squares[r, :, None] + mine) / count[r] - mean * mean
                total -= weight * np.sqrt(np.maximum(variance, 0.0))
        total += self.total
        return total

    def exchanges(self, needs: Amounts, ones: Counts, others: Counts) -> Floats:
        """Return by how much the total falls for changes of places.

        Args:
            needs: One change a row: what moves from one to the other, by resource, taken together.
            ones: The hosts that lose it.
            others: The hosts that win it.
        """
        total = np.full(len(needs), self.total)
        for r, weight in enumerate(self._weights[:-1].tolist()):
            share, unit = self._share[r], self._unit[r]
            out, into = needs[:, r] * unit[ones], needs[:, r] * unit[others]
            mean = (share.sum() - out + into) / self._hosts[r]
            squares = np.square(share).sum() + out * (out - 2 * share[ones])
            squares = squares + into * (into + 2 * share[others])
            variance = squares / self._hosts[r] - mean * mean
            total -= weight * np.sqrt(np.maximum(variance, 0.0))
        total -= self._weights[-1] * self._deviation()[-1]
        return total

    def numbers(self) -> tuple[list[list[float]], list[list[float]], list[float], list[float]]:
        """Return it all as plain numbers, in the order of `names`.

        By how much one unit raises the share of each host, the shares of each host, how many hosts
        count, and the weights.
        """
        return (
            self._unit.T.tolist(),
            self._share.T.tolist(),
            self._hosts.tolist(),
            self._weights.tolist(),
        )

    def _means(self) -> Floats:
        means: Floats = self._share.sum(axis=1) / self._hosts
        return means

    def _deviation(self) -> Floats:
        squares = np.square(self._share).sum(axis=1) / self._hosts
        result: Floats = np.sqrt(np.maximum(squares - np.square(self._means()), 0.0))
        return result
