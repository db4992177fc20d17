# SPDX-License-Identifier: Apache-2.0
"""Says what is being done, how far it is and how long it took."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nopal_dev.errors import DevError

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b.|[\x00-\x08\x0b-\x1f]")


class Stages:
    """A run of numbered stages on a terminal or in a log.

    Args:
        total: How many stages there will be.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0
        self._started = time.monotonic()

    @contextmanager
    def stage(self, title: str, *, look_at: str) -> Iterator[None]:
        """One stage: its title before, its time after.

        Args:
            title: What is done.
            look_at: What to look at when it fails.
        """
        self._number += 1
        started = time.monotonic()
        print(f"[{self._number}/{self._total}] {title}", flush=True)
        try:
            yield
        except DevError:
            print(f"      failed after {time.monotonic() - started:.1f} s", flush=True)
            print(f"      look at: {look_at}", flush=True)
            raise
        print(f"      done in {time.monotonic() - started:.1f} s", flush=True)

    def say(self, line: str) -> None:
        """One line of progress inside a stage."""
        print(f"      {line}", flush=True)

    def finish(self) -> None:
        """The time of the whole run."""
        print(f"All of it took {time.monotonic() - self._started:.0f} s.", flush=True)

    @staticmethod
    def echo(text: str) -> None:
        """Text that is not ours: a console (its control sequences are left out), a table."""
        for line in text.splitlines():
            if plain := _CONTROL.sub("", line).rstrip():
                print(f"      | {plain}", flush=True)
