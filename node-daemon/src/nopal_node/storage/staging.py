# SPDX-License-Identifier: Apache-2.0
"""Where an import is built: what the pipeline needs of a pool."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from .base import Import, Imported

SNAPSHOT = "nopal"
"""The snapshot that disks are cloned from."""

MIB = 1 << 20


def build_name(job: Import) -> str:
    """Return the name that the image is built under: no two executors ever share one."""
    return f"{job.image}.{job.epoch}"


def scratch_name(job: Import) -> str:
    """Return the name of the image that holds the downloaded file."""
    return f"{build_name(job)}.scratch"


def build_epoch(image: str, name: str) -> int | None:
    """Return the epoch of a name that an import of the image left; None for any other name."""
    prefix, _, rest = name.partition(f"{image}.")
    epoch = rest.removesuffix(".scratch")
    return int(epoch) if not prefix and epoch.isdecimal() else None


def whole_mib(size: int) -> int:
    """Round bytes up to whole MiB."""
    return -(-size // MIB) * MIB


class Writer(ABC):
    """An image that is open for writing. Blocking."""

    @abstractmethod
    def write(self, offset: int, data: bytes) -> None:
        """Write bytes; grows the image when they lie behind its end."""

    @abstractmethod
    def finish(self, size: int) -> None:
        """Make what was written durable and give the image its final size in bytes."""

    @abstractmethod
    def close(self) -> None:
        """Close the handle."""


class Staging(ABC):
    """A pool, as imports see it. Blocking but for convert."""

    @abstractmethod
    def finished(self, job: Import) -> Imported | None:
        """Return the image if it is there whole; raises ConflictError if it is another owner's."""

    @abstractmethod
    def clean(self, job: Import) -> None:
        """Remove what imports of this image up to this epoch left.

        What an older executor still has open stays: it removes its own. Raises TransientError
        (ImageInUse) if this epoch's own is open.
        """

    @abstractmethod
    def create(self, name: str, size: int) -> Writer:
        """Create an image and open it."""

    @abstractmethod
    def head(self, name: str, length: int) -> bytes:
        """Return an image's first bytes."""

    @abstractmethod
    async def convert(
        self, job: Import, *, virtual_size: int, progress: Callable[[int], None]
    ) -> None:
        """Turn the qcow2 file in the scratch image into the raw build image, which exists."""

    @abstractmethod
    def publish(self, job: Import, *, size: int) -> Imported:
        """Give the build its owner and snapshot, then its final name.

        Who comes second takes what is there, and cleans.
        """
