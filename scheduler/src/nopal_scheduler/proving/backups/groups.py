# SPDX-License-Identifier: Apache-2.0
"""Which virtual machines required rules tie together, by name: who has a rule, whom it matches."""

from collections.abc import Iterator, Mapping

from ...model import Rule, RuleKind, Vm
from ...selectors import Selector, SelectorIndex, is_in

Key = tuple[RuleKind, Selector, str]
"""Kind, selector and topology: virtual machines with such a rule look at the same others."""


class GroupBook:
    """Required rules with who has them and whom they match, kept up to date one by one."""

    def __init__(self) -> None:
        self._vms: dict[str, Vm] = {}
        self._by_label: dict[tuple[str, str], dict[str, None]] = {}
        self._keys: SelectorIndex[Key] = SelectorIndex()
        """Every key that there ever was, by its selector."""
        self._holders: dict[Key, dict[str, None]] = {}
        self._matched: dict[Key, dict[str, None]] = {}

    def __getitem__(self, name: str) -> Vm:
        """Return a virtual machine that was added; raises KeyError."""
        return self._vms[name]

    def add(self, vm: Vm) -> None:
        """Take note of a virtual machine."""
        self._vms[vm.name] = vm
        for pair in vm.labels.items():
            self._by_label.setdefault(pair, {})[vm.name] = None
        for key in self._keys.matching(vm.labels):
            if key in self._matched:
                self._matched[key][vm.name] = None
        for key in keys_of(vm):
            if key not in self._holders:
                self._keys.add(key, key[1])
                self._holders[key] = {}
                near = self._by_label.get(key[1][0], {}) if key[1] else self._vms
                self._matched[key] = {n: None for n in near if is_in(key[1], self._vms[n].labels)}
            self._holders[key][vm.name] = None

    def remove(self, name: str) -> None:
        """Forget it."""
        vm = self._vms.pop(name)
        for pair in vm.labels.items():
            del self._by_label[pair][name]
        for key in self._keys.matching(vm.labels):
            if key in self._matched:
                del self._matched[key][name]
        for key in keys_of(vm):
            del self._holders[key][name]
            if not self._holders[key]:
                del self._holders[key], self._matched[key]

    def holders(self, key: Key) -> Mapping[str, None]:
        """Return who has such a rule."""
        return self._holders.get(key, {})

    def matched(self, key: Key) -> Mapping[str, None]:
        """Return whom such a rule matches; nobody where nobody has one."""
        return self._matched.get(key, {})

    def seen_by(self, vm: Vm) -> Iterator[Key]:
        """Yield the rules that match a virtual machine, whether it was added or not."""
        for key in self._keys.matching(vm.labels):
            if key in self._holders:
                yield key

    def holders_for(self, vm: Vm) -> set[str]:
        """Return who has a rule that matches a virtual machine."""
        return {name for key in self.seen_by(vm) for name in self._holders[key]}

    def partners(self, vm: Vm) -> Iterator[tuple[str, str]]:
        """Yield who must be apart from it, each with the topology; some more than once."""
        found = [(key, self._matched.get(key, {})) for key in keys_of(vm)]
        found += [(key, self._holders[key]) for key in self.seen_by(vm)]
        for (kind, _, topology), names in found:
            if kind is RuleKind.ANTI_AFFINITY:
                yield from ((name, topology) for name in names if name != vm.name)


def key_of(rule: Rule) -> Key:
    """Return what a rule has in common with those that look at the same others."""
    return rule.kind, rule.selector, rule.topology


def keys_of(vm: Vm) -> dict[Key, None]:
    """Return the keys of a virtual machine's required rules, each once."""
    return {key_of(rule): None for rule in vm.rules if rule.required}
