# SPDX-License-Identifier: Apache-2.0
"""The moves of one plan as they are made, and the score after each of them."""

from collections.abc import Collection

from ..proof import Impossible, NotProven
from .board import Board
from .course import Course
from .plan import GIB, Limits, Move
from .score import Score

Way = tuple[tuple[str, int], ...]
"""Moves in their order: a virtual machine and the index of the host that it goes to."""


class Steps:
    """Moves on a course, the last of which can be taken back.

    Args:
        course: Where everything is.
        limits: How much may be moved.
        leave: Hosts to be emptied besides those that are draining, by index.
    """

    def __init__(self, course: Course, limits: Limits, *, leave: tuple[int, ...] = ()) -> None:
        self.course = course
        self.limits = limits
        self._leave = leave
        self.least = 0.0 if leave else limits.gain / max(1, int(course.measure.open.sum()))
        """What a move must win."""
        self.moves: list[Move] = []
        self.scores: list[Score] = [course.score()]
        """The score of the beginning, and that after each move."""

    @property
    def left(self) -> int:
        """Return how many moves the limit leaves."""
        return self.limits.moves - len(self.moves)

    @property
    def ceiling(self) -> float:
        """Return how high the score without the proof may be: as in the beginning.

        What was paid for a better proof may be added.
        """
        begun = self.scores[0]
        without = min(begun.unproven, self.scores[-1].unproven)
        return begun.total - begun.weights.unproven * without + 1e-12

    def make(self, name: str, host: int) -> NotProven | Impossible | None:
        """Make one move if the proof allows it; else change nothing and say why."""
        course = self.course
        vm, source = course.state.vms[name], course.state.host_of(name)
        why = course.move(name, host)
        if why is None:
            names, before = course.state.hosts, self.scores[-1]
            self.scores.append(course.score())
            gain = before.total - self.scores[-1].total
            self.moves.append(
                Move(name, names[source].name, names[host].name, gain, vm.needs.memory)
            )
        return why

    def make_all(self, way: Way) -> tuple[str, int, NotProven | Impossible] | None:
        """Make all of these moves; if the proof refuses one, none, and say which and why."""
        for made, (name, host) in enumerate(way):
            why = self.make(name, host)
            if why is not None:
                self.take_back(made)
                return name, host, why
        return None

    def take_back(self, count: int) -> None:
        """Take so many of the last moves back."""
        for _ in range(count):
            move = self.moves.pop()
            self.scores.pop()
            self.course.undo(move.vm, self.course.state.index[move.source])

    def board(self, fixed: Collection[str] = ()) -> Board:
        """Return a board as things are now."""
        return Board(
            self.course.state,
            self.course.measure.weights,
            leave=self._leave,
            fixed=fixed,
            price=self.limits.price / GIB,
        )
