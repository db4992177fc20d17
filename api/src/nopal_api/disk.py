# SPDX-License-Identifier: Apache-2.0
"""Disk: a block device for a virtual machine, one RBD image."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from .base import ApiModel, Bytes, DnsLabel, Epoch, Generation, Quantity, Rule, crd, within
from .conditions import Conditions
from .shared import Executor, Location, NameRef, Parent, VmClaim


class DiskSource(ApiModel):
    """What a disk starts with."""

    model_config = ConfigDict(
        json_schema_extra=crd(
            rules=(Rule("has(self.image)", "image must be given", field=".image"),)
        )
    )

    image: NameRef | None = None
    """An Image; the disk is a copy-on-write clone of it."""


class DiskSpec(ApiModel):
    """What the disk is to be."""

    zone: Annotated[DnsLabel, Field(json_schema_extra=crd(immutable="zone cannot change"))]
    """The zone that the disk lives in."""
    pool: Annotated[
        DnsLabel | None, Field(json_schema_extra=crd(immutable="pool cannot change"))
    ] = None
    """The zone's pool; left out, the zone's default pool at the time when the disk is made."""
    size: Annotated[
        Quantity,
        Field(
            json_schema_extra=crd(
                immutable="size cannot change: make another Disk instead",
                rules=within("1Mi", "64Ti"),
            )
        ),
    ]
    """Size of the disk, for example 10Gi: between 1Mi and 64Ti, rounded up to whole MiB. A disk
    that starts from an image must be at least as large as the image."""
    source: Annotated[
        DiskSource | None, Field(json_schema_extra=crd(immutable="source cannot change"))
    ] = None
    """What the disk starts with; left out, it is empty."""
    reclaim_policy: Literal["Delete", "Retain"] = "Delete"
    """What happens to the data when the Disk is deleted. Delete moves the RBD image to its pool's
    trash: there it takes its room and can be brought back for a day, or as long as the installation
    says; then it is removed for good. Retain keeps the image; note status.location before, because
    it tells where the image is."""


class DiskStatus(ApiModel):
    """Where the disk is and who uses it.

    The operator writes location, parent, claim and executor; the executor writes the rest.
    """

    observed_generation: Generation | None = None
    """The metadata.generation that the status was computed from."""
    location: Location | None = None
    """The RBD image. Computed once from the Disk's UID."""
    parent: Parent | None = None
    """The snapshot that the disk is cloned from."""
    claim: VmClaim | None = None
    """The virtual machine that may use the disk; absent when none may."""
    executor: Executor | None = None
    """The host that makes, reports and removes the RBD image: the claim's host while claimed."""
    size: Bytes | None = None
    """Size of the RBD image in bytes; absent until it exists."""
    deleted_epoch: Epoch | None = None
    """The executor's epoch for which it has reported that nothing of the disk is left to do."""
    released_claim_epoch: Epoch | None = None
    """The claim's epoch for which its host has reported that no guest uses the disk any more,
    although the virtual machine is gone."""
    conditions: Conditions = ()
    """Ready: the RBD image exists and is as asked for. Deleting: who still uses it."""


class Disk(ApiModel):
    """A block device for a virtual machine: one RBD image in a pool of a zone.

    A Disk outlives the virtual machines that use it. One virtual machine at a time has it:
    status.claim tells which. Deleting a Disk that is in use waits until it is free.
    """

    spec: DiskSpec
    """What the disk is to be."""
    status: DiskStatus = DiskStatus()
    """Where it is and who uses it."""
