# SPDX-License-Identifier: Apache-2.0
"""Which virtual machines must be apart, by name: required anti-affinity, both ways."""

from collections.abc import Iterator

from ...model import RuleKind, Vm
from ...selectors import Selector


class ApartBook:
    """Who must be apart from whom in which topology, kept up to date one by one."""

    def __init__(self) -> None:
        self._vms: dict[str, Vm] = {}
        self._holders: dict[tuple[Selector, str], dict[str, None]] = {}
        self._matched: dict[tuple[Selector, str], dict[str, None]] = {}
        """By rule: who has it, and whom it matches."""

    def add(self, vm: Vm) -> None:
        """Take note of a virtual machine."""
        self._vms[vm.name] = vm
        for key, matched in self._matched.items():
            if _is_in(key[0], vm):
                matched[vm.name] = None
        for key in set(apart_rules(vm)):
            if key not in self._holders:
                self._holders[key] = {}
                self._matched[key] = {n: None for n, v in self._vms.items() if _is_in(key[0], v)}
            self._holders[key][vm.name] = None

    def remove(self, name: str) -> None:
        """Forget it."""
        vm = self._vms.pop(name)
        for key in set(apart_rules(vm)):
            del self._holders[key][name]
            if not self._holders[key]:
                del self._holders[key], self._matched[key]
        for matched in self._matched.values():
            matched.pop(name, None)

    def partners(self, vm: Vm) -> Iterator[tuple[str, str]]:
        """Yield who must be apart from it, each with the topology; some more than once."""
        own = set(apart_rules(vm))
        for key, holders in self._holders.items():
            found = self._matched[key] if key in own else ()
            for names in (found, holders if _is_in(key[0], vm) else ()):
                yield from ((name, key[1]) for name in names if name != vm.name)


def apart_rules(vm: Vm) -> Iterator[tuple[Selector, str]]:
    """Yield selector and topology of each required anti-affinity."""
    for rule in vm.rules:
        if rule.required and rule.kind is RuleKind.ANTI_AFFINITY:
            yield rule.selector, rule.topology


def _is_in(selector: Selector, vm: Vm) -> bool:
    return all(vm.labels.get(key) == value for key, value in selector)
