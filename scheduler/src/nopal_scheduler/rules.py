# SPDX-License-Identifier: Apache-2.0
"""Which hosts a virtual machine's rules leave: counts of what selectors match, host by host.

A host is its index everywhere here; every mask and count is an array over all hosts.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .model import Host, Rule, RuleKind, Vm

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Selector = tuple[tuple[str, str], ...]


class Topologies:
    """The domains of every topology: each host's domain as a small number, -1 where it has none."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = tuple(hosts)
        self._known: dict[str, Counts] = {}

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
        domains = self.domains(topology)
        inside = domains >= 0
        if not inside.any():
            return np.zeros_like(per_host)
        sums = np.bincount(domains[inside], weights=per_host[inside]).astype(np.int64)
        return np.where(inside, sums[domains], 0)


class RuleBook:
    """What the rules of placed virtual machines need to know, kept up to date one by one.

    Args:
        topologies: The domains of the hosts.
        hosts: How many hosts there are.
    """

    def __init__(self, topologies: Topologies, hosts: int) -> None:
        self._topologies = topologies
        self._count = hosts
        self._labels: dict[Selector, Counts] = {}
        """Label sets of placed virtual machines, each with how many are on each host."""
        self._matching: dict[Selector, Counts] = {}
        """By selector: how many virtual machines it matches on each host."""
        self._holding: dict[tuple[Selector, str], Counts] = {}
        """Required anti-affinity by selector and topology: how many on each host hold it."""

    def add(self, vm: Vm, host: int, count: int = 1) -> None:
        """Count a virtual machine in on a host, or out with a count of -1."""
        labels = labels_key(vm.labels)
        there = self._labels.get(labels)
        if there is None:
            there = self._labels[labels] = self._none()
        there[host] += count
        for selector, matching in self._matching.items():
            if _is_in(selector, vm.labels):
                matching[host] += count
        for rule in vm.rules:
            self._matched(rule.selector)
            if rule.required and rule.kind is RuleKind.ANTI_AFFINITY:
                key = (rule.selector, rule.topology)
                if key not in self._holding:
                    self._holding[key] = self._none()
                self._holding[key][host] += count

    def without(self, lost: Mask) -> "RuleBook":
        """Return a copy in which everything on the lost hosts is gone."""
        copy = RuleBook(self._topologies, self._count)
        copy._labels = {key: np.where(lost, 0, there) for key, there in self._labels.items()}
        copy._matching = {key: np.where(lost, 0, there) for key, there in self._matching.items()}
        copy._holding = {key: np.where(lost, 0, there) for key, there in self._holding.items()}
        return copy

    def concerns(self, vm: Vm) -> bool:
        """Tell whether any required rule, its own or another's, limits where it may go."""
        return any(rule.required for rule in vm.rules) or any(
            _is_in(selector, vm.labels) for selector, _ in self._holding
        )

    def counts(self, vm: Vm) -> bool:
        """Tell whether a selector known by now matches it, so that others see where it is."""
        return any(_is_in(selector, vm.labels) for selector in self._matching)

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
        for topology in self.repelling(vm):
            allowed &= ~self.repelled(vm, topology)
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
        usable = inside & eligible
        if not usable.any():
            return usable
        own = int(rule.matches(vm.labels))
        even: Mask = inside & (there + own - there[usable].min() <= rule.max_skew)
        return even

    def repelling(self, vm: Vm) -> Iterator[str]:
        """Yield the topologies in which others' required anti-affinity is against this VM."""
        seen = set()
        for (selector, topology), there in self._holding.items():
            if topology not in seen and _is_in(selector, vm.labels) and there.any():
                seen.add(topology)
                yield topology

    def against(self, vm: Vm) -> Iterator[tuple[Selector, str, Mask]]:
        """Yield others' required anti-affinity against this VM: selector, topology, and where."""
        for (selector, topology), there in self._holding.items():
            if _is_in(selector, vm.labels) and there.any():
                yield selector, topology, self._topologies.per_domain(topology, there) > 0

    def repelled(self, vm: Vm, topology: str) -> Mask:
        """Return the hosts whose domain has a virtual machine that must be apart from this one."""
        against = self._none()
        for (selector, at), there in self._holding.items():
            if at == topology and _is_in(selector, vm.labels):
                against = against + there
        near: Mask = self._topologies.per_domain(topology, against) > 0
        return near

    def preference(self, vm: Vm, eligible: Mask) -> Counts:
        """Return the sum of the weights of the preferred rules that each host satisfies."""
        score = self._none()
        for rule in vm.rules:
            if rule.weight is not None:
                score = score + rule.weight * self.satisfied(rule, vm, eligible)
        return score

    def _matched(self, selector: Selector) -> Counts:
        known = self._matching.get(selector)
        if known is None:
            known = self._none()
            for labels, there in self._labels.items():
                if _is_in(selector, dict(labels)):
                    known = known + there
            self._matching[selector] = known
        return known

    def _none(self) -> Counts:
        return np.zeros(self._count, dtype=np.int64)


def labels_key(labels: Mapping[str, str]) -> Selector:
    """Return labels as something that can be a key."""
    return tuple(sorted(labels.items())) if labels else ()


def _is_in(selector: Selector, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector)
