# SPDX-License-Identifier: Apache-2.0
"""One loss: what is left on every host, and where everything that was lost goes.

Vector bin packing with rules. What rules concern is placed first, the rest largest first, each
where the least is left over (best fit); then a local search moves and swaps what has no rules.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from .model import Vm
from .rules import Mask, RuleBook
from .state import Amounts, State

NO_TARGET = -(2**61)
"""What is left on a host that takes nothing: less than anything needs, whatever is added to it."""
_ROUNDS = 40
"""Swaps that one search makes at most before it gives up."""


class Packing:
    """Where the virtual machines of lost hosts are, after one loss.

    Args:
        state: The cluster before the loss; read only.
        lost: The hosts that are lost.
        left: What is left on each host, by resource: a view that the packing keeps up to date.
            NO_TARGET on hosts that are lost or take nothing.
    """

    def __init__(self, state: State, lost: Mask, left: Amounts) -> None:
        self._state = state
        self._lost = lost
        self.left = left
        self.placed: dict[str, int] = {}
        """Host by virtual machine."""
        self.unplaced: set[str] = set()
        self._scale = _scale(state)

    def vms(self) -> Iterable[str]:
        """Return the names of everything that is lost and restarts, placed or not."""
        return (*self.placed, *self.unplaced)

    def save(self) -> tuple[Amounts, dict[str, int], set[str]]:
        """Return what `restore` needs to undo every change from here on."""
        return self.left.copy(), dict(self.placed), set(self.unplaced)

    def restore(self, saved: tuple[Amounts, dict[str, int], set[str]]) -> None:
        """Undo every change since `save`."""
        self.left[...], self.placed, self.unplaced = saved[0], saved[1], saved[2]

    def put(self, name: str, host: int) -> None:
        """Place one virtual machine on a host that is known to fit."""
        self.unplaced.discard(name)
        self.placed[name] = host
        self.left[:, host] -= self._needs(name)

    def forget(self, name: str) -> None:
        """Take one virtual machine out: it is not in the loss any more."""
        host = self.placed.pop(name, None)
        if host is None:
            self.unplaced.discard(name)
        else:
            self.left[:, host] += self._needs(name)

    def take(self, name: str) -> None:
        """Make one virtual machine unplaced."""
        self.forget(name)
        self.unplaced.add(name)

    def settle(self) -> bool:
        """Place what is unplaced, and move what stands in the way; tell whether all is placed."""
        if self._relieve() and self._insert_all() and self.is_in_order():
            return True
        self.repack()
        return self.is_settled

    @property
    def is_settled(self) -> bool:
        """Tell whether everything is placed."""
        return not self.unplaced

    def repack(self) -> None:
        """Place everything anew; what cannot be placed is in `unplaced` afterwards."""
        for name in tuple(self.placed):
            self.take(name)
        self._insert_all()
        for name in self._out_of_order():
            self.take(name)

    def is_in_order(self) -> bool:
        """Tell whether no placed virtual machine is against a required rule."""
        return not self._out_of_order()

    def _relieve(self) -> bool:
        """Take virtual machines off hosts that have less than nothing left; False if they stay."""
        over = np.flatnonzero((self.left < 0).any(axis=0) & (self.left[0] > NO_TARGET // 2))
        for host in over.tolist():
            there = [name for name, at in self.placed.items() if at == host]
            while there and (self.left[:, host] < 0).any():
                missing = -self.left[:, host]
                enough = [n for n in there if (self._needs(n) >= missing).all()]
                # The smallest that is enough, else the largest: few moves, and small ones.
                name = min(enough, key=self._size_key) if enough else max(there, key=self._size_key)
                there.remove(name)
                self.take(name)
        return True

    def _insert_all(self) -> bool:
        """Place what is unplaced; tell whether all found a host."""
        state = self._state
        waiting = sorted(self.unplaced, key=self._size_key, reverse=True)
        ruled = [name for name in waiting if self._is_ruled(state.vms[name])]
        if ruled:
            self._insert_ruled(ruled)
            waiting = [name for name in waiting if name not in set(ruled)]
        stuck = [name for name in waiting if not self._insert(name)]
        for name in stuck:
            self._squeeze(name)
        return self.is_settled

    def _insert_ruled(self, names: list[str]) -> None:
        """Place what rules concern; whoever needs another one nearby comes after it."""
        book, progress = self._book(), True
        while names and progress:
            progress = False
            for name in tuple(names):
                vm = self._state.vms[name]
                host = self._best(vm, book.allowed(vm, self._usable(vm)))
                if host is not None:
                    self.put(name, host)
                    book.add(vm, host)
                    names.remove(name)
                    progress = True

    def _insert(self, name: str) -> bool:
        host = self._best(self._state.vms[name], None)
        if host is None:
            return False
        self.put(name, host)
        return True

    def _best(self, vm: Vm, allowed: Mask | None) -> int | None:
        """Return the host with room that has least left afterwards; None without one."""
        fits = (self.left >= self._state.needs(vm)[:, None]).all(axis=0)
        fits &= self._state.eligible(vm)
        if allowed is not None:
            fits &= allowed
        hosts = np.flatnonzero(fits)
        if not hosts.size:
            return None
        return int(hosts[(self._scale @ self.left[:, hosts]).argmin()])

    def _squeeze(self, name: str) -> None:
        """Make room for one virtual machine by moving and swapping others that have no rules.

        Each step frees more of what is missing on some host, so it ends; rounds are bounded.
        """
        state = self._state
        vm = state.vms[name]
        needs, eligible = state.needs(vm), state.eligible(vm)
        if self._is_ruled(vm):
            return
        free = {n for n in self.placed if not self._is_ruled(state.vms[n])}
        for _ in range(_ROUNDS):
            host = self._best(vm, None)
            if host is not None:
                self.put(name, host)
                return
            targets = np.flatnonzero(eligible & (self.left[0] > NO_TARGET // 2))
            if not targets.size:
                return
            lack = self._scale @ np.maximum(needs[:, None] - self.left[:, targets], 0)
            if not any(
                self._lighten(int(host), needs, free) for host in targets[np.argsort(lack)][:8]
            ):
                return

    def _lighten(self, host: int, needs: Amounts, free: set[str]) -> bool:
        """Move or swap something so that the host lacks less for these needs; False if nothing."""
        missing = np.maximum(needs - self.left[:, host], 0)
        here = [n for n in free if self.placed[n] == host]
        there = [n for n in free if self.placed[n] != host]
        if not here:
            return False
        here.sort(key=self._size_key)
        there.sort(key=self._size_key)
        mine = np.array([self._needs(n) for n in here])
        best = self._best_move(host, here, mine, missing)
        if best is not None:
            self._move(*best)
            return True
        if not there:
            return False
        return self._swap(host, (here, mine), there, missing)

    def _best_move(
        self, host: int, here: list[str], mine: Amounts, missing: Amounts
    ) -> tuple[str, int] | None:
        """Return what to move where: the smallest that frees all that is missing, else the most."""
        order = [*np.flatnonzero((mine >= missing).all(axis=1)).tolist()]
        order += [i for i in reversed(range(len(here))) if i not in set(order)]
        for i in order:
            vm = self._state.vms[here[i]]
            away = np.ones(self.left.shape[1], dtype=np.bool_)
            away[host] = False
            target = self._best(vm, away)
            if target is not None:
                return here[i], target
        return None

    def _swap(
        self, host: int, ours: tuple[list[str], Amounts], there: list[str], missing: Amounts
    ) -> bool:
        """Swap a larger one of this host for a smaller one elsewhere: as much as is missing."""
        here, mine = ours
        theirs = np.array([self._needs(n) for n in there])
        at = np.array([self.placed[n] for n in there])
        gain = mine[:, None, :] - theirs[None, :, :]
        # The other host must take the difference, and ours must win something and lose nothing.
        fits = (gain <= self.left[:, at].T[None, :, :]).all(axis=2)
        wins = (gain >= 0).all(axis=2) & (gain > 0).any(axis=2) & fits
        useful = np.minimum(gain, missing) @ self._scale
        useful[~wins] = 0
        for flat in np.argsort(-useful, axis=None, kind="stable")[:16].tolist():
            i, j = divmod(int(flat), len(there))
            if useful[i, j] <= 0:
                return False
            one, other, elsewhere = here[i], there[j], int(at[j])
            vms = self._state.vms
            if self._state.eligible(vms[one])[elsewhere] and self._state.eligible(vms[other])[host]:
                self._move(one, elsewhere)
                self._move(other, host)
                return True
        return False

    def _move(self, name: str, host: int) -> None:
        self.forget(name)
        self.put(name, host)

    def _out_of_order(self) -> tuple[str, ...]:
        """Return placed virtual machines whose host is against a rule, with all in place."""
        vms = self._state.vms
        ruled = [name for name in self.placed if self._state.rules.concerns(vms[name])]
        if not ruled:
            return ()
        book, found = self._book(), []
        for name in ruled:
            vm, host = vms[name], self.placed[name]
            book.add(vm, host, -1)
            if not book.allowed(vm, self._usable(vm))[host]:
                found.append(name)
            book.add(vm, host)
        return tuple(found)

    def _book(self) -> RuleBook:
        """Return the rules' counts after the loss, with everything that is placed."""
        book = self._state.rules.without(self._lost)
        for name, host in self.placed.items():
            book.add(self._state.vms[name], host)
        return book

    def _usable(self, vm: Vm) -> Mask:
        usable: Mask = self._state.eligible(vm) & ~self._lost
        return usable

    def _is_ruled(self, vm: Vm) -> bool:
        rules = self._state.rules
        return rules.concerns(vm) or rules.counts(vm)

    def _needs(self, name: str) -> Amounts:
        return self._state.needs(self._state.vms[name])

    def _size_key(self, name: str) -> tuple[float, str]:
        return float((self._scale * self._needs(name)).max()), name


def _scale(state: State) -> Amounts:
    """Return one over the mean capacity of each resource, so that amounts can be added up."""
    totals = np.maximum(state.capacity.sum(axis=1), 1)
    scale: Amounts = len(state.hosts) / totals
    return scale


def restarts_by_host(state: State, placed: Mapping[str, int]) -> dict[str, str]:
    """Return a packing in words: host name by virtual machine."""
    return {name: state.hosts[placed[name]].name for name in sorted(placed)}
