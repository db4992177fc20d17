# SPDX-License-Identifier: Apache-2.0
"""Looks at the head of a downloaded file before any tool opens it. Pure.

qemu-img follows what an image says: another file to read from (backing file, external data file)
may be a path on this host. So an image is accepted only if its header is understood and names
nothing. https://www.qemu.org/docs/master/interop/qcow2.html
"""

import struct
from dataclasses import dataclass

from nopal_runtime.errors import TerminalError

HEAD_BYTES = 2 << 20
"""The header and its extensions lie in the first cluster, which has at most 2 MiB."""
MAGIC_BYTES = 512

_QCOW = b"QFI\xfb"
_KNOWN = (
    (0, _QCOW, "qcow2 or qcow"),
    (0, b"QED\0", "QED"),
    (0, b"KDMV", "VMDK"),
    (0, b"COWD", "VMDK"),
    (0, b"# Disk DescriptorFile", "VMDK"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (64, b"\x7f\x10\xda\xbe", "VDI"),
    (0, b"WithoutFreeSpace", "Parallels"),
    (0, b"WithouFreSpacExt", "Parallels"),
    (0, b"\x1f\x8b\x08", "gzip (unpack it first)"),
    (0, b"\xfd7zXZ\0", "xz (unpack it first)"),
    (0, b"\x28\xb5\x2f\xfd", "zstd (unpack it first)"),
    (0, b"BZh", "bzip2 (unpack it first)"),
)

_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_VERSION_3 = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_EXTENSION_END = 0
_EXTENSION_DATA_FILE = 0x44415441
_EXTENSION_LUKS = 0x0537BE77

_CORRUPT = 1 << 1
_DATA_FILE = 1 << 2
_HARMLESS = (1 << 0) | (1 << 3) | (1 << 4)
"""Dirty reference counts (reading does not need them), compression type, extended L2 entries."""

_MAX_L1_BYTES = 32 << 20
_MAX_SNAPSHOTS = 65536


@dataclass(frozen=True, slots=True)
class Qcow2:
    """A qcow2 image that names nothing outside itself."""

    version: int
    virtual_size: int
    """Bytes."""
    cluster_bits: int


def check_magic(head: bytes, claimed: str) -> None:
    """See that the first bytes fit the format that the user claims; it is never guessed.

    Args:
        head: the first MAGIC_BYTES of the file, or all of it.
        claimed: raw or qcow2.
    """
    if claimed == "qcow2":
        if not head.startswith(_QCOW):
            other = _known(head)
            what = f"it is {other}" if other else "it does not begin as one"
            raise _mismatch(f"the file is not a qcow2 image: {what}")
        return
    other = _known(head)
    if other is not None:
        raise _mismatch(f"the file is declared raw but it is {other}")
    if not head:
        raise _mismatch("the file is empty")


def parse_qcow2(head: bytes, *, max_virtual_size: int) -> Qcow2:
    """Understand a qcow2 header, or refuse it.

    Args:
        head: the first HEAD_BYTES of the file, or all of it.
        max_virtual_size: bytes.

    Raises TerminalError with reason FormatMismatch, UnsafeImage or ImageTooLarge.
    """
    check_magic(head, "qcow2")
    if len(head) < _HEADER.size:
        raise _broken("its header is cut off")
    (
        _,
        version,
        backing_offset,
        backing_size,
        cluster_bits,
        virtual_size,
        encryption,
        l1_entries,
        _,
        _,
        _,
        snapshots,
        _,
    ) = _HEADER.unpack_from(head)
    if version not in (2, 3):
        raise _broken(f"it has version {version}; 2 and 3 are known")
    if not 9 <= cluster_bits <= 21:
        raise _broken(f"it has clusters of 2^{cluster_bits} bytes")
    if backing_offset or backing_size:
        raise _unsafe("names a backing file; flatten it with qemu-img convert")
    if encryption:
        raise _unsafe("is encrypted; decrypt it with qemu-img convert")
    if l1_entries * 8 > _MAX_L1_BYTES or snapshots > _MAX_SNAPSHOTS:
        raise _broken("its tables are larger than any image needs")
    header_length = _HEADER.size
    if version == 3:
        header_length = _check_features(head, cluster_bits)
    _check_extensions(head[: 1 << cluster_bits], header_length)
    if virtual_size > max_virtual_size:
        raise too_large("the disk that the image describes", virtual_size, max_virtual_size)
    if virtual_size == 0:
        raise _broken("it describes a disk of 0 bytes")
    return Qcow2(version=version, virtual_size=virtual_size, cluster_bits=cluster_bits)


def too_large(what: str, size: int | None, limit: int) -> TerminalError:
    """Return the error of an import that passes a limit."""
    has = f"has {size} bytes" if size is not None else "never ends"
    return TerminalError(
        "ImageTooLarge", f"{what} {has}; this host allows {limit}: take a smaller image"
    )


def _check_features(head: bytes, cluster_bits: int) -> int:
    """Look at what only version 3 has; return the header's length."""
    end = _HEADER.size + _VERSION_3.size
    if len(head) < end:
        raise _broken("its header is cut off")
    incompatible, _, _, refcount_order, header_length = _VERSION_3.unpack_from(head, _HEADER.size)
    if incompatible & _DATA_FILE:
        raise _unsafe("keeps its data in another file; make a plain one with qemu-img convert")
    if incompatible & _CORRUPT:
        raise _unsafe("is marked corrupt; repair it with qemu-img check -r all")
    if incompatible & ~(_HARMLESS | _CORRUPT | _DATA_FILE):
        raise _unsafe(f"needs features that are not known (bits {incompatible:#x})")
    if refcount_order > 6 or header_length < end or header_length > 1 << cluster_bits:
        raise _broken("its header contradicts itself")
    return int(header_length)


def _check_extensions(area: bytes, offset: int) -> None:
    """Walk through the header extensions; refuse those that name another file or a key."""
    while offset + _EXTENSION.size <= len(area):
        kind, length = _EXTENSION.unpack_from(area, offset)
        if kind == _EXTENSION_END:
            return
        offset += _EXTENSION.size
        if kind == _EXTENSION_DATA_FILE:
            raise _unsafe("names a data file; make a plain one with qemu-img convert")
        if kind == _EXTENSION_LUKS:
            raise _unsafe("is encrypted; decrypt it with qemu-img convert")
        if length > len(area) - offset:
            raise _broken("its header extensions are cut off")
        offset += (length + 7) & ~7


def _known(head: bytes) -> str | None:
    for offset, magic, name in _KNOWN:
        if head[offset : offset + len(magic)] == magic:
            return name
    return None


def _mismatch(why: str) -> TerminalError:
    return TerminalError("FormatMismatch", f"{why}: correct url or format (make another Image)")


def _broken(why: str) -> TerminalError:
    return TerminalError("FormatMismatch", f"the file is not a usable qcow2 image: {why}")


def _unsafe(why: str) -> TerminalError:
    return TerminalError("UnsafeImage", f"the qcow2 image {why}")
