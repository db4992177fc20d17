# SPDX-License-Identifier: Apache-2.0
"""What may arrive on each host when failure domains are lost, kept as sums over backup lists.

A virtual machine arrives on a host of its list when its home and the domains of all earlier hosts
of the list are lost: its *trigger*, 1 to k domains. With S lost, a host gets the sum of the needs
whose trigger lies within S. Triggers of one and the same host are few, so that the most over all S
of k domains is found without going through the S.
"""

from itertools import combinations

import numpy as np

from ...rules import Mask
from ...state import Amounts
from .pairs import Pairs, Trigger
from .pairtable import PairTable


class BackupSums:
    """Sums by host and trigger, and the most that a host can get.

    Args:
        shape: How many resources and how many hosts there are.
        domains: How many failure domains there are, more than `failures`.
        failures: k, 1 to 3; ValueError else.
    """

    def __init__(self, shape: tuple[int, ...], domains: int, failures: int) -> None:
        if not 1 <= failures <= 3:
            raise ValueError("sums over backup lists are for 1 to 3 failures")
        resources, hosts = shape
        self._failures = failures
        self._single: Amounts = np.zeros((resources, hosts, domains), dtype=np.int64)
        """What a host gets as the first of lists, by the home that is lost."""
        self._most: Amounts = np.zeros((resources, hosts, domains), dtype=np.int64)
        """The most that a host gets in any loss that includes the domain."""
        self._worst: Amounts = np.zeros((resources, hosts), dtype=np.int64)
        self._stale: set[int] = set()
        """Hosts whose most and worst are to be found anew before they are read."""
        self._sums: dict[Trigger, dict[int, Amounts]] = {}
        """By trigger of 2 or 3 domains and by host, and the same arrays by host and trigger: """
        self._at: tuple[dict[Trigger, Amounts], ...] = tuple({} for _ in range(hosts))
        self._pairs = tuple(PairTable(resources) for _ in range(hosts if failures == 2 else 0))
        """For k = 2 the same by host once more, as arrays."""
        self._around: dict[Trigger, dict[Trigger, None]] = {}
        """By trigger those in `_sums` with one domain more."""

    def add(self, trigger: Trigger, host: int, amount: Amounts) -> None:
        """Add what arrives on a host once all domains of the trigger are lost.

        Args:
            trigger: 1 to k domains, the host's own not among them.
            host: Where.
            amount: How much, by resource; negative to take away what was added.
        """
        if not amount.any():
            return
        if len(trigger) == 1:
            self._single[:, host, trigger[0]] += amount
        else:
            self._add_sparse(trigger, host, amount)
        self._stale.add(host)

    @property
    def worst(self) -> Amounts:
        """The most that each host gets in any loss, resource by resource."""
        for host in sorted(self._stale):
            self._refresh(host)
        return self._worst

    def worst_of(self, host: int) -> Amounts:
        """Return the most that one host gets in any loss, by resource."""
        if host in self._stale:
            self._refresh(host)
        return self._worst[:, host]

    def with_all_of(self, trigger: Trigger) -> Amounts:
        """Return the most that each host gets in any loss that includes the trigger."""
        if len(trigger) == self._failures:
            return self.exactly(trigger)
        if len(trigger) == 1:
            for host in sorted(self._stale):
                self._refresh(host)
            return self._most[:, :, trigger[0]]
        a, b = trigger
        third = self._single.copy()
        for one, other in ((a, b), (b, a)):
            for pair in self._around.get((one,), ()):
                c = pair[0] if pair[1] == one else pair[1]
                if c != other:
                    for host, amount in self._sums[pair].items():
                        third[:, host, c] += amount
        for triple in self._around.get(trigger, ()):
            c = sum(triple) - a - b
            for host, amount in self._sums[triple].items():
                third[:, host, c] += amount
        third[:, :, trigger] = 0
        most: Amounts = self.exactly(trigger) + third.max(axis=2)
        return most

    def in_worst(self, host: int, resource: int) -> Mask:
        """Return the failure domains of all losses after which the host gets the most."""
        worst: Mask = self._most[resource, host] == self.worst_of(host)[resource]
        return worst

    def exactly(self, trigger: Trigger) -> Amounts:
        """Return what each host gets when the trigger is lost and nothing else."""
        total: Amounts = self._single[:, :, trigger].sum(axis=2)
        for size in range(2, len(trigger) + 1):
            for part in combinations(trigger, size):
                for host, amount in self._sums.get(part, {}).items():
                    total[:, host] += amount
        return total

    def _add_sparse(self, trigger: Trigger, host: int, amount: Amounts) -> None:
        there = self._sums.get(trigger)
        if there is None:
            there = self._sums[trigger] = {}
            for part in combinations(trigger, len(trigger) - 1):
                self._around.setdefault(part, {})[trigger] = None
        total = there.get(host)
        if total is None:
            total = there[host] = self._at[host][trigger] = amount.copy()
        else:
            total += amount
        if self._pairs:
            self._pairs[host].put(trigger, total)
        if total.any():
            return
        del there[host], self._at[host][trigger]
        if not there:
            del self._sums[trigger]
            for part in combinations(trigger, len(trigger) - 1):
                del self._around[part][trigger]

    def _refresh(self, host: int) -> None:
        """Find the most anew, exactly: of the k largest singles, and of every set with a pair."""
        self._stale.discard(host)
        k, single = self._failures, self._single[:, host]
        top = np.partition(single, -k, axis=1)[:, -k:]
        least = top.min(axis=1, keepdims=True)
        most = np.minimum(single, least) + top.sum(axis=1, keepdims=True) - least
        if k == 2:
            self._pairs[host].raise_most(most, single)
        elif self._at[host]:
            pairs = Pairs({t: x for t, x in self._at[host].items() if len(t) == 2}, single)
            pairs.raise_to_triples(most)
            triples = {t: x for t, x in self._at[host].items() if len(t) == 3}
            if triples:
                own = np.array(list(triples.values())).T
                pairs.raise_to(most, np.array(list(triples)), own)
        self._most[:, host] = most
        self._worst[:, host] = most.max(axis=1)
