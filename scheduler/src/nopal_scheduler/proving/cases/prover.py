# SPDX-License-Identifier: Apache-2.0
"""The exact form of N+k: one packing for every set of 1 to k failure domains, kept up to date.

For each loss the search places what was lost on what is left, so nothing is reserved that no loss
needs. There are sum(C(n, i), i = 1..k) losses: see `prover_for` for where that is too many.
"""

from itertools import combinations
from math import comb

import numpy as np

from ...model import Vm
from ...proof import Case, Impossible, NotProven, Proof, Verdict
from ...rules import Counts, Mask
from ...selectors import Selector, labels_key
from ...state import State
from .bounds import bound, lack
from .item import Effort, Items
from .leftover import Leftover
from .packing import Packing, Saved, in_words

_STEPS = 800
"""Steps of local search for one question: bounds the time of a refusal, about 0.1 ms each."""
_EJECTIONS = 200
"""Ejections for each loss when all is proven from nothing. A question has none: they would make a
refusal in a full zone three times as slow, and admit no more."""
_ALL_EJECTIONS = 20 * _EJECTIONS
"""The same for all losses together: where so many do not help, there is no proof to be had soon."""
_AGAIN = 64
"""Losses without a packing that one change searches anew in vain, those first that waited longest:
bounds the time of a change where nothing is proven, about 2 ms each."""


def count_cases(domains: int, failures: int) -> int:
    """Return how many sets of 1 to k of so many failure domains there are."""
    return sum(comb(domains, size) for size in range(1, failures + 1))


class CaseProver:
    """A `Prover` with one packing for each loss.

    Args:
        state: What is to be proven; from now on only the prover changes it.
        like: A prover of about the same: what it has found is where the search begins. Long kept
            up to date it has packings that no search from nothing finds.
    """

    def __init__(self, state: State, like: "CaseProver | None" = None) -> None:
        self._state = state
        self._items = Items(state)
        domains = state.lost_with
        sizes = range(1, state.redundancy.failures + 1)
        self._sets = [s for size in sizes for s in combinations(range(len(domains)), size)]
        nobody = np.zeros((len(self._sets), len(state.hosts)), dtype=np.bool_)
        self._lost = nobody
        """Hosts that are lost, by loss."""
        for case, members in enumerate(self._sets):
            for domain in members:
                self._lost[case] |= domains[domain]
        self._left = Leftover(state, self._lost)
        self._packings = [
            Packing(state, self._items, self._lost[case], self._left.amounts[:, case, :])
            for case in range(len(self._sets))
        ]
        self._with_labels: dict[Selector, set[str]] = {}
        self._with_rules: set[str] = set()
        self._open: dict[int, None] = {}
        """Losses without a packing of everything, those first that wait longest for a search."""
        self._verdict: Verdict | None = None
        for name, vm in state.vms.items():
            self._note(vm)
            if vm.restarts:
                for case in np.flatnonzero(self._lost[:, state.host_of(name)]).tolist():
                    self._packings[case].unplaced.add(name)
        known = {} if like is None else {like._names(c): c for c in range(len(like._sets))}
        ejections = _ALL_EJECTIONS
        for case, packing in enumerate(self._packings):
            before = packing.left.copy()
            there = known.get(self._names(case))
            if like is not None and there is not None:
                self._adopt(packing, like, there)
            effort = Effort(_STEPS, min(_EJECTIONS, ejections))
            packing.settle(effort)
            ejections -= effort.ejected
            self._left.changed(case, before)
            if not packing.is_settled:
                self._open[case] = None
                if self._bound(case):
                    ejections = 0

    def admit(self, vm: Vm, host: int) -> NotProven | Impossible | None:
        """Add a virtual machine if everything is proven with it; else change nothing and say why.

        Args:
            vm: One that the state does not have yet and that fits on the host.
            host: Index of the host.
        """
        if self._open:
            verdict = self.verdict()
            return None if isinstance(verdict, Proof) else verdict
        short = self._short(vm, host)
        if short is not None:
            return short
        undo: dict[int, Saved] = {}
        failed = self._insert(vm, host, undo=undo, stop=True)
        if failed is None:
            return None
        refusal = self._against(failed)
        self._take_back(vm, host, undo)
        return refusal

    def add(self, vm: Vm, host: int) -> None:
        """Add a virtual machine that is there already, whatever follows for the proof."""
        self._insert(vm, host, undo=None, stop=False)

    def remove(self, name: str) -> None:
        """Take a virtual machine away; raises KeyError."""
        state = self._state
        vm, host = state.vms[name], state.host_of(name)
        self._forget_lost(name, host)
        self._left.shared(host, state.needs(vm))
        state.remove(name)
        self._items.forget(name)
        self._forget(vm)
        self._verdict = None
        self._settle_all(vm, {*self._open, *self._related_cases(vm)})

    def verdict(self) -> Verdict:
        """Return the proof of the whole, or what stands against it."""
        if self._verdict is None:
            if self._open:
                worst = max(self._open, key=lambda c: (len(self._packings[c].unplaced), -c))
                bounded = (self._bound(case) for case in sorted(self._open))
                self._verdict = next((b for b in bounded if b), None) or self._against(worst)
            else:
                cases = tuple(self._case(case) for case in range(len(self._sets)))
                self._verdict = Proof(self._state.redundancy, cases)
        return self._verdict

    @property
    def is_proven(self) -> bool:
        """Tell whether the whole is proven, without writing the proof down."""
        return not self._open

    @property
    def unplaced(self) -> tuple[str, ...]:
        """Return who has no new host, each once for every loss in which it has none."""
        return tuple(sorted(name for case in self._open for name in self._packings[case].unplaced))

    def headroom(self, vm: Vm) -> Mask:
        """Return the hosts that can take the virtual machine with no packing changed for them."""
        roomy: Mask = np.all(self._left.least >= self._state.needs(vm)[:, None], axis=0)
        return roomy

    def _adopt(self, packing: Packing, like: "CaseProver", case: int) -> None:
        """Place in a packing what another prover has placed in the same loss, where that fits."""
        index, hosts = self._state.index, like._state.hosts
        for name, at in like._packings[case].placed.items():
            host = index.get(hosts[at].name)
            if host is not None and name in packing.unplaced:
                packing.put_if_it_fits(name, host)

    def _short(self, vm: Vm, host: int) -> Impossible | None:
        """Return the loss after which all hosts together would have too little left."""
        state, needs = self._state, self._state.needs(vm)
        rest = self._left.totals - needs[:, None]
        hit = np.ones(len(self._sets), dtype=np.bool_) if vm.restarts else ~self._lost[:, host]
        row, case = np.unravel_index(np.where(hit, rest, 0).argmin(), rest.shape)
        missing = -int(np.where(hit, rest, 0)[row, case])
        if missing <= 0:
            return None
        names, lost = self._names(int(case)), self._lost[case]
        return lack(state, lost, state.resources[int(row)], missing, domains=names)

    def _insert(
        self, vm: Vm, host: int, *, undo: dict[int, Saved] | None, stop: bool
    ) -> int | None:
        """Add it everywhere; return the first loss that has no packing then, None if all have."""
        state, needs = self._state, self._state.needs(vm)
        state.add(vm, host)
        self._note(vm)
        self._verdict = None
        self._left.shared(host, -needs)
        gone = self._lost[:, host]
        short = (self._left.amounts[:, :, host] < 0).any(axis=0)
        again = set(np.flatnonzero(~gone & short).tolist())
        if not state.takes[host]:
            again.clear()
        again |= self._related_cases(vm)
        if vm.restarts:
            again.update(self._scatter(vm, np.flatnonzero(gone), undo))
        return self._settle_all(vm, again, undo=undo, stop=stop)

    def _scatter(self, vm: Vm, cases: Counts, undo: dict[int, Saved] | None) -> list[int]:
        """Place a virtual machine in all losses that hit it, where room is free for it at once.

        Returns the losses in which it is not placed yet: a packing has to make room there.
        """
        state, needs = self._state, self._state.needs(vm)
        rest: list[int] = cases.tolist()
        if not (state.rules.concerns(vm) or state.rules.counts(vm)):
            left = self._left.amounts[:, cases, :]
            fits = (left >= needs[:, None, None]).all(axis=0) & state.eligible(vm)
            spare = np.where(fits, np.tensordot(self._items.scale, left, 1), np.inf)
            best = spare.argmin(axis=1)
            found = fits[np.arange(len(cases)), best]
            rest = cases[~found].tolist()
            self._left.shift(cases[found], best[found], -needs)
            for case, target in zip(cases[found].tolist(), best[found].tolist(), strict=True):
                self._packings[case].note(vm.name, target)
        for case in rest:
            self._keep(case, undo)
            self._packings[case].unplaced.add(vm.name)
        return rest

    def _settle_all(
        self,
        vm: Vm,
        cases: set[int],
        *,
        undo: dict[int, Saved] | None = None,
        stop: bool = False,
    ) -> int | None:
        """Search losses anew, as one came or went; return the first that fails, or None.

        Those without a packing come last, and only so many that `_AGAIN` fail once more.
        """
        failed, effort, vain = None, Effort(_STEPS), 0
        order = [*sorted(cases - self._open.keys()), *(c for c in self._open if c in cases)]
        for case in order:
            self._keep(case, undo)
            self._packings[case].stir(vm)
            if vain >= _AGAIN and case in self._open:
                continue
            before = self._packings[case].left.copy()
            settled = self._packings[case].settle(effort)
            self._left.changed(case, before)
            was_open = case in self._open
            self._open.pop(case, None)
            if not settled:
                self._open[case] = None
                vain += was_open
                failed = case if failed is None else failed
                if stop:
                    return failed
        return failed

    def _keep(self, case: int, undo: dict[int, Saved] | None) -> None:
        if undo is not None and case not in undo:
            undo[case] = self._packings[case].save()

    def _take_back(self, vm: Vm, host: int, undo: dict[int, Saved]) -> None:
        """Undo `_insert`: the packings that were searched anew, then the virtual machine itself."""
        state, needs = self._state, self._state.needs(vm)
        for case, saved in undo.items():
            before = self._packings[case].left.copy()
            self._packings[case].restore(saved)
            self._left.changed(case, before)
        self._forget_lost(vm.name, host)
        self._left.shared(host, needs)
        state.remove(vm.name)
        self._items.forget(vm.name)
        self._forget(vm)
        self._open.clear()
        self._verdict = None

    def _forget_lost(self, name: str, host: int) -> None:
        """Take one off the packings of all losses that hit its host."""
        for case in np.flatnonzero(self._lost[:, host]).tolist():
            packing = self._packings[case]
            before = packing.left.copy()
            packing.forget(name)
            self._left.changed(case, before)

    def _related_cases(self, vm: Vm) -> set[int]:
        """Return the losses with restarts that this virtual machine's place may decide about."""
        state, found = self._state, set[int]()
        names = {
            name
            for name in self._with_rules
            if any(r.required and r.matches(vm.labels) for r in state.vms[name].rules)
        }
        for labels, members in self._with_labels.items():
            if any(rule.repels(dict(labels)) for rule in vm.rules):
                names |= members
        names.discard(vm.name)
        for name in names:
            if state.vms[name].restarts:
                found.update(np.flatnonzero(self._lost[:, state.host_of(name)]).tolist())
        return found

    def _note(self, vm: Vm) -> None:
        self._with_labels.setdefault(labels_key(vm.labels), set()).add(vm.name)
        if any(rule.required for rule in vm.rules):
            self._with_rules.add(vm.name)

    def _forget(self, vm: Vm) -> None:
        self._with_labels[labels_key(vm.labels)].discard(vm.name)
        self._with_rules.discard(vm.name)

    def _case(self, case: int) -> Case:
        return Case(self._names(case), in_words(self._state, self._packings[case].placed))

    def _names(self, case: int) -> tuple[str, ...]:
        return tuple(self._state.domain_names[domain] for domain in self._sets[case])

    def _against(self, case: int) -> NotProven | Impossible:
        packing = self._packings[case]
        return self._bound(case) or NotProven(self._case(case), tuple(sorted(packing.unplaced)))

    def _bound(self, case: int) -> Impossible | None:
        restarting = self._packings[case].names()
        return bound(self._state, self._lost[case], restarting, domains=self._names(case))
