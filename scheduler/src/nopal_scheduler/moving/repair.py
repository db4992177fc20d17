# SPDX-License-Identifier: Apache-2.0
"""Moves that give a zone its proof back, or bring it nearer: N+k debt is paid before all else.

Nothing is placed in a zone while what it is to survive is not proven, so a little unevenness is
worth it. What moves could help is guessed from the loss that cannot be made good; what they help is
asked of the prover, on the course itself.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

import numpy as np

from ..model import Cluster, Vm
from ..proof import NotProven, Proof
from ..rules import Mask
from ..state import State
from .board import Board
from .course import Course
from .room import openings
from .steps import Steps, Way

_EVERY = 300
"""Moves (virtual machine and host) of a small zone, where each of them is tried."""
_TRIES = 24
"""Ways that one round tries in larger zones: so many of one move, then so many of two."""
_EFFORT = 1_500
"""What one plan spends on tries at most: each costs `_ASKING`, and one more for everyone without a
new host, whom the prover searches for again. One is a few milliseconds."""
_ASKING = 3
_STUCK = 6
"""Virtual machines without a new host that one round looks at, the largest first."""
_EACH = 8
"""Ways that are looked at for each of them."""


def repair(steps: Steps) -> None:
    """Make moves while fewer are without a new host after each of them, or after two.

    In a small zone every single move is tried, and the one is made that leaves the fewest. In a
    larger one it is the first that helps of those that are aimed at a loss: what has no host goes
    elsewhere, or others make room for it outside of the lost domains.

    Args:
        steps: The plan so far.
    """
    effort = _EFFORT
    while not steps.course.proven and steps.left > 0 and effort > 0:
        board = steps.board(steps.course.moved)
        small = len(board.state.hosts) * len(board.state.vms) <= _EVERY
        singles = islice(_aimed(steps.course, board, 1), _TRIES)
        pairs = islice(_aimed(steps.course, board, 2), _TRIES)
        for ways in (chain(singles, _every(board)) if small else singles, pairs):
            effort, done = _try(steps, board, ways, effort=effort, first=not small)
            if done:
                break
        else:
            return


def _try(
    steps: Steps, board: Board, ways: Iterable[Way], *, effort: int, first: bool
) -> tuple[int, bool]:
    """Make the way that leaves the fewest without a new host, if any leaves fewer than there are.

    Args:
        steps: The plan so far.
        board: As things are now.
        ways: What to try; twice the same is tried once.
        effort: How much may be spent.
        first: Take the first that helps.

    Returns:
        The effort that is left, and whether a way was made.
    """
    best: tuple[int, float, Way] | None = None
    seen: set[Way] = set()
    for way in ways:
        if effort <= 0:
            break
        if way in seen or not _holds(board, way):
            continue
        seen.add(way)
        effort -= _ASKING + len(steps.course.unplaced)
        if not _helps(steps, way):
            continue
        if first or steps.course.proven:
            return effort, True
        key = (len(steps.course.unplaced), steps.scores[-1].total)
        if best is None or key < best[:2]:
            best = (*key, way)
        steps.take_back(len(way))
    # What was found once may not be found again, as the search goes on from what it had.
    return effort, best is not None and _helps(steps, best[2])


def _helps(steps: Steps, way: Way) -> bool:
    """Make a way and tell whether fewer are without a new host; take it back if not."""
    before = len(steps.course.unplaced)
    if len(way) > steps.left or steps.make_all(way) is not None:
        return False
    helps = len(steps.course.unplaced) < before
    if helps and steps.scores[-1].total <= steps.scores[0].total:
        return True
    steps.take_back(len(way))
    return False


def _holds(board: Board, way: Way) -> bool:
    """Tell whether every move has room and breaks no rule; the board is left as it was."""
    made: list[tuple[str, int]] = []
    for name, host in way:
        if not board.fits(name, host):
            break
        made.append((name, board.state.host_of(name)))
        board.move(name, host)
    for name, home in reversed(made):
        board.move(name, home)
    return len(made) == len(way)


def _every(board: Board) -> Iterator[Way]:
    """Yield every way of one move, those that even out most first."""
    return (((found.vm, found.target),) for found in board.several(_EVERY))


def _aimed(course: Course, board: Board, moves: int) -> Iterator[Way]:
    """Yield ways that may help those without a new host, in turn: off their host, or room for it.

    Args:
        course: Where everything is, and who has no new host.
        board: As things are now.
        moves: How many moves a way has.
    """
    state, lost, restarts, names = _loss(course)
    seen = [(name, lost, restarts) for name in names]
    for name in _largest(state, course.unplaced):
        if name not in names:
            # Of the loss that it belongs to no more is known than that its own domain is in it.
            home = next(each for each in state.lost_with if each[state.host_of(name)])
            seen.append((name, home, {}))
    ways = [
        chain(
            _off(board, state.vms[name], gone) if moves == 1 else (),
            _room_for(board, state, state.vms[name], gone, there, moves),
        )
        for name, gone, there in seen[:_STUCK]
    ]
    limited = [islice(each, _EACH) for each in ways]
    while limited:
        for each in tuple(limited):
            way = next(each, None)
            if way is None:
                limited.remove(each)
            else:
                yield way


def _loss(course: Course) -> tuple[State, Mask, dict[str, int], tuple[str, ...]]:
    """Return the loss that the verdict names: its hosts, who restarts where, and who nowhere."""
    state, verdict = course.state, course.verdict()
    nobody = np.zeros(len(state.hosts), dtype=np.bool_)
    if isinstance(verdict, Proof):
        return state, nobody, {}, ()
    domains = verdict.worst.lost if isinstance(verdict, NotProven) else verdict.lost
    members = [state.domain_names.index(name) for name in domains]
    lost = np.logical_or.reduce([nobody, *(state.lost_with[each] for each in members)])
    if isinstance(verdict, NotProven):
        restarts = {n: state.index[host] for n, host in verdict.worst.restarts.items()}
        return state, lost, restarts, _largest(state, verdict.unplaced)
    there = [n for h in np.flatnonzero(lost) for n in state.on[h] if state.vms[n].restarts]
    free = state.free[:, state.takes & ~lost]
    needs = {name: state.needs(state.vms[name])[:, None] for name in there}
    alone = [name for name in there if not (free >= needs[name]).all(axis=0).any()]
    return state, lost, {}, _largest(state, alone or there)


def _largest(state: State, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names), key=lambda n: (-state.vms[n].needs.memory, n)))


def _off(board: Board, vm: Vm, lost: Mask) -> Iterator[Way]:
    """Yield moves of a virtual machine to hosts that are not lost, those with most free first."""
    if not (
        vm.movable and vm.name not in board.fixed and board.sources[board.state.host_of(vm.name)]
    ):
        return
    free = (board.state.free / board.state.scale).min(axis=0)
    for host in np.argsort(-free, kind="stable").tolist():
        if not lost[host] and board.fits(vm.name, host):
            yield ((vm.name, host),)


def _room_for(
    board: Board, state: State, vm: Vm, lost: Mask, restarts: dict[str, int], moves: int
) -> Iterator[Way]:
    """Yield moves of those that are not lost after which a virtual machine restarts as well.

    Args:
        board: As things are now.
        state: The same, with its redundancy.
        vm: Who has no new host.
        lost: The hosts that are lost.
        restarts: Where others restart.
        moves: How many moves.
    """
    homes = {name: state.host_of(name) for name in state.vms}
    homes = {name: host for name, host in homes.items() if not lost[host]} | restarts
    there = (replace(state.vms[n], host=state.hosts[host].name) for n, host in homes.items())
    after = State(Cluster(state.hosts, tuple(there), state.redundancy))
    aside = Board(
        after,
        board.measure.weights,
        leave=tuple(np.flatnonzero(lost).tolist()),
        fixed={*board.fixed, *restarts},
    )
    yield from (each.moves for each in openings(aside, vm, moves) if len(each.moves) == moves)
