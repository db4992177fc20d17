# SPDX-License-Identifier: Apache-2.0
"""Disk: a block device for a virtual machine, one RBD image."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import ApiModel, DnsLabel, Epoch, ObjectName, Quantity, crd
from .conditions import Condition
from .shared import Executor, Location, NameRef, Parent, VmClaim


class DiskSource(ApiModel):
    """What a disk starts with."""

    image: NameRef | None = None
    """An Image; the disk is a copy-on-write clone of it."""


class DiskSpec(ApiModel):
    """What the disk is to be."""

    zone: Annotated[ObjectName, Field(json_schema_extra=crd(immutable=True))]
    """The zone that the disk lives in."""
    pool: DnsLabel | None = None
    """The zone's pool; left out, the zone's default pool."""
    size: Annotated[
        Quantity,
        Field(
            json_schema_extra=crd(
                immutable=True,
                rules=(
                    ("quantity(self).compareTo(quantity('1Mi')) >= 0", "must be at least 1Mi"),
                    ("quantity(self).compareTo(quantity('64Ti')) <= 0", "must be at most 64Ti"),
                ),
            )
        ),
    ]
    """Size of the disk, for example 10Gi. Rounded up to whole MiB."""
    source: (
        Annotated[
            DiskSource,
            Field(json_schema_extra=crd(rules=(("has(self.image)", "image must be given"),))),
        ]
        | None
    ) = None
    """What the disk starts with; left out, it is empty."""
    reclaim_policy: Literal["Delete", "Retain"] = "Delete"
    """What happens to the data when the Disk is deleted. Retain keeps the RBD image; status.location
    of the deleted object tells where."""


DISK_SPEC_RULES = (
    (
        "has(self.pool) == has(oldSelf.pool) && (!has(self.pool) || self.pool == oldSelf.pool)",
        "pool cannot change",
    ),
    (
        "has(self.source) == has(oldSelf.source) && (!has(self.source) || self.source == oldSelf.source)",
        "source cannot change",
    ),
)


class DiskStatus(ApiModel):
    """Where the disk is and who uses it.

    The operator writes location, parent, claim and executor; the executor writes the rest.
    """

    observed_generation: int | None = None
    """The metadata.generation that the status was computed from."""
    location: Location | None = None
    """The RBD image. Computed once from the Disk's UID."""
    parent: Parent | None = None
    """The snapshot that the disk is cloned from."""
    claim: VmClaim | None = None
    """The virtual machine that may use the disk; absent when none may."""
    executor: Executor | None = None
    """The host that makes, reports and removes the RBD image: the claim's host while claimed."""
    size: Annotated[str, StringConstraints(max_length=20)] | None = None
    """Size of the RBD image in bytes; absent until it exists."""
    deleted_epoch: Epoch | None = None
    """The executor's epoch for which it has reported that nothing of the disk is left to do."""
    released_claim_epoch: Epoch | None = None
    """The claim's epoch for which its host has reported that no guest uses the disk any more,
    although the virtual machine is gone."""
    conditions: tuple[Condition, ...] = ()
    """Ready: the RBD image exists and is as asked for. Deleting: who still uses it."""


class Disk(ApiModel):
    """A block device for a virtual machine."""

    spec: DiskSpec
    """What the disk is to be."""
    status: DiskStatus = DiskStatus()
    """Where it is and who uses it."""
