# SPDX-License-Identifier: Apache-2.0
"""What to do next for an Image in the pools whose executor this host is, and what to tell. Pure."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from nopal_api.conditions import is_true
from nopal_api.image import ImagePool, ImageStatus
from nopal_runtime.errors import NopalError

from ..storage.base import Imported

FINAL = frozenset(
    {"ChecksumMismatch", "ConversionTooSlow", "DownloadRefused", "FormatMismatch", "ImageTooLarge",
     "UnsafeImage"}
)  # fmt: skip
"""Reasons that lie in the Image, its file or a limit: another try would end the same."""


def is_final(problem: NopalError) -> bool:
    """Tell whether a fetch that failed so is given up; what lies in the storage is tried again."""
    return problem.reason in FINAL


class ImageWork(Enum):
    """The one thing to do for an image in one pool."""

    NOTHING = "Nothing"
    FETCH = "Fetch"
    DELETE = "Delete"


@dataclass(frozen=True, slots=True)
class PoolWork:
    """The work in one pool."""

    pool: ImagePool
    work: ImageWork


def image_work(status: ImageStatus, *, deleting: bool, node_name: str) -> tuple[PoolWork, ...]:
    """Return the work in each pool whose executor this host is.

    A deletion waits for the operator's word (the condition Deleting is True): disks may be about to
    be cloned from the image.
    """
    if deleting and not is_true(status.conditions, "Deleting"):
        return ()
    result = []
    for pool in status.pools:
        executor = pool.executor
        if executor is None or executor.node_name != node_name or pool.location is None:
            continue
        current = pool.epoch == executor.epoch
        if deleting:
            done = current and pool.state == "Deleted"
            work = ImageWork.NOTHING if done else ImageWork.DELETE
        else:
            done = current and pool.state in ("Ready", "Failed")
            work = ImageWork.NOTHING if done else ImageWork.FETCH
        result.append(PoolWork(pool, work))
    return tuple(result)


def pool_status(
    pool: ImagePool,
    *,
    done: Imported | None = None,
    deleted: bool = False,
    percent: int | None = None,
    problem: NopalError | None = None,
) -> dict[str, Any]:
    """Return the complete set of fields of the executor's field manager for that pool."""
    entry: dict[str, Any] = {"zone": pool.zone, "pool": pool.pool}
    if pool.executor is not None:
        entry["epoch"] = pool.executor.epoch
    if deleted:
        entry["state"] = "Deleted"
    elif done is not None:
        entry |= {"state": "Ready", "progressPercent": 100, "snapshot": done.snapshot}
        entry["size"] = str(done.size)
    else:
        entry["state"] = "Failed" if problem is not None and is_final(problem) else "Fetching"
        if percent is not None:
            entry["progressPercent"] = percent
    if problem is not None:
        entry |= {"reason": problem.reason, "message": problem.message}
    return {"pools": [entry]}
