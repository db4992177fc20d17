# SPDX-License-Identifier: Apache-2.0
"""What can go wrong while a cluster is started, each with words that say what to look at."""

from collections.abc import Sequence
from pathlib import Path


class DevError(Exception):
    """The root of every error that this package raises on purpose."""


class CommandError(DevError):
    """A command ended with a status other than 0, or took longer than it may."""

    def __init__(self, argv: Sequence[str], problem: str, output: str) -> None:
        self.output = output
        text = f"{problem}: {' '.join(argv)}"
        super().__init__(f"{text}\n{output.strip()}" if output.strip() else text)


class NotReadyError(DevError):
    """A part did not become ready in time; the message names its log and shows the log's end."""

    def __init__(self, what: str, problem: str, log: Path | None = None) -> None:
        text = f"{what}: {problem}"
        if log is not None:
            text += f"\nlook at {log}"
            if tail := _tail(log):
                text += f", which ends with:\n{tail}"
        super().__init__(text)


class UnknownClusterError(DevError):
    """No cluster of that name was started here."""


def _tail(log: Path, *, lines: int = 8) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"  {line[:300]}" for line in text.splitlines()[-lines:])
