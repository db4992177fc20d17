# SPDX-License-Identifier: Apache-2.0
"""Which virtual machines should be where: a set of moves, without an order yet.

The best move again and again, then exchanges; after that all choices are gone through once more
together (`anneal`), and what is not worth its move stays. The proof is not looked at here: see
`repair`.
"""

from .anneal import anneal
from .board import Board

_HEAT = 0.15
"""The first temperature of `anneal`, as a share of what the last move won: on 50 hosts with 500
virtual machines the best of 0.03 to 0.6."""
_DROPS = 4
"""How often moves are dropped and the rest gone through again, where there is a score to reach."""


def search(board: Board, *, moves: int, least: float, enough: float, effort: int) -> dict[str, int]:
    """Return the host for each virtual machine that should move; the board has moved them.

    Args:
        board: A board without moves.
        moves: How many at most.
        least: What a move must win.
        enough: The score, without the proof, that is good enough: as few moves as reach it.
        effort: How many changes of the choice to try.
    """
    last = _choose(board, moves, least, enough)
    # Where most of the score is the number of virtual machines, one move wins much and its choice
    # among equals little: the heat is of the little.
    last = min(last, 2 * least) if least > 0 else last
    share = effort // (_DROPS + 1) if enough > 0 else effort
    anneal(board, share, _HEAT * last)
    aims = enough > 0 and board.measure.total <= enough
    for _ in range(_DROPS if aims else 0):
        kept = _places(board)
        if not _shorten(board):
            break
        anneal(board, share, _HEAT * last)
        if board.measure.total > enough:
            _put(board, kept)
            break
    for _ in range(_DROPS if aims else 0):
        kept = _places(board)
        while board.moved and board.measure.total <= enough:
            good = _places(board)
            _drop_least(board)
        anneal(board, share, _HEAT * last)
        if board.measure.total > enough:
            # One too many was dropped: the last choice that was good enough without a new search.
            _put(board, good)
            if len(good) == len(kept):
                break
    while board.moved and _worth(board)[0] < least and not aims:
        _drop_least(board)
    return _places(board)


def _choose(board: Board, moves: int, least: float, enough: float) -> float:
    """Make the best moves one by one; return what the last one won."""
    last = least
    while len(board.moved) < moves and board.measure.total > enough:
        found = board.best(least)
        if found is not None:
            board.move(found.vm, found.target)
            last = found.gain
            continue
        pair = board.exchange(2 * least) if len(board.moved) + 2 <= moves else None
        if pair is None:
            break
        for each in pair:
            board.move(each.vm, each.target)
    return last


def _worth(board: Board) -> tuple[float, str]:
    """Return what the least useful move wins, and whose it is; only of those that can go back."""
    names = [name for name in sorted(board.moved) if board.has_room(name, board.moved[name])]
    if not names:
        return float("inf"), ""
    losses = -board.gains(names, [board.moved[name] for name in names])
    # Going back pays the price of the copy back instead of a second time.
    losses -= 2 * board.prices(names)
    i = int(losses.argmin())
    return float(losses[i]), names[i]


def _drop_least(board: Board) -> float:
    """Take back the least useful move; return what it won."""
    worth, name = _worth(board)
    if not name:
        # Everyone's place is taken by another: take all back, which always fits.
        _put(board, {})
        return 0.0
    board.move(name, board.moved[name])
    return worth


def _shorten(board: Board) -> bool:
    """Have one move in place of two: off a host that another has come to, the other goes at once.

    Numbers of virtual machines stay as they are, which no dropped move leaves so. Tells whether
    there were two such moves; the score may be worse.
    """
    moves = sorted(board.moved)
    best: tuple[float, str, str] | None = None
    for comer in moves:
        through = board.state.host_of(comer)
        for leaver in moves:
            target = board.state.host_of(leaver)
            if board.moved[leaver] != through or target == board.moved[comer]:
                continue
            board.move(leaver, through)
            if board.fits(comer, target):
                board.move(comer, target)
                if (board.state.free[:, through] >= 0).all():
                    best = min(filter(None, (best, (board.measure.total, comer, leaver))))
                board.move(comer, through)
            board.move(leaver, target)
    if best is None:
        return False
    _, comer, leaver = best
    through, target = board.state.host_of(comer), board.state.host_of(leaver)
    board.move(leaver, through)
    board.move(comer, target)
    return True


def _places(board: Board) -> dict[str, int]:
    return {name: board.state.host_of(name) for name in sorted(board.moved)}


def _put(board: Board, places: dict[str, int]) -> None:
    """Make exactly these moves."""
    for name in sorted(board.moved):
        if name not in places:
            board.move(name, board.moved[name])
    for name, host in places.items():
        if board.state.host_of(name) != host:
            board.move(name, host)
