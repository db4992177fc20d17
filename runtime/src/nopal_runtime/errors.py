# SPDX-License-Identifier: Apache-2.0
"""Errors that a condition can show: each carries the condition's reason and message.

Transient errors are tried again with back-off; terminal ones wait until the object, or what it
depends on, changes. Neither ever means "stopped" or "absent": those are observations.
"""


class NopalError(Exception):
    """An error for a person to read.

    Args:
        reason: one CamelCase word, the condition's reason.
        message: one sentence that names what is wrong and the remedy.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class TransientError(NopalError):
    """It may work later without anybody's doing: try again with back-off."""


class TerminalError(NopalError):
    """It will not work until somebody changes something."""


class ConflictError(NopalError):
    """The world is not as assumed (another owner, another version): look again, never force."""


class NotFoundError(NopalError):
    """The thing is known to be absent: the answer of a source that was asked just now."""
