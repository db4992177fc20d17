# SPDX-License-Identifier: Apache-2.0
"""Which rules are broken as things stand: counted, and kept up to date move by move.

`RuleBook` says where a virtual machine may go; this says how many of those that are placed would
not be placed there again. Holders of equal rules are counted together, so one move costs as many
small array operations as there are different rules that see it.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..model import Rule, RuleKind, Vm
from ..rules import Counts, Mask
from ..selectors import Selector, labels_key
from ..state import State


@dataclass(slots=True)
class _Group:
    """Holders of one rule that stand equal to it."""

    rule: Rule
    own: int
    """1 if the rule's selector matches its holders themselves."""
    usable: Mask
    """The hosts that they could use but for rules."""
    holders: Counts
    broken: int = 0
    """How many of them stand against the rule."""


class Standing:
    """Broken rules of everything that is placed.

    Args:
        state: Where everything is; read once, `move` follows from there.
        open_to: The hosts that take virtual machines, where those are fewer than the state says:
            rules about evenness compare no others.
    """

    def __init__(self, state: State, open_to: Mask | None = None) -> None:
        self._state = state
        self._open = state.takes if open_to is None else open_to
        self._matching: dict[Selector, Counts] = {}
        self._groups: dict[object, _Group] = {}
        self._seeing: dict[Selector, list[_Group]] = defaultdict(list)
        """The groups that count what a selector matches."""
        self._known_matched: dict[Selector, tuple[Selector, ...]] = {}
        self._known_affected: dict[str, tuple[_Group, ...]] = {}
        for name in sorted(state.vms):
            vm = state.vms[name]
            for rule in vm.rules:
                group = self._group(vm, rule)
                group.holders[state.host_of(name)] += 1
        for name, vm in state.vms.items():
            for selector in self._matched(vm):
                self._matching[selector][state.host_of(name)] += 1
        for group in self._groups.values():
            group.broken = self._broken(group)

    @property
    def required(self) -> int:
        """Return how many required rules are broken, each counted for each holder."""
        return sum(group.broken for group in self._groups.values() if group.rule.required)

    @property
    def preferred(self) -> int:
        """Return the sum of the weights of the preferred rules that are broken."""
        return sum(group.broken * (group.rule.weight or 0) for group in self._groups.values())

    def concerns(self, vm: Vm) -> bool:
        """Tell whether a move of it can change anything here."""
        return bool(self._affected(vm))

    def standing(self, vm: Vm) -> tuple[int, int]:
        """Return the broken rules, required and as weights, that a move of it could mend."""
        return _sums(self._affected(vm))

    def change(self, vm: Vm, source: int, target: int) -> tuple[int, int]:
        """Return by how much required and preferred would change if it moved."""
        affected = self._affected(vm)
        before = _sums(affected)
        self._shift(vm, source, target)
        for group in affected:
            group.broken = self._broken(group)
        after = _sums(affected)
        self._shift(vm, target, source)
        for group in affected:
            group.broken = self._broken(group)
        return after[0] - before[0], after[1] - before[1]

    def move(self, vm: Vm, source: int, target: int) -> None:
        """Follow one virtual machine from host to host."""
        self._shift(vm, source, target)
        for group in self._affected(vm):
            group.broken = self._broken(group)

    def _shift(self, vm: Vm, source: int, target: int) -> None:
        for selector in self._matched(vm):
            self._matching[selector][source] -= 1
            self._matching[selector][target] += 1
        for rule in vm.rules:
            holders = self._group(vm, rule).holders
            holders[source] -= 1
            holders[target] += 1

    def _matched(self, vm: Vm) -> tuple[Selector, ...]:
        labels = vm.labels
        key = labels_key(labels)
        known = self._known_matched.get(key)
        if known is None:
            known = tuple(s for s in self._seeing if all(labels.get(k) == v for k, v in s))
            self._known_matched[key] = known
        return known

    def _affected(self, vm: Vm) -> tuple[_Group, ...]:
        known = self._known_affected.get(vm.name)
        if known is None:
            found = {id(group): group for rule in vm.rules for group in (self._group(vm, rule),)}
            for selector in self._matched(vm):
                found.update((id(group), group) for group in self._seeing[selector])
            known = self._known_affected[vm.name] = tuple(found.values())
        return known

    def _group(self, vm: Vm, rule: Rule) -> _Group:
        usable = self._state.eligible(vm) & self._open
        own = int(rule.matches(vm.labels))
        key = (rule, own, usable.tobytes() if rule.kind is RuleKind.SPREAD else b"")
        group = self._groups.get(key)
        if group is None:
            hosts = len(self._state.hosts)
            group = _Group(rule, own, usable, np.zeros(hosts, dtype=np.int64))
            self._groups[key] = group
            self._seeing[rule.selector].append(group)
            self._matching.setdefault(rule.selector, np.zeros(hosts, dtype=np.int64))
        return group

    def _broken(self, group: _Group) -> int:
        rule, per_host = group.rule, self._matching[group.rule.selector]
        topologies = self._state.topologies
        inside = topologies.domains(rule.topology) >= 0
        others = topologies.per_domain(rule.topology, per_host) - group.own
        match rule.kind:
            case RuleKind.ANTI_AFFINITY:
                kept = inside & (others <= 0)
            case RuleKind.AFFINITY if group.own and int(per_host.sum()) <= 1:
                kept = inside  # The first one may be anywhere.
            case RuleKind.AFFINITY:
                kept = inside & (others > 0)
            case RuleKind.SPREAD:
                there, usable = others + group.own, inside & group.usable
                kept = usable
                if usable.any():
                    kept = inside & (there - there[usable].min() <= rule.max_skew)
        return int(group.holders[~kept].sum())


def _sums(groups: Iterable[_Group]) -> tuple[int, int]:
    required = preferred = 0
    for group in groups:
        if group.rule.weight is None:
            required += group.broken
        else:
            preferred += group.broken * group.rule.weight
    return required, preferred
