# SPDX-License-Identifier: Apache-2.0
"""Waiting for what must happen on a real cluster, whatever its machine does besides."""

import time
from collections.abc import Callable

from nopal_dev.errors import CommandError

PATIENCE = 180.0
"""Seconds that a test waits for what must happen: a limit, never a figure."""

_AWAY = (
    "Unable to connect to the server",
    "The connection to the server",
    "Error from server (ServiceUnavailable)",
    "Error from server (TooManyRequests)",
    "Error from server (Timeout)",
    "the server is currently unable to handle the request",
    "the server has received too many requests",
    "the server doesn't have a resource type",
    "the server could not find the requested resource",
    "TLS handshake timeout",
    "connection refused",
    "connection reset by peer",
    "client connection lost",
    "unexpected EOF",
    "etcdserver: ",
    "not done after",  # it was ended by us
)
"""What kubectl says while kube-apiserver is away, has just started, or has too much to do."""


def wait(true: Callable[[], bool], what: str, *, seconds: float = PATIENCE) -> None:
    """Wait until it is true; fail after so many seconds.

    A kube-apiserver that does not answer is no answer yet.
    """
    deadline = time.monotonic() + seconds
    while True:
        problem = None
        try:
            if true():
                return
        except CommandError as error:
            if not any(words in str(error) for words in _AWAY):
                raise
            problem = error
        said = f": {problem}" if problem else ""
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain until {what}{said}"
        time.sleep(0.2)
