# SPDX-License-Identifier: Apache-2.0
"""Single moves by the whole score, the best first: what the search with its parts left behind.

`search` looks at evenness alone, because that is what thousands of moves can be asked at once. A
move that it finds may leave a host that cannot be emptied, and then all that follows is given up.
Here every move is asked for everything that it changes.
"""

from .board import Board, Found
from .steps import Steps

_EVERY = 1_000
"""Moves (virtual machine and host) of a small zone, where each of them is looked at."""
_LOOKS = 50
"""The same in larger zones: those that win most by the evenness."""
_NOTHING = 1e-9
"""What a move wins at least where every gain is enough."""
_ASKED = 300
"""Refusals of the prover in one climb; one counts as many times more as there are without a new
host, because then it takes so much longer."""


def climb(steps: Steps) -> None:
    """Make the best move while one wins what a move must win.

    Args:
        steps: The plan so far; whoever has moved stays.
    """
    board, asked = steps.board(steps.course.moved), 0
    least = max(steps.least, _NOTHING)
    small = len(board.state.hosts) * len(board.state.vms) <= _EVERY
    while steps.left > 0 and board.measure.total > steps.limits.enough:
        for found in _worth(board, least, _EVERY if small else _LOOKS):
            if steps.make(found.vm, found.target) is None:
                board.move(found.vm, found.target)
                break
            asked += 1 + len(steps.course.unplaced)
            if asked >= _ASKED:
                return
        else:
            return


def _worth(board: Board, least: float, count: int) -> list[Found]:
    """Return the moves that win so much by the whole score, best first; of so many by evenness."""
    now = board.measure.score()
    # No move wins more besides evenness than to have every host ready to be emptied.
    hope = now.weights.stuck * now.stuck
    found: list[Found] = []
    for move in board.several(count):
        if move.gain + hope < least:
            break
        change = now.weights.stuck * (now.stuck - board.stuck_after(move.vm, move.target))
        if move.gain + change >= least:
            found.append(Found(move.vm, move.target, move.gain + change))
    return sorted(found, key=lambda move: -move.gain)
