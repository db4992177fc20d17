# SPDX-License-Identifier: Apache-2.0
"""The work for one Disk, and what its status says."""

from typing import Any

import pytest

from nopal_node.reconcile.disk import DiskView, DiskWork, disk_status, disk_work
from nopal_runtime.errors import TransientError
from support.nodeplan import NODE, OTHER, claim, disk, executor

UNMADE = {"size": None}


def work(view: DiskView, *, claimer_gone: bool = False) -> DiskWork:
    return disk_work(view, node_name=NODE, claimer_gone=claimer_gone)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (disk(status=UNMADE), DiskWork.ENSURE),
        (disk(), DiskWork.REQUIRE),
        (disk(status={"claim": claim()}), DiskWork.REQUIRE),
        (disk(status={**UNMADE, "claim": claim()}), DiskWork.ENSURE),
        (disk(deleting=True), DiskWork.DELETE),
        (disk(deleting=True, status=UNMADE), DiskWork.DELETE),
        (disk(deleting=True, reclaimPolicy="Retain"), DiskWork.KEEP),
        (disk(deleting=True, status={"claim": claim()}), DiskWork.NOTHING),
        (disk(deleting=True, status={"deletedEpoch": 4}), DiskWork.NOTHING),
        (disk(deleting=True, status={"deletedEpoch": 3}), DiskWork.DELETE),
        (disk(status={"executor": executor(node=OTHER)}), DiskWork.NOTHING),
        (disk(deleting=True, status={"executor": executor(node=OTHER)}), DiskWork.NOTHING),
        (disk(status={"executor": None}), DiskWork.NOTHING),
        (disk(status={"location": None}), DiskWork.NOTHING),
    ],
    ids=[
        "not made yet",
        "made before: never made anew",
        "claimed and made",
        "claimed and not made yet",
        "deleted",
        "deleted before it was told to be made",
        "deleted and retained",
        "deleted while claimed",
        "deleted and told",
        "deleted, but told for an earlier executor",
        "another host's",
        "another host's, deleted",
        "nobody's",
        "nowhere",
    ],
)
def test_what_is_to_be_done(view: DiskView, expected: DiskWork) -> None:
    assert work(view) is expected


@pytest.mark.parametrize("deleting", [False, True])
def test_the_claim_of_a_vm_that_is_gone_is_released(deleting: bool) -> None:
    view = disk(deleting=deleting, status={"claim": claim()})
    assert work(view, claimer_gone=True) is DiskWork.RELEASE_CLAIM


def test_a_claim_is_released_once_for_its_epoch() -> None:
    done = disk(status={"claim": claim(), "releasedClaimEpoch": 4})
    assert work(done, claimer_gone=True) is DiskWork.NOTHING
    earlier = disk(status={"claim": claim(), "releasedClaimEpoch": 3})
    assert work(earlier, claimer_gone=True) is DiskWork.RELEASE_CLAIM


def test_only_the_claims_own_host_releases_it() -> None:
    view = disk(status={"claim": claim(node=OTHER)})
    assert work(view, claimer_gone=True) is not DiskWork.RELEASE_CLAIM


def told(view: DiskView, done: DiskWork, **how: Any) -> dict[str, Any]:
    status = disk_status(view, done, **{"size": None, "problem": None, **how})
    assert status is not None
    return status


def test_a_disk_that_is_there() -> None:
    status = told(disk(status=UNMADE), DiskWork.ENSURE, size=2**20)
    assert status["size"] == str(2**20)
    assert status["observedGeneration"] == 2
    (ready,) = status["conditions"]
    assert (ready.status, ready.observed_generation) == ("True", 2)


@pytest.mark.parametrize("done", [DiskWork.DELETE, DiskWork.KEEP])
def test_a_deletion_is_told_for_the_executors_epoch(done: DiskWork) -> None:
    assert told(disk(deleting=True), done)["deletedEpoch"] == 4


@pytest.mark.parametrize("done", [work for work in DiskWork if work != DiskWork.NOTHING])
def test_a_problem_ends_nothing_and_keeps_the_size(done: DiskWork) -> None:
    problem = TransientError("StorageUnreachable", "Ceph does not answer")
    status = told(disk(deleting=True, status={"claim": claim()}), done, problem=problem)
    assert not {"deletedEpoch", "releasedClaimEpoch"} & set(status)
    assert status["size"] == str(2**30)
    (ready,) = status["conditions"]
    assert (ready.status, ready.reason, ready.message) == ("False", problem.reason, problem.message)


def test_a_release_is_told_for_the_claims_epoch() -> None:
    view = disk(status={"claim": claim(epoch=7), "executor": executor(epoch=7)})
    assert told(view, DiskWork.RELEASE_CLAIM)["releasedClaimEpoch"] == 7


def test_an_earlier_word_is_not_repeated_for_a_disk_in_use() -> None:
    view = disk(status={"claim": claim(), "releasedClaimEpoch": 3, "deletedEpoch": 3})
    status = told(view, DiskWork.REQUIRE, size=2**30)
    assert not {"deletedEpoch", "releasedClaimEpoch"} & set(status)


def test_who_did_nothing_tells_nothing() -> None:
    assert disk_status(disk(), DiskWork.NOTHING, size=None, problem=None) is None
