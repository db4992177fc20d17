# SPDX-License-Identifier: Apache-2.0
"""Bounds of an image import: what a hostile server or file can cost at most."""

from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """Sizes in bytes, times in seconds."""

    max_download: int = 64 * GIB
    """The file as it is downloaded; the scratch image is no larger."""
    max_virtual_size: int = 2048 * GIB
    """The disk that it describes."""
    connect_seconds: float = 15.0
    stall_seconds: float = 30.0
    """How long a server may send nothing."""
    download_seconds: float = 6 * 3600.0
    """The whole download: a server that sends a byte now and then never stalls."""
    convert_seconds: float = 3600.0
    max_redirects: int = 5
    sandbox_memory: int = 4 * GIB
    """Address space of qemu-img; librbd's threads reserve much and use little."""
