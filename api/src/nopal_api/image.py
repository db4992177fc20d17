# SPDX-License-Identifier: Apache-2.0
"""Image: the contents that disks start from, fetched once for each pool."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import ApiModel, Bytes, DnsLabel, Epoch, Generation, Rule, crd
from .conditions import Conditions
from .shared import AllowedNamespaces, Executor, Location

ImageState = Literal["Fetching", "Ready", "Failed", "Deleted"]


class ImageSource(ApiModel):
    """Where the bytes come from, and what they must be."""

    url: Annotated[
        str,
        StringConstraints(
            pattern=r"^https?://[A-Za-z0-9.\[\]:-]+(/[!-~]*)?$", min_length=10, max_length=2048
        ),
        Field(
            json_schema_extra=crd(
                rules=(Rule("isURL(self)", "must be an HTTP or HTTPS URL without a user"),)
            )
        ),
    ]
    """HTTP or HTTPS URL of the file. The hosts fetch it, so they must reach it."""
    sha256: Annotated[
        str, StringConstraints(pattern=r"^[0-9a-f]{64}$", min_length=64, max_length=64)
    ]
    """SHA-256 of the file as it is downloaded, in lower-case hexadecimal."""
    format: Literal["raw", "qcow2"]
    """Format of the file. It is never guessed: a file of another format is refused."""


class ImageSpec(ApiModel):
    """Where the image comes from, and who may use it."""

    source: Annotated[
        ImageSource,
        Field(json_schema_extra=crd(immutable="source cannot change: make another Image instead")),
    ]
    """Where the bytes come from. It never changes: disks were cloned from it. Unless the settings
    of the installation say otherwise, the file has at most 64 GiB and is downloaded within 6 hours,
    the disk that it holds has at most 2 TiB, and a qcow2 file is converted within an hour."""
    allowed_namespaces: AllowedNamespaces = AllowedNamespaces()
    """Namespaces whose disks may start from the image."""


class ImagePool(ApiModel):
    """The image in one pool of one zone.

    The operator writes zone, pool, executor and location; the executor writes the rest.
    """

    zone: DnsLabel
    """The zone."""
    pool: DnsLabel
    """The zone's pool."""
    executor: Executor | None = None
    """The host that fetches the image into this pool."""
    location: Location | None = None
    """The RBD image with the contents."""
    state: ImageState | None = None
    """Fetching, Ready, Failed (the condition tells why) or Deleted."""
    epoch: Epoch | None = None
    """The executor's epoch that the state was reported for."""
    progress_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """How much of the file has been fetched, in percent."""
    snapshot: Annotated[str, StringConstraints(max_length=64)] | None = None
    """The snapshot that disks are cloned from; set when the state is Ready."""
    size: Bytes | None = None
    """Virtual size in bytes: a disk must be at least as large."""
    reason: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Why it failed, in one word."""
    message: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Why it failed, and what to do about it."""


class ImageStatus(ApiModel):
    """Where the image is."""

    observed_generation: Generation | None = None
    """The metadata.generation that the status was computed from."""
    pools: Annotated[
        tuple[ImagePool, ...],
        Field(max_length=256, json_schema_extra=crd(list_map=("zone", "pool"))),
    ] = ()
    """The image in each pool."""
    conditions: Conditions = ()
    """Ready: every pool that needs the image has it."""


class Image(ApiModel):
    """The contents that disks start from, fetched once for each pool and cloned copy-on-write.

    A host of the zone downloads the file, verifies its checksum and format, turns it into a raw RBD
    image and takes a snapshot of it. Disks with this source are clones of that snapshot.
    """

    spec: ImageSpec
    """Where the image comes from, and who may use it."""
    status: ImageStatus = ImageStatus()
    """Where it is."""
