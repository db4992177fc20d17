# SPDX-License-Identifier: Apache-2.0
"""Which moves may run at once: whoever ends first, all that was proven stays proven."""

from collections.abc import Sequence
from itertools import combinations

from .course import Course
from .plan import Move


class Together:
    """Judges the moves of one plan, in their order.

    Args:
        course: As it is before the first of the moves; they are made on it.
        moves: In an order that is right one by one.
    """

    def __init__(self, course: Course, moves: Sequence[Move]) -> None:
        self._course = course
        self._ruled = {move.vm for move in moves if course.is_ruled(move.vm)}
        self._ahead = list(reversed(moves))

    def may_join(self, batch: Sequence[Move], move: Move) -> bool:
        """Tell whether a move may run at once with those of a batch.

        Of the virtual machines that rules concern, one batch has one at most. The proof has to hold
        after any of these moves without the others; after all of them it does.
        """
        if move.vm in self._ruled and any(each.vm in self._ruled for each in batch):
            return False
        course = self._course
        while self._ahead and self._ahead[-1] is not move:
            course.repeat(self._ahead.pop())
        return all(
            course.is_kept_without(others, move)
            for count in range(1, len(batch) + 1)
            for others in combinations(batch, count)
        )
