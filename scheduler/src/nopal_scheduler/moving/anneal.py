# SPDX-License-Identifier: Apache-2.0
"""Better moves in place of chosen ones, as many as before: simulated annealing.

A greedy choice never takes back what it chose first. Here one choice after another is changed a
little (another target, two targets exchanged, another virtual machine), mostly for the better and
at first now and then for the worse, which leads out of corners where every single change is worse.
Plain numbers without arrays: one change touches two to four hosts, and a hundred thousand a second
are tried. The chance comes from a fixed seed: same input, same answer.
"""

import math
import random
from collections.abc import Sequence

import numpy as np

from .board import Board

_COOLING = 0.02
"""The last temperature, as a share of the first."""


def anneal(board: Board, steps: int, heat: float) -> None:
    """Exchange moves of the board for others so that the score falls; never raise it.

    Virtual machines that rules concern keep what they have.

    Args:
        board: A board with moves.
        steps: How many changes to try.
        heat: The loss of score that is taken about every third time at first.
    """
    choice = _Choice(board)
    if choice.moved and steps > 0:
        choice.run(steps, heat)
        choice.apply()


class _Choice:
    """The moves of a board as plain numbers; a virtual machine is its place in the list here."""

    def __init__(self, board: Board) -> None:
        self._board, state, levels = board, board.state, board.measure.levels
        self._names = board.free_agents()
        index = {name: i for i, name in enumerate(self._names)}
        self._where = [state.host_of(name) for name in self._names]
        self._home = [board.moved.get(n, h) for n, h in zip(self._names, self._where, strict=True)]
        self.moved = [index[name] for name in sorted(board.moved) if name in index]
        vms = [state.vms[name] for name in self._names]
        # The last row is the number of virtual machines, of which there is no shortage.
        self._needs = [[*state.needs(vm).tolist(), 1] for vm in vms]
        self._places = [state.eligible(vm) & board.measure.open for vm in vms]
        self._barred = [board.barred(name) for name in self._names]
        self._hosts = np.flatnonzero(board.measure.open).tolist()
        self._free = [[*column, len(vms)] for column in state.free.T.tolist()]
        self._prices = [board.price * needs[1] for needs in self._needs]
        self._on: list[list[int]] = [[] for _ in state.hosts]
        for i, host in enumerate(self._where):
            self._on[host].append(i)
        self._stays_away = [bool(board.measure.leave[home]) for home in self._home]
        self._unit, self._share, self._counts, self._weights = levels.numbers()

    def run(self, steps: int, heat: float) -> None:
        """Try so many changes, and keep the best state that was seen."""
        chance = random.Random(0)  # noqa: S311 - no secret
        sums = [sum(row[r] for row in self._share) for r in range(len(self._weights))]
        squares = [sum(row[r] ** 2 for row in self._share) for r in range(len(self._weights))]
        now = self._spread(sums, squares)
        paid = best_paid = 0.0
        best, found = now, [(i, self._where[i]) for i in self.moved]
        for step in range(steps):
            spot = chance.randrange(len(self.moved))
            shifts = self._change(chance, spot)
            if not shifts:
                continue
            after = self._after(shifts)
            if after is None:
                continue
            new_sums, new_squares = sums[:], squares[:]
            for host, (_, shares) in after.items():
                for r, old in enumerate(self._share[host]):
                    new = shares[r]
                    new_sums[r] += new - old
                    new_squares[r] += new * new - old * old
            cost = self._price_of(shifts)
            then = self._spread(new_sums, new_squares)
            worse = then + cost - now
            if worse > 0:
                warmth = heat * _COOLING ** (step / steps)
                if chance.random() >= math.exp(-worse / warmth):
                    continue
            now, paid, sums, squares = then, paid + cost, new_sums, new_squares
            for host, (free, shares) in after.items():
                self._free[host], self._share[host] = free, shares
            for i, source, target in shifts:
                self._on[source].remove(i)
                self._on[target].append(i)
                self._where[i] = target
                if target != self._home[i]:
                    mover = i
            if self._where[self.moved[spot]] == self._home[self.moved[spot]]:
                self.moved[spot] = mover
            if now + paid < best + best_paid - 1e-12:
                best, best_paid = now, paid
                found = [(i, self._where[i]) for i in self.moved]
        self._found = found

    def apply(self) -> None:
        """Put the best moves on the board."""
        board, wanted = self._board, {self._names[i]: host for i, host in self._found}
        kept = [name for name in self._names if name in board.moved and name not in wanted]
        for name in kept:
            board.move(name, board.moved[name])
        for name, host in wanted.items():
            if board.state.host_of(name) != host:
                board.move(name, host)

    def _change(self, chance: random.Random, spot: int) -> Sequence[tuple[int, int, int]]:
        """Return a change as (virtual machine, from, to); empty if it is none."""
        i = self.moved[spot]
        here, home = self._where[i], self._home[i]
        kind = chance.random()
        if kind < 0.35:
            target = self._hosts[chance.randrange(len(self._hosts))]
            return ((i, here, target),) if target != here and self._may(i, target) else ()
        if kind < 0.5:
            other = self.moved[chance.randrange(len(self.moved))]
            there = self._where[other]
            if there == here or not self._may(i, there) or not self._may(other, here):
                return ()
            return (i, here, there), (other, there, here)
        if self._stays_away[i]:
            return ()
        near = self._on[home] if kind < 0.75 else None
        if near is not None and not near:
            return ()
        other = near[chance.randrange(len(near))] if near else chance.randrange(len(self._names))
        there = self._where[other]
        if other == i or there != self._home[other] or not self._may(other, here):
            return ()
        return (i, here, home), (other, there, here)

    def _may(self, i: int, target: int) -> bool:
        away = target != self._home[i] and target not in self._barred[i]
        return away and bool(self._places[i][target])

    def _after(
        self, shifts: Sequence[tuple[int, int, int]]
    ) -> dict[int, tuple[list[int], list[float]]] | None:
        """Return free amounts and shares of the hosts that change; None if there is no room."""
        after: dict[int, tuple[list[int], list[float]]] = {}
        for i, source, target in shifts:
            for host, sign in ((source, 1), (target, -1)):
                known = after.get(host)
                if known is None:
                    known = after[host] = (self._free[host][:], self._share[host][:])
                free, shares = known
                unit = self._unit[host]
                for r, need in enumerate(self._needs[i]):
                    free[r] += sign * need
                    shares[r] -= sign * need * unit[r]
        for host, (free, _) in after.items():
            before = self._free[host]
            if min(free) < 0 and any(f < 0 and f < b for f, b in zip(free, before, strict=True)):
                return None
        return after

    def _price_of(self, shifts: Sequence[tuple[int, int, int]]) -> float:
        price = 0.0
        for i, source, target in shifts:
            away = (target != self._home[i]) - (source != self._home[i])
            price += away * self._prices[i]
        return price

    def _spread(self, sums: list[float], squares: list[float]) -> float:
        total = 0.0
        for r, weight in enumerate(self._weights):
            count = self._counts[r]
            mean = sums[r] / count
            total += weight * math.sqrt(max(0.0, squares[r] / count - mean * mean))
        return total
