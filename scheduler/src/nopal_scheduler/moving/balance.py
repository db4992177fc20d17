# SPDX-License-Identifier: Apache-2.0
"""Move what lowers the score, or what must leave a host: one search with two goals.

First `repair` pays what the zone owes to its proof. Then `search` chooses where everything should
be, and here the moves get an order in which each of them has room, keeps the rules and keeps the
proof. What the proof refuses is left out, and the search goes again without it.
"""

from collections.abc import Collection
from itertools import islice, permutations

import numpy as np

from ..answer import Refusal
from ..placing.explain import not_admitted
from ..scheduler import prover_for
from ..state import State
from .board import Board
from .climb import climb
from .course import Course, ProverOf
from .plan import DEFAULT_LIMITS, Limits, Plan, Stays, batched
from .repair import repair
from .room import openings
from .score import DEFAULT_WEIGHTS, Weights
from .search import search
from .staying import why_it_stays
from .steps import Steps, Way
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
    """Return moves that lower the score; a missing proof comes first, then draining hosts.

    At no step is the score above that of the beginning, but between two moves that change places,
    and off a draining host, which is left even if more are without proof then.
    Nothing is moved off a blocked host, and nothing that is not movable.

    Args:
        state: Where everything is; it stays as it is.
        limits: How much may be moved.
        weights: What the parts of the score count.
        prover: Makes the prover that every step is asked of.
    """
    steps = Steps(Course(state, weights, prover), limits)
    plan = _Planner(steps)
    repair(steps)
    plan.run(fixed=())
    plan.trim()
    climb(steps)
    repair(steps)
    plan.trim()
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

    Others are moved only where that makes the room that is missing. The hosts take nothing, and no
    rule compares others with them, as if they were draining; but in the proof one that is not
    counts as one that takes restarts, until it is empty.

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
    steps = Steps(Course(state, weights, prover, leave=leave), limits, leave=leave)
    plan = _Planner(steps, leave=leave)
    stay = {name for host, there in enumerate(state.on) if host not in leave for name in there}
    plan.run(fixed=stay)
    plan.make_room()
    return plan.finish()


class _Planner:
    """One plan in the making."""

    def __init__(self, steps: Steps, *, leave: tuple[int, ...] = ()) -> None:
        self._steps, self._course, self._limits = steps, steps.course, steps.limits
        self._leave = leave
        self._refusals: dict[str, dict[int, Refusal]] = {}

    def run(self, *, fixed: Collection[str]) -> None:
        """Search, and make what the proof allows, until nothing more is worth it."""
        for _ in range(_ROUNDS):
            board = self._steps.board({*fixed, *self._course.moved})
            for name, hosts in self._refusals.items():
                for host in hosts:
                    board.bar(name, host)
            wanted = search(
                board,
                moves=self._steps.left,
                least=self._steps.least,
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
            most = min(2, self._steps.left - 1)
            found = openings(self._steps.board(self._course.moved), vm, most)
            for opening in islice(found, _OPENINGS):
                if self._make_all((*opening.moves, (name, opening.host))):
                    break

    def trim(self) -> None:
        """Take moves back that are at the end and were of no use for themselves."""
        steps = self._steps
        worth = [s.total + steps.least * i for i, s in enumerate(steps.scores)]
        steps.take_back(len(steps.moves) - int(np.argmin(worth)))

    def finish(self) -> Plan:
        """Return the plan."""
        steps, stays, course = self._steps, self._stays(), self._course
        course.rewind(steps.moves)
        batches = batched(steps.moves, self._limits, Together(course, steps.moves).may_join)
        return Plan(batches, steps.scores[0], steps.scores[-1], stays)

    def _walk(self, wanted: dict[str, int], fixed: Collection[str]) -> bool:
        """Make moves in the order of what they win; tell whether all could be made."""
        board, rest, all_made = self._steps.board(fixed), dict(wanted), True
        while rest:
            names, hosts = list(rest), list(rest.values())
            gains = board.gains(names, hosts)
            for i in np.argsort(-gains, kind="stable").tolist():
                name, host = names[i], hosts[i]
                if not board.fits(name, host) or self._is_too_high(board, float(gains[i])):
                    continue
                del rest[name]
                if self._make_all(((name, host),)):
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
        return board.measure.total - gain > self._steps.ceiling

    def _make_all(self, way: Way) -> bool:
        """Make all of these moves; if the proof refuses one, none."""
        refused = self._steps.make_all(way)
        if refused is not None:
            name, host, why = refused
            answer = not_admitted(self._course.state, host, why)
            self._refusals.setdefault(name, {})[host] = answer
        return refused is None

    def _stays(self) -> tuple[Stays, ...]:
        state = self._course.state
        names = sorted(name for host in self._leave for name in state.on[host])
        return tuple(Stays(n, state.hosts[state.host_of(n)].name, self._why(n)) for n in names)

    def _why(self, name: str) -> str:
        if not self._course.state.vms[name].movable:
            return "it may not be moved"
        if self._steps.left <= 0:
            return f"the limit of {self._limits.moves} moves is reached"
        refusals = [r for r in self._refusals.get(name, {}).values() if r.host]
        return why_it_stays(self._steps.board(), name, self._leave, refusals)
