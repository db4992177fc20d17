# SPDX-License-Identifier: Apache-2.0
"""The work for one Image in the pools whose executor a host is, and what it tells."""

from typing import Any

import pytest

from nopal_api.conditions import condition
from nopal_api.image import ImagePool, ImageStatus
from nopal_node.reconcile.image import ImageWork, image_work, pool_status
from nopal_node.storage.base import Imported
from nopal_runtime.errors import NopalError, TerminalError, TransientError
from support.nodeplan import LOCATION, NODE, OTHER, executor


def entry(**more: Any) -> dict[str, Any]:
    return {"zone": "z1", "pool": "main", "executor": executor(), "location": LOCATION, **more}


def work(*entries: dict[str, Any], deleting: bool = False, word: str = "True") -> list[ImageWork]:
    said = condition("Deleting", word == "True", reason="Said")
    told = [said.wire()] if deleting and word else []
    status = ImageStatus.model_validate({"pools": list(entries), "conditions": told})
    return [w.work for w in image_work(status, deleting=deleting, node_name=NODE)]


@pytest.mark.parametrize(
    ("state", "epoch", "deleting", "expected"),
    [
        (None, None, False, ImageWork.FETCH),
        ("Fetching", 4, False, ImageWork.FETCH),
        ("Ready", 4, False, ImageWork.NOTHING),
        ("Failed", 4, False, ImageWork.NOTHING),
        ("Ready", 3, False, ImageWork.FETCH),
        ("Failed", 3, False, ImageWork.FETCH),
        (None, None, True, ImageWork.DELETE),
        ("Ready", 4, True, ImageWork.DELETE),
        ("Failed", 4, True, ImageWork.DELETE),
        ("Deleted", 4, True, ImageWork.NOTHING),
        ("Deleted", 3, True, ImageWork.DELETE),
    ],
)
def test_what_is_to_be_done(
    state: str | None, epoch: int | None, deleting: bool, expected: ImageWork
) -> None:
    """A state counts only for the epoch of the executor that there is now."""
    assert work(entry(state=state, epoch=epoch), deleting=deleting) == [expected]


@pytest.mark.parametrize("word", ["", "False"])
def test_a_deletion_waits_for_the_operators_word(word: str) -> None:
    assert work(entry(state="Ready", epoch=4), deleting=True, word=word) == []


@pytest.mark.parametrize("deleting", [False, True])
@pytest.mark.parametrize(
    "other",
    [{"executor": executor(node=OTHER)}, {"executor": None}, {"location": None}],
    ids=["another host's", "nobody's", "nowhere"],
)
def test_what_is_not_this_hosts_is_left_alone(other: dict[str, Any], deleting: bool) -> None:
    assert work(entry(**other), deleting=deleting) == []


def test_each_pool_has_its_own_work() -> None:
    ready = entry(pool="fast", state="Ready", epoch=4)
    assert work(entry(), ready) == [ImageWork.FETCH, ImageWork.NOTHING]


def test_only_its_own_fields_are_told() -> None:
    """The operator's fields of the same entry belong to another field manager."""
    pool = ImagePool.model_validate(entry())
    done = pool_status(pool, done=Imported(size=2**20, snapshot="base"))
    assert done == {
        "pools": [
            {
                "zone": "z1",
                "pool": "main",
                "epoch": 4,
                "state": "Ready",
                "progressPercent": 100,
                "snapshot": "base",
                "size": str(2**20),
            }
        ]
    }


@pytest.mark.parametrize(
    ("problem", "state"),
    [
        (TransientError("DownloadFailed", "the server hung up"), "Fetching"),
        (TerminalError("ChecksumMismatch", "another file"), "Failed"),
        (TerminalError("AccessDenied", "the key's rights are too narrow"), "Fetching"),
    ],
)
def test_only_what_nobody_can_wait_for_is_a_failure(problem: NopalError, state: str) -> None:
    (told,) = pool_status(ImagePool.model_validate(entry()), problem=problem)["pools"]
    assert (told["state"], told["reason"], told["message"]) == (
        state,
        problem.reason,
        problem.message,
    )


def test_progress_and_the_end_of_a_deletion() -> None:
    pool = ImagePool.model_validate(entry())
    (going,) = pool_status(pool, percent=40)["pools"]
    assert (going["state"], going["progressPercent"]) == ("Fetching", 40)
    (gone,) = pool_status(pool, deleted=True)["pools"]
    assert (gone["state"], gone["epoch"]) == ("Deleted", 4)
