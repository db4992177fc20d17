# SPDX-License-Identifier: Apache-2.0
"""Make room for a virtual machine that fits nowhere: the fewest moves of others that do it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np

from ..model import Vm
from ..placing.way import Advice
from ..scheduler import prover_for
from ..state import State
from .board import Board
from .course import Course, ProverOf
from .plan import DEFAULT_LIMITS, Limits, Move, Plan, batched
from .score import DEFAULT_WEIGHTS, Weights
from .together import Together

_HOSTS = 24
"""Hosts that one step looks at, those that lack least first."""
_TARGETS = 3
"""Places that are tried for one virtual machine that gives way, the tightest first."""
_OPENINGS = 48
"""Openings that one search returns at most."""
_TRIES = 24
"""Openings that the prover is asked about."""
_MOST = 2
"""Moves that are looked for; three and more take long and are rarely made for
one virtual machine."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Moves, in order, after which a virtual machine fits on a host. Rules and room, no proof."""

    moves: tuple[tuple[str, int], ...]
    host: int
    memory: int
    """Bytes that the moves copy at least."""


@dataclass(frozen=True, slots=True)
class Room:
    """Moves after which the virtual machine fits, with the proof kept at every step."""

    host: str
    """Where it fits then."""
    plan: Plan

    @property
    def message(self) -> str:
        """Return the words for people: "fits on b with 1 move: vm-1 from b to c"."""
        moves = self.plan.moves
        steps = ", ".join(f"{move.vm} from {move.source} to {move.target}" for move in moves)
        count = f"{len(moves)} move{'' if len(moves) == 1 else 's'}"
        return f"fits on {self.host} with {count}: {steps}" if moves else f"fits on {self.host}"


def make_room(
    state: State,
    vm: Vm,
    limits: Limits = DEFAULT_LIMITS,
    weights: Weights = DEFAULT_WEIGHTS,
    *,
    prover: ProverOf = prover_for,
) -> Room | None:
    """Return the fewest moves after which a virtual machine fits; None if none were found.

    The search is bounded: the hosts that lack least, the smallest virtual machines on them, and at
    most two moves deep whatever the limit says.

    Args:
        state: Where everything is; it stays as it is.
        vm: One that the state does not have.
        limits: Of these `moves`, `concurrent` and `per_host`.
        weights: For the gains of the moves.
        prover: Makes the prover that every step, and the virtual machine itself, is asked of.

    Raises:
        ValueError: there is a virtual machine of that name.
    """
    if vm.name in state.vms:
        raise ValueError(f'there is a vm "{vm.name}" already')
    if not state.eligible(vm).any():
        return None
    course = Course(state, weights, prover)
    found = openings(Board(state, weights), vm, min(_MOST, limits.moves))
    for opening in islice(found, _TRIES):
        room = _try(course, vm, opening, limits)
        if room is not None:
            return room
    return None


def mover(prover: ProverOf = prover_for) -> Callable[[State, Vm], Advice | None]:
    """Return `make_room` as one of the movers of `advice.help_for`."""

    def moves(state: State, vm: Vm) -> Advice | None:
        room = make_room(state, vm, prover=prover)
        return Advice(room.message) if room is not None and room.plan.moves else None

    return moves


def _try(course: Course, vm: Vm, opening: Opening, limits: Limits) -> Room | None:
    """Make the moves of a way and take them all back; None if the proof is against it."""
    names, scores, moves = course.state.hosts, [course.score()], list[Move]()
    for name, host in opening.moves:
        source, memory = course.state.host_of(name), course.state.vms[name].needs.memory
        if course.move(name, host) is not None:
            break
        scores.append(course.score())
        gain = scores[-2].total - scores[-1].total
        moves.append(Move(name, names[source].name, names[host].name, gain, memory))
    fits = len(moves) == len(opening.moves) and course.takes(vm, opening.host) is None
    course.rewind(moves)
    if not fits:
        return None
    batches = batched(moves, limits, Together(course, moves).may_join)
    return Room(names[opening.host].name, Plan(batches, scores[0], scores[-1]))


def openings(board: Board, vm: Vm, most: int) -> Iterator[Opening]:
    """Yield ways to make room, those with the fewest moves first, then the least memory.

    Where there is room but no proof, moves are looked for as well: they may be what it lacks.

    Args:
        board: Where everything is, what stays there, and which hosts may be used; it is left as it
            was found. If it has the virtual machine, that one leaves its host.
        vm: What needs room.
        most: How many moves at most.
    """
    state = board.state
    for depth in range(most + 1):
        home = state.remove(vm.name) if vm.name in state.vms else None
        found = [o for o in _Search(board, vm).openings(depth) if len(o.moves) == depth]
        if home is not None:
            state.add(vm, home)
        found.sort(key=lambda opening: (opening.memory, opening.moves, opening.host))
        yield from (opening for opening in found[:_OPENINGS] if _holds(board, vm, opening))


def _holds(board: Board, vm: Vm, opening: Opening) -> bool:
    """Tell whether every move, and the virtual machine at the end, has room and keeps the rules."""
    made: list[tuple[str, int]] = []
    for name, host in opening.moves:
        if not board.fits(name, host):
            break
        made.append((name, board.state.host_of(name)))
        board.move(name, host)
    holds = len(made) == len(opening.moves)
    if holds and vm.name in board.state.vms:
        holds = board.fits(vm.name, opening.host)
    elif holds:
        holds = bool(board.state.fits(vm)[opening.host])
    for name, host in reversed(made):
        board.move(name, host)
    return holds


class _Search:
    """A depth-first search on a state that is always left as it was found.

    Args:
        board: Where everything is but what needs room.
        vm: What needs room.
    """

    def __init__(self, board: Board, vm: Vm) -> None:
        self._state = board.state
        self._usable = board.measure.open
        self._wanted = vm
        self._fixed = {vm.name, *board.fixed}
        self._scale = 1.0 / board.state.scale.max(axis=1)

    def openings(self, depth: int) -> list[Opening]:
        """Return ways with so many moves, and some with fewer."""
        if depth:
            return self._indirect(self._wanted, depth, frozenset())
        return self._openings(self._wanted, 0, frozenset())

    def _openings(self, vm: Vm, depth: int, closed: frozenset[int]) -> list[Opening]:
        """Return ways with at most so many moves to a place for what the state does not have.

        Args:
            vm: What needs a place.
            depth: How many others may move.
            closed: Hosts that are no place.
        """
        direct = self._direct(vm, closed)
        if direct or not depth:
            return [Opening((), host, 0) for host in direct]
        return self._indirect(vm, depth, closed)

    def _indirect(self, vm: Vm, depth: int, closed: frozenset[int]) -> list[Opening]:
        found: list[Opening] = []
        for host in self._nearest(vm, closed):
            for names in self._givers(vm, host, depth):
                found.extend(self._without(vm, host, names, depth, closed))
            if len(found) >= _OPENINGS:
                break
        return found

    def _direct(self, vm: Vm, closed: frozenset[int]) -> list[int]:
        fits = self._state.fits(vm) & self._usable
        fits[list(closed)] = False
        hosts = np.flatnonzero(fits)
        left = self._scale @ self._state.free[:, hosts]
        tightest: list[int] = hosts[np.argsort(left, kind="stable")][:_TARGETS].tolist()
        return tightest

    def _nearest(self, vm: Vm, closed: frozenset[int]) -> list[int]:
        """Return the hosts that could be used but for room and rules, who lacks least first."""
        state = self._state
        possible = state.eligible(vm) & self._usable
        possible[list(closed)] = False
        hosts = np.flatnonzero(possible)
        lack = self._scale @ np.maximum(state.needs(vm)[:, None] - state.free[:, hosts], 0)
        nearest: list[int] = hosts[np.argsort(lack, kind="stable")][:_HOSTS].tolist()
        return nearest

    def _givers(self, vm: Vm, host: int, depth: int) -> Iterator[tuple[str, ...]]:
        """Yield who could leave a host so that there is room: no one of them needlessly."""
        state = self._state
        lack = np.maximum(state.needs(vm) - state.free[:, host], 0)
        names = [n for n in state.on[host] if state.vms[n].movable and n not in self._fixed]
        names.sort(key=lambda name: (state.vms[name].needs.memory, name))
        needs = {name: state.needs(state.vms[name]) for name in names}
        enough: set[str] = set()
        for name in names:
            if (needs[name] >= lack).all():
                enough.add(name)
                yield (name,)
        if depth >= 2:
            # With rules in the way even one that gives room enough may need another to leave.
            alone = enough if lack.any() else set[str]()
            pairs = combinations([name for name in names if name not in alone], 2)
            yield from (p for p in pairs if (needs[p[0]] + needs[p[1]] >= lack).all())

    def _without(
        self, vm: Vm, host: int, names: tuple[str, ...], depth: int, closed: frozenset[int]
    ) -> list[Opening]:
        """Return ways in which exactly these leave a host and it takes the virtual machine."""
        state, givers = self._state, [self._state.vms[name] for name in names]
        for name in names:
            state.remove(name)
        found: list[Opening] = []
        if state.fits(vm)[host]:
            state.add(vm, host)
            found = self._rehome(host, givers, depth - len(names), closed | {host})
            state.remove(vm.name)
        for giver in givers:
            state.add(giver, host)
        return found

    def _rehome(
        self, host: int, givers: list[Vm], depth: int, closed: frozenset[int]
    ) -> list[Opening]:
        """Return ways to places for all givers; the way ends on the host that they left."""
        if not givers:
            return [Opening((), host, 0)]
        giver, found = givers[-1], []
        self._fixed.add(giver.name)
        for opening in self._openings(giver, depth, closed):
            homes = self._apply((*opening.moves, (giver.name, opening.host)), giver)
            for rest in self._rehome(host, givers[:-1], depth - len(opening.moves), closed):
                moves = (*opening.moves, (giver.name, opening.host), *rest.moves)
                memory = opening.memory + giver.needs.memory + rest.memory
                found.append(Opening(moves, host, memory))
            self._take_back(homes)
        self._fixed.discard(giver.name)
        return found

    def _apply(self, moves: tuple[tuple[str, int], ...], giver: Vm) -> list[tuple[Vm, int | None]]:
        state, homes = self._state, list[tuple[Vm, int | None]]()
        for name, target in moves:
            if name == giver.name:
                vm, home = giver, None
            else:
                vm, home = state.vms[name], state.remove(name)
            state.add(vm, target)
            homes.append((vm, home))
        return homes

    def _take_back(self, homes: list[tuple[Vm, int | None]]) -> None:
        for vm, home in reversed(homes):
            self._state.remove(vm.name)
            if home is not None:
                self._state.add(vm, home)
