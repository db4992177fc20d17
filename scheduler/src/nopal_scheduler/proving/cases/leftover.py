# SPDX-License-Identifier: Apache-2.0
"""What is left on every host after every loss, with the least and the sums kept up to date.

The amounts are the largest thing that a prover has: of 2,000 hosts 64 MB. No decision reads or
copies all of them.
"""

import numpy as np

from ...rules import Counts, Mask
from ...state import Amounts, State

NO_TARGET = -(2**61)
"""What is left on a host that takes nothing: less than anything needs, whatever is added to it."""
_AT_ONCE = 64
"""Hosts whose least is found in one go, for the size of what is read for it."""


class Leftover:
    """Amounts by resource, loss and host.

    Args:
        state: The cluster before any loss.
        lost: The hosts that are lost, by loss.
    """

    def __init__(self, state: State, lost: Mask) -> None:
        self._takes = state.takes
        self._lost = lost
        self.amounts: Amounts = np.where(lost | ~state.takes, NO_TARGET, state.free[:, None, :])
        """Changed in place for ever after, by packings too: they hold a view of their loss each.
        Who changes one says so: see `changed`."""
        self._least: Amounts = np.empty_like(state.free)
        self._stale: set[int] = set(range(len(state.hosts)))
        """Hosts whose least is to be found anew before it is read."""
        self.totals: Amounts = self.amounts.sum(axis=2, where=self.amounts > 0)
        """By resource and loss: what all hosts together have left; what one lacks counts as 0."""

    @property
    def least(self) -> Amounts:
        """The least that each host has left after any loss of others, by resource: read only."""
        if self._stale:
            stale = sorted(self._stale)
            self._stale.clear()
            for start in range(0, len(stale), _AT_ONCE):
                hosts = np.array(stale[start : start + _AT_ONCE], dtype=np.int64)
                left = self.amounts[:, :, hosts]
                alive = ~self._lost[:, hosts]
                self._least[:, hosts] = left.min(axis=1, where=alive, initial=-NO_TARGET)
        return self._least

    def shared(self, host: int, needs: Amounts) -> None:
        """Give room back on a host, or take it where negative, in all losses that leave it."""
        if self._takes[host]:
            self.shift(np.flatnonzero(~self._lost[:, host]), host, needs)

    def shift(self, cases: Counts, hosts: Counts | int, needs: Amounts) -> None:
        """Give room back in some losses on one host each, or take it where negative."""
        before = self.amounts[:, cases, hosts]
        after = before + needs[:, None]
        self.amounts[:, cases, hosts] = after
        self.totals[:, cases] += np.maximum(after, 0) - np.maximum(before, 0)
        self._stale.update(np.atleast_1d(hosts).tolist())

    def changed(self, case: int, before: Amounts) -> None:
        """Take note that a packing has changed what is left after its loss.

        Args:
            case: Which one.
            before: What was left, by resource and host.
        """
        now = self.amounts[:, case]
        self.totals[:, case] = np.maximum(now, 0).sum(axis=1)
        self._stale.update((now != before).any(axis=0).nonzero()[0].tolist())
