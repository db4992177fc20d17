# SPDX-License-Identifier: Apache-2.0
"""Waiting on a real cluster: what is no answer yet, and what is an answer and an error."""

import itertools

import pytest

from nopal_dev.errors import CommandError
from support.waiting import wait

UNAVAILABLE = (
    "Error from server (ServiceUnavailable): the server is currently unable to handle the request",
    "Error from server (TooManyRequests): the server has received too many requests",
    "The connection to the server 192.0.2.1:6443 was refused - did you specify the right host?",
    "Unable to connect to the server: net/http: TLS handshake timeout",
    "error: read tcp 192.0.2.1:40000->192.0.2.1:6443: read: connection reset by peer",
    "Error from server: etcdserver: request timed out",
)


@pytest.mark.parametrize("said", UNAVAILABLE)
def test_an_api_that_does_not_answer_is_asked_again(said: str) -> None:
    tries = itertools.count()

    def look() -> bool:
        if next(tries) == 0:
            raise CommandError(["kubectl"], "status 1", said)
        return True

    wait(look, "it answers")

    assert next(tries) == 2


def test_an_api_that_never_answers_is_told() -> None:
    def look() -> bool:
        raise CommandError(["kubectl"], "status 1", UNAVAILABLE[0])

    with pytest.raises(AssertionError, match=r"until it answers: status 1: kubectl\nError from"):
        wait(look, "it answers", seconds=0.0)


def test_what_the_api_refuses_is_an_error() -> None:
    def look() -> bool:
        raise CommandError(["kubectl"], "status 1", "Error from server (Forbidden): no")

    with pytest.raises(CommandError, match="Forbidden"):
        wait(look, "it is allowed")
