# SPDX-License-Identifier: Apache-2.0
"""Which hosts a virtual machine's rules leave: counts of what selectors match, host by host.

A host is its index everywhere here; every mask and count is an array over all hosts.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from .model import HOST, Host, Rule, RuleKind, Vm
from .selectors import Selector, SelectorIndex, is_in, labels_key

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


class Topologies:
    """The domains of every topology: each host's domain as a small number, -1 where it has none."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = tuple(hosts)
        self._known: dict[str, Counts] = {}

    def describe(self, hosts: Sequence[Host]) -> None:
        """Take other labels of the same hosts; those that `domains` was asked for are the same."""
        self._hosts = tuple(hosts)

    def domains(self, topology: str) -> Counts:
        """Return the domain number of every host."""
        known = self._known.get(topology)
        if known is None:
            numbers: dict[str, int] = {}
            found = [host.domain(topology) for host in self._hosts]
            known = np.array(
                [-1 if d is None else numbers.setdefault(d, len(numbers)) for d in found],
                dtype=np.int64,
            )
            self._known[topology] = known
        return known

    def per_domain(self, topology: str, per_host: Counts) -> Counts:
        """Return, for every host, the sum over its domain; 0 where it has none."""
        if topology == HOST:
            return per_host
        domains = self.domains(topology)
        inside = domains >= 0
        if not inside.any():
            return np.zeros_like(per_host)
        sums = np.bincount(domains[inside], weights=per_host[inside]).astype(np.int64)
        return np.where(inside, sums[domains], 0)


class RuleBook:
    """What the rules of placed virtual machines need to know, kept up to date one by one.

    Counts are sparse: of thousands of selectors each matches a few virtual machines.

    Args:
        topologies: The domains of the hosts.
        hosts: How many hosts there are.
    """

    def __init__(self, topologies: Topologies, hosts: int) -> None:
        self._topologies = topologies
        self._count = hosts
        self._labels: dict[Selector, _Sparse] = {}
        """Label sets of placed virtual machines, each with how many are on each host."""
        self._label_sets: defaultdict[tuple[str, str], set[Selector]] = defaultdict(set)
        """Label sets by each of their labels."""
        self._matching: dict[Selector, _Sparse] = {}
        """By selector: how many virtual machines it matches on each host."""
        self._holding: defaultdict[_Holder, _Sparse] = defaultdict(dict)
        """Required anti-affinity by selector and topology: how many on each host hold it."""
        self._selectors: SelectorIndex[Selector] = SelectorIndex()
        self._holders: SelectorIndex[_Holder] = SelectorIndex()
        self._before: RuleBook | None = None
        """What this one differs from: there everything on the lost hosts is gone."""
        self._lost: Mask = np.zeros(0, dtype=np.bool_)

    def add(self, vm: Vm, host: int, count: int = 1) -> None:
        """Count a virtual machine in on a host, or out with a count of -1."""
        for rule in vm.rules:
            self._selectors.add(rule.selector, rule.selector)
        tables = [self._of(selector) for selector in self._selectors.matching(vm.labels)]
        labels = labels_key(vm.labels)
        if labels not in self._labels:
            self._labels[labels] = {}
            for pair in labels:
                self._label_sets[pair].add(labels)
        for there in (self._labels[labels], *tables):
            _count(there, host, count)
        if not self._labels[labels]:
            self._drop(labels)
        for rule in vm.rules:
            if rule.required and rule.kind is RuleKind.ANTI_AFFINITY:
                holder = (rule.selector, rule.topology)
                self._holders.add(holder, rule.selector)
                _count(self._holding[holder], host, count)

    def without(self, lost: Mask) -> "RuleBook":
        """Return a book in which everything on the lost hosts is gone; this one must not change."""
        after = RuleBook(self._topologies, self._count)
        after._before, after._lost = self, lost
        after._selectors, after._holders = self._selectors, self._holders
        return after

    def concerns(self, vm: Vm) -> bool:
        """Tell whether any required rule, its own or another's, limits where it may go."""
        return any(rule.required for rule in vm.rules) or any(
            self._holding.get(holder) for holder in self._holders.matching(vm.labels)
        )

    def counts(self, vm: Vm) -> bool:
        """Tell whether a selector known by now matches it, so that others see where it is."""
        return any(True for _ in self._selectors.matching(vm.labels))

    def allowed(self, vm: Vm, eligible: Mask) -> Mask:
        """Return the hosts that break no required rule, for a VM that is not counted in itself.

        Args:
            vm: The virtual machine.
            eligible: Hosts that it could use but for its rules: SPREAD counts their domains only.
        """
        allowed: Mask = np.ones(self._count, dtype=np.bool_)
        for rule in vm.rules:
            if rule.required:
                allowed &= self.satisfied(rule, vm, eligible)
        for _, _, near in self.against(vm):
            allowed &= ~near
        return allowed

    def satisfied(self, rule: Rule, vm: Vm, eligible: Mask) -> Mask:
        """Return the hosts on which the virtual machine would satisfy one rule of its own."""
        per_host = self._matched(rule.selector)
        inside = self._topologies.domains(rule.topology) >= 0
        there = self._topologies.per_domain(rule.topology, per_host)
        if rule.kind is RuleKind.ANTI_AFFINITY:
            apart: Mask = inside & (there == 0)
            return apart
        if rule.kind is RuleKind.AFFINITY:
            if not per_host.any() and rule.matches(vm.labels):
                return inside
            return inside & (there > 0)
        there, usable = self.spread(rule, eligible)
        if not usable.any():
            return usable
        own = int(rule.matches(vm.labels))
        even: Mask = inside & (there + own - there[usable].min() <= rule.max_skew)
        return even

    def spread(self, rule: Rule, eligible: Mask) -> tuple[Counts, Mask]:
        """Return how many a rule matches in every host's domain, and which hosts it compares."""
        there = self._topologies.per_domain(rule.topology, self._matched(rule.selector))
        return there, eligible & (self._topologies.domains(rule.topology) >= 0)

    def repelling(self, vm: Vm) -> Iterator[str]:
        """Yield the topologies in which others' required anti-affinity is against this VM."""
        yield from dict.fromkeys(topology for _, topology, _ in self.against(vm))

    def against(self, vm: Vm) -> Iterator[tuple[Selector, str, Mask]]:
        """Yield others' required anti-affinity against this VM: selector, topology, and where."""
        for selector, topology in self._holders.matching(vm.labels):
            there = self._held((selector, topology))
            if there.any():
                yield selector, topology, self._topologies.per_domain(topology, there) > 0

    def preference(self, vm: Vm, eligible: Mask) -> Counts:
        """Return the sum of the weights of the preferred rules that each host satisfies."""
        score = np.zeros(self._count, dtype=np.int64)
        for rule in vm.rules:
            if rule.weight is not None:
                score = score + rule.weight * self.satisfied(rule, vm, eligible)
        return score

    def _drop(self, labels: Selector) -> None:
        """Forget a label set that nothing has any more."""
        del self._labels[labels]
        for pair in labels:
            self._label_sets[pair].discard(labels)
            if not self._label_sets[pair]:
                del self._label_sets[pair]

    def _matched(self, selector: Selector) -> Counts:
        """Return how many virtual machines a selector matches on each host."""
        counts = np.zeros(self._count, dtype=np.int64)
        if self._before is not None:
            counts = np.where(self._lost, 0, self._before._matched(selector))
        return _added(counts, self._of(selector))

    def _held(self, holder: "_Holder") -> Counts:
        """Return how many virtual machines hold a required anti-affinity on each host."""
        counts = np.zeros(self._count, dtype=np.int64)
        if self._before is not None:
            counts = np.where(self._lost, 0, self._before._held(holder))
        return _added(counts, self._holding.get(holder, {}))

    def _of(self, selector: Selector) -> "_Sparse":
        """Return the counts that `add` keeps up to date from now on."""
        known = self._matching.get(selector)
        if known is None:
            self._selectors.add(selector, selector)
            known = self._matching[selector] = {}
            sets = self._label_sets.get(selector[0], ()) if selector else self._labels
            for labels in sets:
                if is_in(selector, dict(labels)):
                    for host, count in self._labels[labels].items():
                        _count(known, host, count)
        return known


_Sparse = dict[int, int]
"""A count for each host that has any."""
_Holder = tuple[Selector, str]


def _count(there: _Sparse, host: int, count: int) -> None:
    after = there.get(host, 0) + count
    if after:
        there[host] = after
    else:
        there.pop(host, None)


def _added(counts: Counts, there: _Sparse) -> Counts:
    for host, count in there.items():
        counts[host] += count
    return counts
