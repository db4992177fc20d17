# SPDX-License-Identifier: Apache-2.0
"""One table of figures, each with what stands beside it; progress goes to the error output."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.scheduler.htools import INSTALL, Htools, TooSlowError

T = TypeVar("T")
_HEAD = ("figure", "ours", "beside it", "goal", "")
PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    what: str
    ours: str
    beside: str
    """The peer's figure or the bound, with its name; or why there is none."""
    goal: str = ""
    met: bool | None = None
    """Whether the goal was met in this run; None where there is none, or the run was too short."""
    raw: dict[str, Any] = field(default_factory=dict)
    """The samples."""


class Report:
    """Collects rows; knows the peer, and whether the run is a short one.

    Args:
        quick: A short run: small sizes, few samples, and the peer only where it takes seconds.
        peer: Whether the peer is asked at all.
        patience: Seconds that one question to the peer may take.
    """

    def __init__(self, *, quick: bool, peer: bool = True, patience: float = PATIENCE) -> None:
        self.quick = quick
        self.htools = Htools.find(patience=patience) if peer else None
        self._without = "not installed" if peer else "left out (--no-peer)"
        self.rows: list[Row] = []
        self._begun = time.perf_counter()
        if peer and self.htools is None:
            self.say(f"Ganeti's htools are not installed, so there is no peer: {INSTALL}")

    def say(self, text: str) -> None:
        """Tell whoever waits what goes on."""
        print(f"[{time.perf_counter() - self._begun:5.0f} s] {text}", file=sys.stderr, flush=True)

    def add(self, row: Row) -> None:
        """Take a figure."""
        self.rows.append(row)
        self.say(f"{row.what}: {row.ours}; {row.beside}")

    def ask(self, question: Callable[[Htools], T], *, long: bool = False) -> T | str:
        """Return what the peer says; or why it says nothing, for the peer's column.

        Args:
            question: Runs the peer.
            long: It takes so long that a short run leaves it out.
        """
        if self.htools is None:
            return self._without
        if long and self.quick:
            return "left out of the short run"
        try:
            return question(self.htools)
        except TooSlowError as error:
            return str(error)

    @property
    def title(self) -> str:
        """Return what was measured on what."""
        peer = f"htools {self.htools.version}" if self.htools else f"htools {self._without}"
        kind = "short run (--quick), for orientation only" if self.quick else "full run"
        return (
            f"{kind}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end;"
            f" Python {platform.python_version()}, numpy {np.__version__}, {peer};"
            f" {time.perf_counter() - self._begun:.0f} s"
        )

    def table(self) -> str:
        """Return all rows for people."""
        lines = [_HEAD, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, "", text[0], "-" * len(text[0]), *text[1:]])

    def write(self, path: Path) -> None:
        """Write rows and samples as JSON."""
        rows = [asdict(row) for row in self.rows]
        document = {"title": self.title, "quick": self.quick, "rows": rows}
        path.write_text(json.dumps(document, indent=1) + "\n")


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Return what a call returns, and the seconds that it took."""
    begun = time.perf_counter()
    answer = call()
    return answer, time.perf_counter() - begun


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: a sample that was measured, never an interpolation."""
    ordered = sorted(samples)
    return ordered[max(0, -(-len(ordered) * int(share * 100) // 100) - 1)]


def seconds(value: float) -> str:
    """Return a time with the unit that suits it."""
    if value < 0.001:
        return f"{value * 1e6:.0f} us"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def spread(samples: Sequence[float]) -> str:
    """Return the middle, the slow and the slowest of some times."""
    middle, slow = (seconds(percentile(samples, share)) for share in (0.5, 0.95))
    return f"p50 {middle}, p95 {slow}, max {seconds(max(samples))}"


def _cells(row: Row) -> tuple[str, ...]:
    met = "" if row.met is None else "met" if row.met else "MISSED"
    return (row.what, row.ours, row.beside, row.goal, met)
