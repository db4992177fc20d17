# SPDX-License-Identifier: Apache-2.0
"""A copy of the zone on which moves are tried: the best next one, out of all, at once."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np

from ..model import Cluster
from ..rules import Counts, Mask
from ..state import Amounts, State
from .levels import Floats
from .measure import Measure
from .score import Weights

_CELLS = 400_000
"""Moves (virtual machine and host) that are looked at at once; on larger zones those off the hosts
that are furthest above the mean. A few milliseconds."""
_LOOKS = 200
"""Moves that one search looks at one by one, for their rules, before it takes the best so far."""

_PAIRED = 300
"""On each side, what changing places is tried for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A move that could be made now."""

    vm: str
    target: int
    gain: float
    """By how much the score falls, the price of the copy taken off."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """What may leave one or several hosts, equal ones once."""

    names: tuple[str, ...]
    sources: Counts
    needs: Amounts
    places: Counts
    """The number of the mask of hosts that each could use."""
    ruled: Mask
    """Whether rules have a say in where it goes, or see where it is."""


class Board:
    """Where everything would be.

    Args:
        state: Where everything is; it is copied.
        weights: What the parts of the score count.
        leave: Hosts to be emptied besides those that are draining, by index.
        fixed: Virtual machines that stay, besides those that are not movable.
        price: What a move must win for each byte that it copies.
    """

    def __init__(
        self,
        state: State,
        weights: Weights,
        *,
        leave: tuple[int, ...] = (),
        fixed: Collection[str] = (),
        price: float = 0.0,
    ) -> None:
        self.state = copy_of(state, leave)
        self.measure = Measure(self.state, weights, leave=leave)
        self.moved: dict[str, int] = {}
        """Those that are not where they were in the beginning, with where that was."""
        self.sources: Mask = np.array([not h.blocked for h in state.hosts], dtype=np.bool_)
        """The hosts that virtual machines may be moved off."""
        self.sources[list(leave)] = True
        self._barred: dict[str, set[int]] = {}
        self.fixed = frozenset(fixed)
        self.price = price
        self._masks: dict[int, int] = {}
        self._places: list[Mask] = []
        self._rows: dict[int, _Rows] = {}
        self._ruled: dict[str, bool] = {}

    def bar(self, name: str, target: int) -> None:
        """Never find this move again."""
        self._barred.setdefault(name, set()).add(target)
        self._rows.pop(self.state.host_of(name), None)

    def barred(self, name: str) -> frozenset[int]:
        """Return the hosts that a virtual machine is not to be moved to."""
        return frozenset(self._barred.get(name, ()))

    def free_agents(self) -> list[str]:
        """Return the names of everything that may be moved and that no rule concerns."""
        return [
            name
            for name in sorted(self.state.vms)
            if self.state.vms[name].movable
            and name not in self.fixed
            and self.sources[self.moved.get(name, self.state.host_of(name))]
            and not self.is_ruled(name)
        ]

    def move(self, name: str, target: int) -> None:
        """Move a virtual machine, whether it fits or not."""
        vm = self.state.vms[name]
        source = self.state.remove(name)
        self.state.add(vm, target)
        self.measure.moved(vm, source, target)
        if self.moved.setdefault(name, source) == target:
            del self.moved[name]
        self._rows.pop(source, None)
        self._rows.pop(target, None)

    def best(self, least: float, *, only: Iterable[str] | None = None) -> Found | None:
        """Return the move that wins most, of those that have room and break no required rule.

        Args:
            least: What it must win; -inf takes the least bad one.
            only: The virtual machines to look at; without it all that have not moved yet.
        """
        rows = self._table() if only is None else self._gather(only)
        if not rows.names:
            return None
        gains = self._gains(rows)
        standing, weights = self.measure.standing, self.measure.weights
        vms = self.state.vms
        hopes = np.zeros(len(rows.names))
        broken = standing.required or standing.preferred
        for i in np.flatnonzero(rows.ruled).tolist() if broken else ():
            required, preferred = standing.standing(vms[rows.names[i]])
            hopes[i] = weights.required * required + weights.preferred * preferred
        gains += hopes[:, None]
        exact = np.repeat(~rows.ruled[:, None], gains.shape[1], axis=1)
        checked: set[int] = set()
        looks = 0
        while True:
            row, target = divmod(int(gains.argmax()), gains.shape[1])
            gain, name = float(gains[row, target]), rows.names[row]
            if gain == -np.inf or gain < least:
                return None
            if exact[row, target]:
                return Found(name, target, gain)
            looks += 1
            if looks > _LOOKS:
                gains[~exact] = -np.inf
            elif row not in checked:
                checked.add(row)
                gains[row, ~self._allowed(name)] = -np.inf
            else:
                vm, source = vms[name], int(rows.sources[row])
                required, preferred = standing.change(vm, source, target)
                change = weights.required * required + weights.preferred * preferred
                gains[row, target] -= np.inf if required > 0 else hopes[row] + change
                exact[row, target] = True

    def several(self, count: int) -> list[Found]:
        """Return moves that have room and break no required rule, those that win most first.

        Args:
            count: How many at most.
        """
        rows = self._table()
        if not rows.names:
            return []
        gains, found = self._gains(rows), list[tuple[str, int]]()
        for each in np.argsort(-gains, axis=None, kind="stable")[: count + _LOOKS].tolist():
            row, target = divmod(each, gains.shape[1])
            if gains[row, target] == -np.inf or len(found) == count:
                break
            if not rows.ruled[row] or self.fits(rows.names[row], target):
                found.append((rows.names[row], target))
        names, targets = [name for name, _ in found], [target for _, target in found]
        wins = self.gains(names, targets).tolist()
        moves = [Found(n, t, gain) for n, t, gain in zip(names, targets, wins, strict=True)]
        return sorted(moves, key=lambda move: -move.gain)

    def stuck_after(self, name: str, target: int) -> int:
        """Return how many hosts cannot be emptied after a move; nothing is changed."""
        vm, state = self.state.vms[name], self.state
        source = state.remove(name)
        state.add(vm, target)
        self.measure.moved(vm, source, target)
        stuck = self.measure.stuck()
        state.remove(name)
        state.add(vm, source)
        self.measure.moved(vm, target, source)
        return stuck

    def gains(self, names: Iterable[str], targets: Iterable[int]) -> Floats:
        """Return what each of these moves wins alone, whether there is room or not."""
        rows = self._gather(names)
        hosts = np.fromiter(targets, dtype=np.int64)
        found: Floats = self._wins(rows)[np.arange(len(hosts)), hosts]
        standing, weights = self.measure.standing, self.measure.weights
        for i in np.flatnonzero(rows.ruled).tolist():
            vm = self.state.vms[rows.names[i]]
            required, preferred = standing.change(vm, int(rows.sources[i]), int(hosts[i]))
            found[i] -= weights.required * required + weights.preferred * preferred
        return found

    def exchange(self, least: float) -> tuple[Found, Found] | None:
        """Return the two moves that win most by changing places, one of them with room already.

        Only what no rule concerns, off the fullest hosts and off the emptiest.

        Args:
            least: What both together must win.
        """
        table = self._table()
        plain = np.flatnonzero(~table.ruled & ~self.measure.leave[table.sources])
        if len(plain) < 2:
            return None
        ones, others = plain[:_PAIRED], plain[-_PAIRED:]
        needs, sources = table.needs, table.sources
        i, j = (grid.ravel() for grid in np.meshgrid(ones, others, indexing="ij"))
        at, to = sources[i], sources[j]
        places, free = np.array(self._places) & self.measure.open, self.state.free.T
        possible = (at != to) & places[table.places[i], to] & places[table.places[j], at]
        possible &= (free[at] >= needs[j] - needs[i]).all(axis=1)
        possible &= (free[to] >= needs[i] - needs[j]).all(axis=1)
        now = (free[to] >= needs[i]).all(axis=1)
        possible &= now | (free[at] >= needs[j]).all(axis=1)
        if not possible.any():
            return None
        gains = self.measure.levels.exchanges(needs[i] - needs[j], at, to)
        gains -= self.price * (needs[i, 1] + needs[j, 1])
        gains[~possible] = -np.inf
        for pair in np.argsort(-gains, kind="stable")[:_LOOKS].tolist():
            if gains[pair] < least:
                return None
            one, other = table.names[i[pair]], table.names[j[pair]]
            if int(to[pair]) in self.barred(one) or int(at[pair]) in self.barred(other):
                continue
            half = float(gains[pair]) / 2
            return Found(one, int(to[pair]), half), Found(other, int(at[pair]), half)
        return None

    def prices(self, names: Collection[str]) -> Floats:
        """Return the price of moving each of these."""
        result: Floats = self._gather(names).needs[:, 1].astype(np.float64) * self.price
        return result

    def has_room(self, name: str, target: int) -> bool:
        """Tell whether a host has room for it now; rules are not asked."""
        return bool((self.state.free[:, target] >= self.state.needs(self.state.vms[name])).all())

    def fits(self, name: str, target: int) -> bool:
        """Tell whether a move has room now and breaks no required rule of anyone."""
        source = self.state.host_of(name)
        if not self.measure.open[target] or not self._allowed(name)[target]:
            return False
        vm = self.state.vms[name]
        return not self.is_ruled(name) or self.measure.standing.change(vm, source, target)[0] <= 0

    def _gains(self, rows: _Rows) -> Floats:
        """Return what every move wins, -inf where there is no room; rules are not in it yet."""
        gains = self._wins(rows)
        possible = np.array(self._places)[rows.places] & self.measure.open
        free = self.state.free
        for r in range(len(free)):
            possible &= free[r] >= rows.needs[:, r, None]
        possible[np.arange(len(rows.names)), rows.sources] = False
        for name, targets in self._barred.items():
            if name in rows.names:
                possible[rows.names.index(name), list(targets)] = False
        gains[~possible] = -np.inf
        return gains

    def _wins(self, rows: _Rows) -> Floats:
        measure = self.measure
        gains = measure.levels.gains(rows.needs, rows.sources)
        leave = measure.leave.astype(np.float64)
        gains += measure.weights.leaving * (leave[rows.sources][:, None] - leave)
        gains -= self.price * rows.needs[:, 1, None]
        return gains

    def _allowed(self, name: str) -> Mask:
        """Return the hosts that it fits on if it leaves its own."""
        vm = self.state.vms[name]
        host = self.state.remove(name)
        allowed = self.state.fits(vm)
        self.state.add(vm, host)
        return allowed

    def _table(self) -> _Rows:
        """Return what may be moved, from as many hosts as one search looks at."""
        hosts = np.flatnonzero(self.sources)
        order = hosts[
            np.lexsort((-self.measure.levels.pressure()[hosts], ~self.measure.leave[hosts]))
        ]
        found, count = [], 0
        for host in order.tolist():
            rows = self._rows.get(host)
            if rows is None:
                rows = self._rows[host] = self._leaving(host)
            if rows.names:
                found.append(rows)
                count += len(rows.names)
                if count * len(self.state.hosts) >= _CELLS:
                    break
        return _Rows(
            tuple(name for rows in found for name in rows.names),
            np.concatenate([np.zeros(0, dtype=np.int64), *(rows.sources for rows in found)]),
            np.concatenate(
                [np.zeros((0, len(self.state.free)), np.int64), *(r.needs for r in found)]
            ),
            np.concatenate([np.zeros(0, dtype=np.int64), *(rows.places for rows in found)]),
            np.concatenate([np.zeros(0, dtype=np.bool_), *(rows.ruled for rows in found)]),
        )

    def _leaving(self, host: int) -> _Rows:
        """Return what may leave a host, equal ones once."""
        vms, chosen = self.state.vms, dict[object, str]()
        for name in sorted(self.state.on[host]):
            vm = vms[name]
            if vm.movable and name not in self.fixed and name not in self.moved:
                alone = name in self._barred or self.is_ruled(name)
                key = (self.state.needs(vm).tobytes(), self._place(name))
                chosen.setdefault(name if alone else key, name)
        return self._gather(chosen.values())

    def _gather(self, names: Iterable[str]) -> _Rows:
        found, vms = tuple(names), self.state.vms
        return _Rows(
            found,
            np.array([self.state.host_of(name) for name in found], dtype=np.int64),
            np.array([self.state.needs(vms[name]) for name in found], dtype=np.int64).reshape(
                -1, len(self.state.free)
            ),
            np.array([self._place(name) for name in found], dtype=np.int64),
            np.array([self.is_ruled(name) for name in found], dtype=np.bool_),
        )

    def _place(self, name: str) -> int:
        """Return the number of the mask of hosts that it could use."""
        mask = self.state.eligible(self.state.vms[name])
        number = self._masks.setdefault(id(mask), len(self._places))
        if number == len(self._places):
            self._places.append(mask)
        return number

    def is_ruled(self, name: str) -> bool:
        """Tell whether rules have a say in where it goes, or see where it is."""
        known = self._ruled.get(name)
        if known is None:
            vm = self.state.vms[name]
            known = self.measure.standing.concerns(vm) or self.state.rules.concerns(vm)
            self._ruled[name] = known
        return known


def copy_of(state: State, closed: Collection[int] = ()) -> State:
    """Return a state with the same hosts and virtual machines.

    Args:
        state: What is copied.
        closed: Hosts that take nothing in the copy, as if they were draining: no rule compares
            others with them either.
    """
    hosts = tuple(
        replace(host, draining=True) if i in closed else host for i, host in enumerate(state.hosts)
    )
    vms = (
        replace(vm, host=state.hosts[state.host_of(name)].name) for name, vm in state.vms.items()
    )
    return State(Cluster(hosts, tuple(vms), state.redundancy))
