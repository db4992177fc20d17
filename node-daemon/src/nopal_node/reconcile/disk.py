# SPDX-License-Identifier: Apache-2.0
"""What to do next for one Disk whose executor this host is, and what its status says. Pure."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from nopal_api.conditions import condition
from nopal_api.disk import DiskSpec, DiskStatus
from nopal_runtime.errors import NopalError


class DiskWork(Enum):
    """The one thing to do for a disk."""

    NOTHING = "Nothing"
    ENSURE = "Ensure"
    """Make the image."""
    REQUIRE = "Require"
    """The image was there before: it must still be, and is never made anew over lost data."""
    DELETE = "Delete"
    KEEP = "Keep"
    """The Disk goes, its image stays (reclaimPolicy Retain)."""
    RELEASE_CLAIM = "ReleaseClaim"
    """Its VM is gone: see that no guest has it open, and say so."""


@dataclass(frozen=True, slots=True)
class DiskView:
    """A Disk as the API has it."""

    namespace: str
    name: str
    uid: str
    generation: int
    deleting: bool
    spec: DiskSpec
    status: DiskStatus


def disk_work(view: DiskView, *, node_name: str, claimer_gone: bool) -> DiskWork:
    """Return what to do.

    Args:
        view: the Disk.
        node_name: this host's node.
        claimer_gone: a fresh read does not know the VM that claims the disk.
    """
    status = view.status
    executor, claim = status.executor, status.claim
    if executor is None or executor.node_name != node_name or status.location is None:
        return DiskWork.NOTHING
    if claim is not None and claim.node_name == node_name and claimer_gone:
        told = status.released_claim_epoch == claim.epoch
        return DiskWork.NOTHING if told else DiskWork.RELEASE_CLAIM
    if view.deleting:
        if claim is not None or status.deleted_epoch == executor.epoch:
            return DiskWork.NOTHING
        return DiskWork.KEEP if view.spec.reclaim_policy == "Retain" else DiskWork.DELETE
    return DiskWork.ENSURE if status.size is None else DiskWork.REQUIRE


def disk_status(
    view: DiskView, work: DiskWork, *, size: int | None, problem: NopalError | None
) -> dict[str, Any] | None:
    """Return the complete set of fields of the node's field manager, None if there is no news.

    Args:
        view: the Disk.
        work: what was done.
        size: bytes of the image, None if it was not seen.
        problem: what stopped the work, if something did.
    """
    if work is DiskWork.NOTHING:
        return None
    old, executor, claim = view.status, view.status.executor, view.status.claim
    status: dict[str, Any] = {"observedGeneration": view.generation}
    known = str(size) if size is not None else old.size
    if known is not None:
        status["size"] = known
    if work in (DiskWork.DELETE, DiskWork.KEEP) and problem is None and executor is not None:
        status["deletedEpoch"] = executor.epoch
    if work is DiskWork.RELEASE_CLAIM and problem is None and claim is not None:
        status["releasedClaimEpoch"] = claim.epoch
    if problem is not None:
        ready = condition("Ready", False, reason=problem.reason, message=problem.message)
    elif work in (DiskWork.DELETE, DiskWork.KEEP):
        gone = work is DiskWork.DELETE
        ready = condition("Ready", False, reason="Deleted" if gone else "Retained")
    else:
        ready = condition("Ready", True, reason="Ready")
    status["conditions"] = [ready.model_copy(update={"observed_generation": view.generation})]
    return status
