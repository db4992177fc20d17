# SPDX-License-Identifier: Apache-2.0
"""What to move in which order, what it wins and what it costs. Plain data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .score import Score

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be moved, and what for."""

    moves: int = 100
    """Moves in one plan."""
    concurrent: int = 2
    """Moves that run at once. A copy of memory takes what the network gives, so two already share
    most of what one would get."""
    per_host: int = 1
    """Of these, moves that one host takes part in, at either end."""
    gain: float = 0.1
    """What a move must win, as score times hosts that take virtual machines: on a zone twice as
    large a move changes the score half as much and is worth the same. 0.1 is where Ganeti's hbal
    ends too, on 50 hosts."""
    price: float = 0.0
    """What a move must win besides for each GiB of memory that it copies, in score."""
    enough: float = 0.0
    """The score, without the part for the proof, that is good enough: the plan has as few moves as
    reach it."""
    effort: int = 60_000
    """How many changes of the choice are tried; a hundred thousand take about a second."""

    def __post_init__(self) -> None:
        if min(self.moves, self.effort) < 0 or min(self.concurrent, self.per_host) < 1:
            raise ValueError("limits: moves and effort are 0 or more, the others 1 or more")


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Move:
    """One virtual machine goes from one host to another."""

    vm: str
    source: str
    target: str
    gain: float
    """By how much the score falls with it, in its place in the order. Below 0 where it only makes
    room for a later one."""
    memory: int
    """Bytes that are copied at least."""


@dataclass(frozen=True, slots=True)
class Stays:
    """A virtual machine that would have to go and cannot."""

    vm: str
    host: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Moves in an order in which every step keeps room, required rules and the proof."""

    batches: tuple[tuple[Move, ...], ...]
    """Moves that may run at once, batch after batch. Room, rules and the proof are kept in whatever
    order those of one batch end."""
    before: Score
    after: Score
    stays: tuple[Stays, ...] = ()
    """What an evacuation leaves behind, by name."""

    @property
    def moves(self) -> tuple[Move, ...]:
        """Return every move in order."""
        return tuple(move for batch in self.batches for move in batch)

    @property
    def memory(self) -> int:
        """Return the bytes that the whole plan copies at least."""
        return sum(move.memory for move in self.moves)


def batched(
    moves: Sequence[Move], limits: Limits, may_join: Callable[[Sequence[Move], Move], bool]
) -> tuple[tuple[Move, ...], ...]:
    """Group moves, in their order, into batches that run at once.

    Until a move has ended it takes room on both hosts, so nobody takes what another move of
    the same batch gives back: who goes where somebody leaves goes a batch later.

    Args:
        moves: In an order that is right one by one.
        limits: How many at once.
        may_join: Tells whether a move may run at once with those of a batch as far as rules and
            the proof go; asked in the order of the moves.
    """
    batches: list[list[Move]] = []
    for move in moves:
        batch = batches[-1] if batches else []
        busy = [host for each in batch for host in (each.source, each.target)]
        if (
            not batch
            or len(batch) >= limits.concurrent
            or max(busy.count(move.source), busy.count(move.target)) >= limits.per_host
            or move.target in {each.source for each in batch}
            or not may_join(batch, move)
        ):
            batch = []
            batches.append(batch)
        batch.append(move)
    return tuple(tuple(batch) for batch in batches)
