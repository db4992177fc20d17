# SPDX-License-Identifier: Apache-2.0
"""A kube-apiserver that is seconds old, or has too much to do, is asked again; a refusal stands."""

import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nopal_api.kinds import HOST
from nopal_dev import kubernetes
from nopal_dev.errors import CommandError, NotReadyError
from nopal_dev.kubernetes import Kubectl
from support.apiserver import ApiServer

BODY = {"apiVersion": "nopal.dev/v1alpha1", "kind": "Host", "metadata": {"name": "n"}}
BARE = json.dumps(BODY)
FINALIZED = json.dumps({**BODY, "metadata": {"name": "n", "finalizers": ["nopal.dev/x"]}})
YOUNG = (
    'no matches for kind "Host" in version "nopal.dev/v1alpha1"\nensure CRDs are installed first',
    "the server could not find the requested resource (post hosts.nopal.dev)",
    "Resource kind nopal.dev/v1alpha1, Kind=Host not found. There can be a delay between when"
    " CustomResourceDefinitions are created and when they are available.",
    "policy 'nopal-finalizers' with binding 'nopal-finalizers' denied request: error applying"
    " patch: failed to convert patch object to typed object: no corresponding type for"
    " nopal.dev/v1alpha1, Kind=Host",
)
REFUSED = 'hosts.nopal.dev "n" is forbidden: no'


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])


def kubectl(monkeypatch: pytest.MonkeyPatch, *answers: str) -> tuple[Kubectl, Iterator[str]]:
    """Give a kubectl that answers so one after the other; the last answer again and again."""
    left = iter(answers)

    def run(argv: list[str], **_: Any) -> str:
        text = next(left, answers[-1])
        if not text.startswith(("{", "true", "false")):
            raise CommandError(argv, "status 1", text)
        return text

    monkeypatch.setattr(kubernetes, "run", run)
    return Kubectl(Path("kubectl"), Path("config")), left


def test_a_kind_is_there_when_an_object_would_get_its_finalizer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, left = kubectl(monkeypatch, *YOUNG, BARE, FINALIZED, REFUSED)
    asked.await_kind(BODY, finalizer=True)
    assert list(left) == [REFUSED]


def test_a_kind_without_one_is_there_when_an_object_would_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, left = kubectl(monkeypatch, *YOUNG, BARE, REFUSED)
    asked.await_kind(BODY, finalizer=False)
    assert list(left) == [REFUSED]


@pytest.mark.parametrize("said", [REFUSED, *YOUNG])
def test_a_refusal_is_told_and_so_is_what_never_ends(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    asked, _ = kubectl(monkeypatch, said)
    with pytest.raises(CommandError) as told:
        asked.await_kind(BODY, finalizer=True)
    assert said in str(told.value)


def test_a_policy_that_never_acts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, _ = kubectl(monkeypatch, BARE)
    with pytest.raises(NotReadyError, match="no policy gave it a finalizer"):
        asked.await_kind(BODY, finalizer=True)


def test_rights_are_there_when_all_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, left = kubectl(monkeypatch, "false\nfalse\n", "true\nfalse\n", "true\ntrue\n", REFUSED)
    asked.await_rights([{}, {}])
    assert list(left) == [REFUSED]
    asked, _ = kubectl(monkeypatch, "true\nfalse\n")
    with pytest.raises(NotReadyError):
        asked.await_rights([{}, {}])


@pytest.mark.parametrize(
    ("first", "asked"),
    [
        ((429, "Too many requests, please try again later.\n", "1"), 2),
        ((429, json.dumps({"message": "storage is (re)initializing"}), "2"), 2),
        *(((503, json.dumps({"message": said}), None), 2) for said in YOUNG),
        ((403, json.dumps({"message": REFUSED}), None), 1),
        ((503, json.dumps({"message": "out of order"}), None), 1),
    ],
)
def test_the_tests_own_client_tries_again_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, first: tuple[int, str, str | None], asked: int
) -> None:
    answers = iter([first, (201, BARE, None)])

    class Connection:
        def __init__(self, *_: object, **__: object) -> None: ...

        def request(self, *_: object, **__: object) -> None: ...

        def getresponse(self) -> object:
            status, text, delay = next(answers)
            return SimpleNamespace(status=status, read=text.encode, getheader=lambda _: delay)

        def close(self) -> None: ...

    monkeypatch.setattr(http.client, "HTTPSConnection", Connection)
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: None)
    answer = ApiServer("https://192.0.2.1:6443", Path("ca")).create(HOST, BODY)
    assert 2 - len(list(answers)) == asked
    assert answer.code == (201 if asked == 2 else first[0])
