# SPDX-License-Identifier: Apache-2.0
"""Whose an image is, and what is left to do for a disk: the decisions without any storage."""

import pytest

from nopal_node.storage.base import DiskImage, ImageParent
from nopal_node.storage.ownership import (
    ENTRIES,
    DiskStep,
    Found,
    Ownership,
    claim_needed,
    disk_step,
    parent_name,
    read_ownership,
)
from nopal_runtime.errors import ConflictError, TransientError

PARENT = ImageParent(pool="p", namespace="", image="image-1", snapshot="nopal")
DISK = DiskImage(image="disk-u", size=100, owner_uid="u")
CLONE = DiskImage(image="disk-u", size=100, owner_uid="u", parent=PARENT)
MINE = Ownership("u")
MINE_CLONED = Ownership("u", parent="p/image-1@nopal")


def test_metadata_reads_back() -> None:
    ownership = Ownership("u", epoch=7, parent="p/i@s", content="abc")
    entries = ownership.metadata("id-1")
    assert read_ownership(entries, "id-1") == ownership
    assert set(ENTRIES) == set(entries)


def test_metadata_that_was_copied_from_the_parent_does_not_count() -> None:
    assert read_ownership(Ownership("u").metadata("id-1"), "id-2") is None
    assert read_ownership({}, "id-1") is None


def test_an_unreadable_epoch_is_none_given() -> None:
    entries = Ownership("u").metadata("i") | {"nopal.dev/epoch": "x"}
    found = read_ownership(entries, "i")
    assert found is not None
    assert found.epoch == 0


def test_parents_are_named_as_rbd_does() -> None:
    assert parent_name(None) == ""
    assert parent_name(PARENT) == "p/image-1@nopal"
    assert parent_name(ImageParent("p", "ns", "i", "s")) == "p/ns/i@s"


@pytest.mark.parametrize(
    ("found", "disk", "step"),
    [
        (Found(100, MINE, None), DISK, DiskStep.DONE),
        (Found(90, MINE, None), DISK, DiskStep.GROW),
        (Found(100, None, None), DISK, DiskStep.FINISH),
        (Found(100, MINE_CLONED, "p/image-1@nopal"), CLONE, DiskStep.DONE),
        # Flattened, or its parent was deleted: what was asked for then counts.
        (Found(100, MINE_CLONED, None), CLONE, DiskStep.DONE),
        (Found(100, MINE_CLONED, "p/image-1@86b547b9"), CLONE, DiskStep.DONE),
        (Found(50, None, "p/image-1@nopal"), CLONE, DiskStep.FINISH),
        (Found(50, None, None, holds_data=False, age_seconds=60), CLONE, DiskStep.REPLACE),
    ],
)
def test_what_is_left_to_do(found: Found, disk: DiskImage, step: DiskStep) -> None:
    assert disk_step(found, disk) is step


@pytest.mark.parametrize(
    ("found", "disk"),
    [
        (Found(100, Ownership("other"), None), DISK),
        (Found(101, MINE, None), DISK),
        (Found(99, None, None), DISK),
        (Found(100, None, "p/image-1@nopal"), DISK),
        (Found(100, MINE, None), CLONE),
        (Found(100, Ownership("u", parent="p/image-2@nopal"), None), CLONE),
        (Found(101, None, "p/image-1@nopal"), CLONE),
        (Found(50, None, None, holds_data=True, age_seconds=60), CLONE),
    ],
)
def test_what_is_left_alone(found: Found, disk: DiskImage) -> None:
    with pytest.raises(ConflictError, match="ImageConflict"):
        disk_step(found, disk)


@pytest.mark.parametrize("age", [0.0, 9.0, -5.0])
def test_a_young_half_made_clone_may_be_another_hosts(age: float) -> None:
    with pytest.raises(TransientError, match="ImageInUse"):
        disk_step(Found(50, None, None, holds_data=False, age_seconds=age), CLONE)


def test_epochs_only_rise() -> None:
    assert claim_needed(Ownership("u", epoch=3), "i", "u", 4)
    assert not claim_needed(Ownership("u", epoch=4), "i", "u", 4)
    for ownership in (Ownership("u", epoch=5), Ownership("v", epoch=1), None):
        with pytest.raises(ConflictError, match="OwnershipUnclear"):
            claim_needed(ownership, "i", "u", 4)
