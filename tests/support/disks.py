# SPDX-License-Identifier: Apache-2.0
"""Disks for tests of a pool."""

from nopal_node.storage.base import DiskImage, ImageParent
from support.storage import MIB


def disk(owner: str, *, size: int = 8 * MIB, parent: ImageParent | None = None) -> DiskImage:
    """A disk that is to exist; its image is named after its owner."""
    return DiskImage(image=f"disk-{owner}", size=size, owner_uid=owner, parent=parent)
