# SPDX-License-Identifier: Apache-2.0
"""Move what lowers the score, or what must leave a host: one search with two goals.

`search` chooses where everything should be; here the moves get an order in which each of them has
room, keeps the rules and keeps the proof. What the proof refuses is left out, and the search goes
again without it.
"""

from collections.abc import Collection
from itertools import islice, permutations

import numpy as np

from ..answer import Refusal
from ..placing.explain import not_admitted
from ..placing.place import no_placement
from ..scheduler import prover_for
from ..state import State
from .board import Board
from .course import Course, ProverOf
from .plan import DEFAULT_LIMITS, GIB, Limits, Move, Plan, Stays, batched
from .room import openings
from .score import DEFAULT_WEIGHTS, Score, Weights
from .search import search
from .together import Together

_ROUNDS = 4
"""Searches for one plan: each begins where the proof refused something the last time."""
_OPENINGS = 20
"""Ways to make room that one virtual machine which must leave is tried with."""


def balance(
    state: State,
    limits: Limits = DEFAULT_LIMITS,
    weights: Weights = DEFAULT_WEIGHTS,
    *,
    prover: ProverOf = prover_for,
) -> Plan:
    """Return moves that lower the score; draining hosts are emptied first.

    At no step is the score above that of the beginning, but between two moves that change places.
    Nothing is moved off a blocked host, and nothing that is not movable.

    Args:
        state: Where everything is; it stays as it is.
        limits: How much may be moved.
        weights: What the parts of the score count.
        prover: Makes the prover that every step is asked of.
    """
    plan = _Planner(Course(state, weights, prover), limits)
    plan.run(fixed=())
    return plan.finish()


def evacuate(
    state: State,
    hosts: Collection[str],
    limits: Limits = DEFAULT_LIMITS,
    weights: Weights = DEFAULT_WEIGHTS,
    *,
    prover: ProverOf = prover_for,
) -> Plan:
    """Return moves that empty hosts, and what stays there and why.

    Others are moved only where that makes the room that is missing. A host that is not draining yet
    counts in the proof as one that takes restarts, until it is empty.

    Args:
        state: Where everything is; it stays as it is.
        hosts: Names of the hosts.
        limits: How much may be moved; `gain` and `enough` mean nothing here.
        weights: What the parts of the score count.
        prover: Makes the prover that every step is asked of.

    Raises:
        KeyError: there is no such host.
    """
    leave = tuple(sorted(state.index[name] for name in hosts))
    plan = _Planner(Course(state, weights, prover, leave=leave), limits, leave=leave)
    stay = {name for host, there in enumerate(state.on) if host not in leave for name in there}
    plan.run(fixed=stay)
    plan.make_room()
    return plan.finish()


class _Planner:
    """One plan in the making."""

    def __init__(self, course: Course, limits: Limits, *, leave: tuple[int, ...] = ()) -> None:
        self._course = course
        self._limits = limits
        self._leave = leave
        self._least = 0.0 if leave else limits.gain / max(1, int(course.measure.open.sum()))
        self._moves: list[Move] = []
        self._scores: list[Score] = [course.score()]
        self._refusals: dict[str, dict[int, Refusal]] = {}

    def run(self, *, fixed: Collection[str]) -> None:
        """Search, and make what the proof allows, until nothing more is worth it."""
        for _ in range(_ROUNDS):
            board = self._board({*fixed, *self._course.moved})
            for name, hosts in self._refusals.items():
                for host in hosts:
                    board.bar(name, host)
            left = self._limits.moves - len(self._moves)
            wanted = search(
                board,
                moves=left,
                least=self._least,
                enough=0.0 if self._leave else self._limits.enough,
                effort=self._limits.effort,
            )
            if not wanted or self._walk(wanted, {*fixed, *self._course.moved}):
                return

    def make_room(self) -> None:
        """Move others away for what must leave and has no room yet, the largest first."""
        state = self._course.state
        waiting = [n for host in self._leave for n in state.on[host] if state.vms[n].movable]
        for name in sorted(waiting, key=lambda n: (-state.vms[n].needs.memory, n)):
            vm = self._course.state.vms[name]
            most = min(2, self._limits.moves - len(self._moves) - 1)
            found = openings(self._board(self._course.moved), vm, most)
            for opening in islice(found, _OPENINGS):
                if self._make_all((*opening.moves, (name, opening.host))):
                    break

    def finish(self) -> Plan:
        """Return the plan; moves at its end that were of no use for themselves are left out."""
        count = len(self._moves)
        if not self._leave:
            worth = [s.total + self._least * i for i, s in enumerate(self._scores)]
            count = int(np.argmin(worth))
        stays, course = self._stays(), self._course
        course.rewind(self._moves)
        moves = self._moves[:count]
        batches = batched(moves, self._limits, Together(course, moves).may_join)
        return Plan(batches, self._scores[0], self._scores[count], stays)

    def _walk(self, wanted: dict[str, int], fixed: Collection[str]) -> bool:
        """Make moves in the order of what they win; tell whether all could be made."""
        board, rest, all_made = self._board(fixed), dict(wanted), True
        while rest:
            names, hosts = list(rest), list(rest.values())
            gains = board.gains(names, hosts)
            for i in np.argsort(-gains, kind="stable").tolist():
                name, host = names[i], hosts[i]
                if not board.fits(name, host) or self._is_too_high(board, float(gains[i])):
                    continue
                del rest[name]
                if self._make(name, host):
                    board.move(name, host)
                else:
                    all_made = False
                break
            else:
                if self._exchange(board, rest):
                    continue
                for name, host in rest.items():
                    self._refusals.setdefault(name, {})[host] = Refusal("", "no room in this order")
                return False
        return all_made

    def _exchange(self, board: Board, rest: dict[str, int]) -> bool:
        """Make two moves that only together do not lift the score; tell whether there were any."""
        for one, other in permutations(rest, 2):
            pair, home = (one, other), board.state.host_of(one)
            if not board.fits(one, rest[one]):
                continue
            board.move(one, rest[one])
            gain = float(board.gains([other], [rest[other]])[0])
            good = board.fits(other, rest[other]) and not self._is_too_high(board, gain)
            if good and self._make_all(tuple((name, rest[name]) for name in pair)):
                board.move(other, rest.pop(other))
                del rest[one]
                return True
            board.move(one, home)
        return False

    def _is_too_high(self, board: Board, gain: float) -> bool:
        """Tell whether a move would lift the score above that of the beginning."""
        begun = self._scores[0]
        return board.measure.total - gain > begun.total - self._unproven_part(begun) + 1e-12

    @staticmethod
    def _unproven_part(score: Score) -> float:
        return score.weights.unproven * score.unproven

    def _make(self, name: str, host: int) -> bool:
        """Make one move if the proof allows it."""
        course = self._course
        vm, source = course.state.vms[name], course.state.host_of(name)
        why = course.move(name, host)
        if why is not None:
            self._refusals.setdefault(name, {})[host] = not_admitted(course.state, host, why)
            return False
        names, before = course.state.hosts, self._scores[-1]
        self._scores.append(course.score())
        gain = before.total - self._scores[-1].total
        self._moves.append(Move(name, names[source].name, names[host].name, gain, vm.needs.memory))
        return True

    def _make_all(self, moves: tuple[tuple[str, int], ...]) -> bool:
        """Make all of these moves; if the proof refuses one, none."""
        made: list[tuple[str, int]] = []
        for name, host in moves:
            source = self._course.state.host_of(name)
            if not self._make(name, host):
                for other, home in reversed(made):
                    self._course.undo(other, home)
                    self._moves.pop()
                    self._scores.pop()
                return False
            made.append((name, source))
        return True

    def _stays(self) -> tuple[Stays, ...]:
        state = self._course.state
        names = sorted(name for host in self._leave for name in state.on[host])
        return tuple(Stays(n, state.hosts[state.host_of(n)].name, self._why(n)) for n in names)

    def _why(self, name: str) -> str:
        state = self._board(()).state
        vm, host = state.vms[name], state.host_of(name)
        if not vm.movable:
            return "it may not be moved"
        if len(self._moves) >= self._limits.moves:
            return f"the limit of {self._limits.moves} moves is reached"
        state.remove(name)
        closed = {state.hosts[i].name for i in self._leave}
        refusals = [r for r in self._refusals.get(name, {}).values() if r.host]
        answer = no_placement(state, vm, [r for r in refusals if r.host not in closed])
        kept = tuple(r for r in answer.refusals if r.host not in closed)
        state.add(vm, host)
        return type(answer)(len(state.hosts) - len(closed), kept).message

    def _board(self, fixed: Collection[str]) -> Board:
        return Board(
            self._course.state,
            self._course.measure.weights,
            leave=self._leave,
            fixed=fixed,
            price=self._limits.price / GIB,
        )
