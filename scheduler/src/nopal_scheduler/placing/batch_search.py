# SPDX-License-Identifier: Apache-2.0
"""Attempts to place a batch: each adds to the state, and takes back what it added."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ..answer import NoPlacement, Refusal
from ..model import HOST, Vm
from ..proving.prover import Prover
from ..rules import Mask
from ..state import State
from .explain import not_admitted
from .place import no_placement, ranking

Placed = tuple[Vm, int]
"""A virtual machine, and the index of its host."""
_TRIES = 24
"""Hosts that one placement asks the prover about, the best ones first."""


class BatchSearch:
    """One batch and the state that it is tried on.

    Args:
        state: Where everything else is.
        vms: The batch.
        prover: Owner of the state.
        budget: How many placements the prover may refuse or the search may try.
        first: Hosts to try before others; None for no difference.
    """

    def __init__(
        self,
        state: State,
        vms: Sequence[Vm],
        *,
        prover: Prover,
        budget: int,
        first: Callable[[Vm], Mask] | None = None,
    ) -> None:
        self._state = state
        self._prover = prover
        self._first = first
        self._whole = self._budget = budget
        self._cut = False
        self._kinds, self._ruled = self._host_kinds(vms)
        self.placed: list[Placed] = []
        """What is added now, in this order."""

    def back(self, length: int) -> None:
        """Take back all but the first so many."""
        while len(self.placed) > length:
            self._prover.remove(self.placed.pop()[0].name)

    def renew(self) -> None:
        """Give the search its whole budget again."""
        self._budget = self._whole

    def greedy(
        self, order: Iterable[Vm], *, fullest: bool, base: Iterable[Placed] = ()
    ) -> tuple[Placed, ...]:
        """Return what finds a host one after the other, behind the base; the state is as before."""
        for vm, host in base:
            self._add(vm, host)
        for vm in order:
            for host in self._hosts(vm, fullest=fullest)[:_TRIES]:
                if self._budget <= 0 or self._add(vm, host):
                    break
        found = tuple(self.placed)
        self.back(0)
        return found

    def limited(self, order: Sequence[Vm]) -> tuple[Placed, ...]:
        """Return hosts for all of them; nothing if none were found within the budget.

        With every round one more host is passed over, on both orders of the hosts.
        """
        for passed in range(1, len(order) * len(self._state.hosts)):
            self._cut = False
            for fullest in (False, True):
                if self._probe(order, passed, fullest=fullest):
                    found = tuple(self.placed)
                    self.back(0)
                    return found
                if self._budget <= 0:
                    return ()
            if not self._cut:
                break  # Everything was tried.
        return ()

    def settle(self, best: Iterable[Placed], vms: Iterable[Vm]) -> dict[str, NoPlacement]:
        """Add the best attempt for good, and return why the others of the batch fit nowhere."""
        for vm, host in best:
            # The proof may have taken another way since: then it is among the others.
            if self._state.fits(vm)[host]:
                self._add(vm, host)
        there = {vm.name for vm, _ in self.placed}
        refused = {}
        for vm in vms:
            if vm.name not in there and (why := self._refuse(vm)) is not None:
                refused[vm.name] = why
        return refused

    def _refuse(self, vm: Vm) -> NoPlacement | None:
        """Add it if that is possible after all, else return why not."""
        against: list[Refusal] = []
        for number, host in enumerate(self._hosts(vm)):
            if number >= _TRIES:
                against.append(Refusal(self._state.hosts[host].name, "not tried"))
                continue
            why = self._prover.admit(vm, host)
            if why is None:
                self.placed.append((vm, host))
                return None
            against.append(not_admitted(self._state, host, why))
        return no_placement(self._state, vm, against)

    def _probe(self, order: Sequence[Vm], passed: int, *, fullest: bool) -> bool:
        length = len(self.placed)
        if length == len(order):
            return True
        vm = order[length]
        different = self._unlike(self._hosts(vm, fullest=fullest))
        for number, host in enumerate(different):
            if number > passed or self._budget <= 0:
                self._cut = True
                break
            self._budget -= 1
            if self._add(vm, host):
                if self._probe(order, passed - number, fullest=fullest):
                    return True
                self.back(length)
        return False

    def _hosts(self, vm: Vm, *, fullest: bool = False) -> Sequence[int]:
        order = ranking(self._state, vm, fullest=fullest)
        if self._first is None:
            return order
        first = self._first(vm)
        return sorted(order, key=lambda host: not first[host])

    def _add(self, vm: Vm, host: int) -> bool:
        if self._prover.admit(vm, host) is not None:
            self._budget -= 1
            return False
        self.placed.append((vm, host))
        return True

    def _unlike(self, hosts: Iterable[int]) -> Iterator[int]:
        """Yield the hosts, but of those that are the same to this batch only the first."""
        seen = set()
        for host in hosts:
            own = host if self._ruled and self._state.on[host] else -1
            kind = (self._kinds[host], self._state.free[:, host].tobytes(), own)
            if kind not in seen:
                seen.add(kind)
                yield host

    def _host_kinds(self, vms: Sequence[Vm]) -> tuple[list[int], bool]:
        """Return the kind of each host, and whether what is on them matters.

        Hosts of a kind have one capacity, are in one domain of every topology that counts, and may
        take the same of the batch.
        """
        state = self._state
        topologies = {rule.topology for vm in vms for rule in vm.rules}
        topologies.update(topology for vm in vms for topology in state.rules.repelling(vm))
        if state.redundancy.failures:
            topologies.add(state.redundancy.topology)
        rows = [
            *state.capacity,
            *(state.topologies.domains(t) for t in sorted(topologies - {HOST})),
        ]
        rows += {id(mask): mask for mask in map(state.eligible, vms)}.values()
        numbers: dict[tuple[int, ...], int] = {}
        columns = np.array(rows, dtype=np.int64).T.tolist()
        return [numbers.setdefault(tuple(c), len(numbers)) for c in columns], bool(topologies)
