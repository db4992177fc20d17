# SPDX-License-Identifier: Apache-2.0
"""Image: the contents that disks start from, fetched once for each pool."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import ApiModel, DnsLabel, Epoch, ObjectName, crd
from .conditions import Condition
from .shared import ALLOWED_NAMESPACES_RULES, AllowedNamespaces, Executor, Location

ImageState = Literal["Fetching", "Ready", "Failed", "Deleted"]


class ImageSource(ApiModel):
    """Where the bytes come from, and what they must be."""

    url: Annotated[
        str,
        StringConstraints(
            pattern=r"^https?://[A-Za-z0-9.\[\]:-]+(/[!-~]*)?$", min_length=10, max_length=2048
        ),
    ]
    """HTTP or HTTPS URL of the file. Hosts must reach it."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]
    """SHA-256 of the file as it is downloaded, in lower-case hexadecimal."""
    format: Literal["raw", "qcow2"]
    """Format of the file. It is never guessed: a file of another format is refused."""


class ImageSpec(ApiModel):
    """Where the image comes from, and who may use it."""

    source: Annotated[ImageSource, Field(json_schema_extra=crd(immutable=True))]
    """Where the bytes come from. To change it, make another Image."""
    allowed_namespaces: Annotated[
        AllowedNamespaces, Field(json_schema_extra=crd(rules=ALLOWED_NAMESPACES_RULES))
    ] = AllowedNamespaces()
    """Namespaces whose disks may start from the image."""


class ImagePool(ApiModel):
    """The image in one pool of one zone.

    The operator writes zone, pool, executor and location; the executor writes the rest.
    """

    zone: ObjectName
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
    size: Annotated[str, StringConstraints(max_length=20)] | None = None
    """Virtual size in bytes: a disk must be at least as large."""
    reason: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Why it failed, in one word."""
    message: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Why it failed, and what to do about it."""


class ImageStatus(ApiModel):
    """Where the image is."""

    observed_generation: int | None = None
    """The metadata.generation that the status was computed from."""
    pools: Annotated[
        tuple[ImagePool, ...],
        Field(max_length=256, json_schema_extra=crd(list_map=("zone", "pool"))),
    ] = ()
    """The image in each pool."""
    conditions: tuple[Condition, ...] = ()
    """Ready: every pool that needs the image has it."""


class Image(ApiModel):
    """The contents that disks start from, fetched once for each pool and cloned copy-on-write."""

    spec: ImageSpec
    """Where the image comes from, and who may use it."""
    status: ImageStatus = ImageStatus()
    """Where it is."""
