# SPDX-License-Identifier: Apache-2.0
"""What a verb gives back: an exit code for scripts, text for people, data for programs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

DONE = 0
"""What was asked for is done, or is so."""
NO = 1
"""The answer is no: something does not fit, is not proven, or does not hold."""
BAD_INPUT = 2
"""The question could not be read."""
FAULT = 3
"""The tool itself failed: no answer at all, and never to be taken for a no."""


class InputError(Exception):
    """A file or an argument is wrong; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of a verb says."""

    code: int
    text: str
    """What `-o table` prints."""
    data: dict[str, Any] = field(default_factory=dict)
    """What `-o json` prints."""


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, right: str = "") -> str:
    """Return aligned columns, two spaces between them.

    Args:
        header: Titles.
        rows: Cells; None is shown as "-".
        right: Titles of the columns that are aligned on the right, with a space between two.
    """
    cells = [list(header), *(["-" if c is None else str(c) for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    numbers = [title in right.split() for title in header]
    lines = []
    for row in cells:
        padded = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def paragraphs(*parts: str) -> str:
    """Return the parts that are not empty, with an empty line between two."""
    return "\n\n".join(part for part in parts if part)


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return names with commas, the first ones of very many."""
    rest = len(names) - most
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:most])} and {rest} more"
