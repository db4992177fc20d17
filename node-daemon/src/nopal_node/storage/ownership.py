# SPDX-License-Identifier: Apache-2.0
"""Whose an image is: the entries in its metadata, and what follows from them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from nopal_runtime.errors import ConflictError, TransientError

from .base import DiskImage, ImageParent, Watcher

OWNER = "nopal.dev/owner"
EPOCH = "nopal.dev/epoch"
IMAGE_ID = "nopal.dev/image-id"
PARENT = "nopal.dev/parent"
CONTENT = "nopal.dev/content"
ENTRIES = (OWNER, EPOCH, IMAGE_ID, PARENT, CONTENT)
NOTHING = "-"
"""Stands for an empty value: the Python binding's metadata_list (16.2) shifts keys and values by
one where a value is empty. Left out, a clone would keep its parent's entry."""

SETTLED_SECONDS = 10.0
"""A younger half-made clone may be one that another host is making at this moment."""

OURS = ("disk-", "image-", "seed-")
"""How the names of our images begin."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """What an image's metadata says."""

    owner_uid: str
    epoch: int = 0
    parent: str = ""
    """What it was cloned from, as asked for then; a later flatten or delete does not change it."""
    content: str = ""
    """SHA-256 of what was written into it."""

    def metadata(self, image_id: str) -> dict[str, str]:
        """Return all entries, to be written in one step."""
        return {
            OWNER: self.owner_uid,
            EPOCH: str(self.epoch),
            IMAGE_ID: image_id,
            PARENT: self.parent or NOTHING,
            CONTENT: self.content or NOTHING,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """An image as it was found."""

    size: int
    ownership: Ownership | None
    """None while it is half-made."""
    parent: str | None
    """The snapshot that it hangs on now; renamed by Ceph when the snapshot was removed."""
    holds_data: bool = True
    """False if it is half-made, hangs on no snapshot, and nothing was ever written into it."""
    age_seconds: float = SETTLED_SECONDS
    """Since it was created; looked at only together with holds_data."""

    @property
    def origin(self) -> str | None:
        """Return the snapshot that it was cloned from."""
        return (self.ownership.parent if self.ownership else self.parent) or None


class DiskStep(Enum):
    """What is left to do for a disk whose image exists."""

    DONE = "done"
    GROW = "grow"
    FINISH = "finish"
    REPLACE = "replace"
    """A clone that broke off before it got its parent: an empty image where a copy should be."""


def read_ownership(entries: Mapping[str, str], image_id: str) -> Ownership | None:
    """Return what the metadata says, None if it says nothing of this very image.

    A clone starts with a copy of its parent's metadata: the image's own id tells that the entries
    were written for it.
    """
    if entries.get(IMAGE_ID) != image_id or not entries.get(OWNER):
        return None
    epoch = entries.get(EPOCH, "")
    return Ownership(
        owner_uid=entries[OWNER],
        epoch=int(epoch) if epoch.isdecimal() else 0,
        parent=entries.get(PARENT, "").removeprefix(NOTHING),
        content=entries.get(CONTENT, "").removeprefix(NOTHING),
    )


def parent_name(parent: ImageParent | None) -> str:
    """Return pool/[namespace/]image@snapshot; empty if there is none."""
    if parent is None:
        return ""
    within = f"{parent.namespace}/" if parent.namespace else ""
    return f"{parent.pool}/{within}{parent.image}@{parent.snapshot}"


def require_owner(ownership: Ownership | None, image: str, owner_uid: str) -> None:
    """Raise ConflictError if the image belongs to somebody else. Half-made belongs to its name."""
    if ownership is not None and ownership.owner_uid != owner_uid:
        raise ConflictError(
            "ImageConflict",
            f"RBD image {image} belongs to the object with UID {ownership.owner_uid}, not to"
            f" {owner_uid}: it is left alone; rename or remove it by hand if it is not needed",
        )


def in_use(image: str, watcher: Watcher) -> TransientError:
    """Return the error of an image that cannot be deleted yet."""
    return TransientError(
        "ImageInUse",
        f"RBD image {image} is open at {watcher.address} ({watcher.client}): it is deleted once"
        " that client closes it; one that died is forgotten after 30 s",
    )


def being_made(image: str) -> TransientError:
    """Return the error of an image that another host is making."""
    return TransientError(
        "ImageInUse", f"RBD image {image} is being made by another host at this moment"
    )


def lost(image: str, pool: str) -> TransientError:
    """Return the error of a disk whose image was made before and is absent."""
    return TransientError(
        "DataLost",
        f"the RBD image {pool}/{image} was made before and is gone: bring it back (rbd trash"
        " restore) or delete the Disk",
    )


def disk_step(found: Found, disk: DiskImage) -> DiskStep:
    """Tell what is left to do, or raise ConflictError (ImageConflict)."""
    require_owner(found.ownership, disk.image, disk.owner_uid)
    wanted = parent_name(disk.parent)
    if wanted and found.ownership is None and found.parent is None and not found.holds_data:
        # Librbd's clone is not atomic. The clocks of two machines are compared: close is enough.
        if abs(found.age_seconds) < SETTLED_SECONDS:
            raise being_made(disk.image)
        return DiskStep.REPLACE
    if (found.origin or "") != wanted:
        raise ConflictError(
            "ImageConflict",
            f"RBD image {disk.image} is cloned from {found.origin or 'nothing'}, not from"
            f" {wanted or 'nothing'}: it is left alone; rename or remove it by hand",
        )
    too_large = found.size > disk.size
    if too_large or (found.ownership is None and not wanted and found.size != disk.size):
        raise ConflictError(
            "ImageConflict",
            f"RBD image {disk.image} has {found.size} bytes and the Disk asks for {disk.size}: it"
            " is left alone, because shrinking it would cut off data",
        )
    if found.ownership is None:
        return DiskStep.FINISH
    return DiskStep.GROW if found.size < disk.size else DiskStep.DONE


def claim_needed(ownership: Ownership | None, image: str, owner_uid: str, epoch: int) -> bool:
    """Tell whether the epoch has to be written, or raise ConflictError (OwnershipUnclear)."""
    if ownership is None or ownership.owner_uid != owner_uid:
        whose = ownership.owner_uid if ownership else "nobody"
        raise ConflictError(
            "OwnershipUnclear",
            f"RBD image {image} belongs to {whose}, not to the Disk with UID {owner_uid}: the guest"
            " is not started",
        )
    if ownership.epoch > epoch:
        raise ConflictError(
            "OwnershipUnclear",
            f"RBD image {image} was given to epoch {ownership.epoch} and this assignment has"
            f" {epoch}: kube-apiserver may have been restored from an old backup, so the guest is"
            " not started",
        )
    return ownership.epoch < epoch
