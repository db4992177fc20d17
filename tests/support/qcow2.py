# SPDX-License-Identifier: Apache-2.0
"""qcow2 files made by hand: good ones, and ones that qemu-img would never write."""

import struct

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)


def header(
    *,
    version: int = 3,
    backing: bytes = b"",
    size: int = 1 << 20,
    encryption: int = 0,
    l1_entries: int = 1,
    incompatible: int = 0,
    extensions: bytes = b"",
    cluster_bits: int = CLUSTER_BITS,
    snapshots: int = 0,
    header_length: int = 104,
) -> bytes:
    """A header with its extensions and the name of the backing file."""
    length = 72 if version == 2 else 104
    area = extensions + extension(0, b"")
    offset = length + len(area) if backing else 0
    head = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb",
        version,
        offset,
        len(backing),
        cluster_bits,
        size,
        encryption,
        l1_entries,
        3 * CLUSTER,
        CLUSTER,
        1,
        snapshots,
        0,
    )
    if version != 2:
        head += struct.pack(">QQQII", incompatible, 0, 0, 4, header_length)
    return head + area + backing


def image(content: bytes, *, head: bytes | None = None, size: int | None = None) -> bytes:
    """A whole file with plain clusters; content is at most one L2 table's worth (512 MiB)."""
    clusters = [
        content[i : i + CLUSTER].ljust(CLUSTER, b"\0") for i in range(0, len(content), CLUSTER)
    ]
    copied = 1 << 63
    first = 5
    l2 = struct.pack(
        f">{len(clusters)}Q", *(copied | ((first + i) * CLUSTER) for i in range(len(clusters)))
    )
    used = first + len(clusters)
    parts = [
        head if head is not None else header(size=size or max(len(content), 1)),
        struct.pack(">Q", 2 * CLUSTER),  # refcount table
        struct.pack(f">{used}H", *([1] * used)),  # refcount block
        struct.pack(">Q", copied | (4 * CLUSTER)),  # L1
        l2,
        *clusters,
    ]
    return b"".join(part.ljust(CLUSTER, b"\0") for part in parts)


def with_backing_file(path: str, *, size: int = 1 << 20) -> bytes:
    """Unallocated clusters read from that file."""
    return image(b"", head=header(backing=path.encode(), size=size))


def with_data_file(path: str, *, size: int = 1 << 20) -> bytes:
    """Every cluster lies in that file, at its own offset."""
    head = header(incompatible=1 << 2, extensions=extension(0x44415441, path.encode()), size=size)
    count = -(-size // CLUSTER)
    l2 = struct.pack(f">{count}Q", *((1 << 63) | (i * CLUSTER) for i in range(count)))
    parts = [
        head,
        struct.pack(">Q", 2 * CLUSTER),
        struct.pack(">5H", *([1] * 5)),
        struct.pack(">Q", (1 << 63) | (4 * CLUSTER)),
        l2,
    ]
    return b"".join(part.ljust(CLUSTER, b"\0") for part in parts)
