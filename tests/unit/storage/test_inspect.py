# SPDX-License-Identifier: Apache-2.0
"""The qcow2 parser: golden headers, and whatever else somebody may send."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nopal_node.storage.inspect import Qcow2, check_magic, parse_qcow2
from nopal_runtime.errors import TerminalError
from support import qcow2

LIMIT = 1 << 40

# Written by qemu-img 7.2: qemu-img create -f qcow2 [-o compat=0.10] x.qcow2 10M
QEMU_V2 = bytes.fromhex(
    "514649fb00000002000000000000000000000000000000100000000000a0"
    "000000000000000000010000000000030000000000000001000000000001"
    "000000000000000000000000"
)
QEMU_V3 = bytes.fromhex(
    "514649fb00000003000000000000000000000000000000100000000000a0"
    "000000000000000000010000000000030000000000000001000000000001"
    "000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000004000000700000000000000000"
)


@pytest.mark.parametrize(("head", "version"), [(QEMU_V3, 3), (QEMU_V2, 2)])
def test_what_qemu_img_writes_is_understood(head: bytes, version: int) -> None:
    assert parse_qcow2(head + bytes(1 << 16), max_virtual_size=LIMIT) == Qcow2(
        version=version, virtual_size=10 << 20, cluster_bits=16
    )


@pytest.mark.parametrize("bit", [0, 3, 4])
def test_harmless_features_are_taken(bit: int) -> None:
    assert parse_qcow2(qcow2.header(incompatible=1 << bit), max_virtual_size=LIMIT).version == 3


def test_other_extensions_are_skipped() -> None:
    extensions = qcow2.extension(0x6803F857, b"names" * 10) + qcow2.extension(0x23852875, bytes(24))
    header = qcow2.header(extensions=extensions)
    plain = parse_qcow2(qcow2.header(), max_virtual_size=LIMIT)
    assert parse_qcow2(header, max_virtual_size=LIMIT) == plain


REFUSED = {
    "backing file": (qcow2.header(backing=b"/etc/passwd"), "UnsafeImage"),
    "backing file in version 2": (qcow2.header(version=2, backing=b"x"), "UnsafeImage"),
    "data file": (qcow2.header(incompatible=4), "UnsafeImage"),
    "data file by name only": (
        qcow2.header(extensions=qcow2.extension(0x44415441, b"/x")),
        "UnsafeImage",
    ),
    "data file behind another extension": (
        qcow2.header(
            extensions=qcow2.extension(0x6803F857, b"abc") + qcow2.extension(0x44415441, b"/x")
        ),
        "UnsafeImage",
    ),
    "data file in version 2": (
        qcow2.header(version=2, extensions=qcow2.extension(0x44415441, b"/x")),
        "UnsafeImage",
    ),
    "corrupt": (qcow2.header(incompatible=2), "UnsafeImage"),
    "future feature": (qcow2.header(incompatible=1 << 63), "UnsafeImage"),
    "aes": (qcow2.header(encryption=1), "UnsafeImage"),
    "luks": (qcow2.header(encryption=2), "UnsafeImage"),
    "luks extension": (
        qcow2.header(extensions=qcow2.extension(0x0537BE77, bytes(16))),
        "UnsafeImage",
    ),
    "too large": (qcow2.header(size=LIMIT + 1), "ImageTooLarge"),
    "no size": (qcow2.header(size=0), "FormatMismatch"),
    "version 1": (qcow2.header(version=1), "FormatMismatch"),
    "version 4": (qcow2.header(version=4), "FormatMismatch"),
    "tiny clusters": (qcow2.header(cluster_bits=8), "FormatMismatch"),
    "huge clusters": (qcow2.header(cluster_bits=22), "FormatMismatch"),
    "huge L1": (qcow2.header(l1_entries=1 << 30), "FormatMismatch"),
    "many snapshots": (qcow2.header(snapshots=1 << 20), "FormatMismatch"),
    "short header": (qcow2.header(header_length=100), "FormatMismatch"),
    "header past the cluster": (qcow2.header(header_length=1 << 17), "FormatMismatch"),
    "cut off": (qcow2.header()[:71], "FormatMismatch"),
    "cut off in version 3": (qcow2.header()[:100], "FormatMismatch"),
    "extension past the end": (
        qcow2.header()[:104] + struct.pack(">II", 1, 0xFFFFFFFF),
        "FormatMismatch",
    ),
    "nothing": (b"", "FormatMismatch"),
}

REASONS = {reason for _, reason in REFUSED.values()}


@pytest.mark.parametrize("name", REFUSED)
def test_the_rest_is_refused(name: str) -> None:
    head, reason = REFUSED[name]
    with pytest.raises(TerminalError) as refused:
        parse_qcow2(head, max_virtual_size=LIMIT)
    assert refused.value.reason == reason


@given(st.binary(max_size=300))
@example(b"QFI\xfb")
def test_no_bytes_make_it_fail_otherwise(tail: bytes) -> None:
    for head in (tail, b"QFI\xfb" + tail, b"QFI\xfb\0\0\0\3" + tail):
        try:
            header = parse_qcow2(head, max_virtual_size=LIMIT)
        except TerminalError as refused:
            assert refused.reason in REASONS  # noqa: PT017 - some may be taken
        else:
            assert 0 < header.virtual_size <= LIMIT


@given(st.dictionaries(st.integers(0, 111), st.integers(0, 255), max_size=12))
def test_no_change_of_a_good_header_gets_another_file_in(changes: dict[int, int]) -> None:
    head = bytearray(qcow2.header() + bytes(1 << 16))
    for offset, value in changes.items():
        head[offset] = value
    try:
        header = parse_qcow2(bytes(head), max_virtual_size=LIMIT)
    except TerminalError:
        return
    assert 0 < header.virtual_size <= LIMIT
    # Read again by the specification: the backing file's name, its size, and the feature bits.
    assert struct.unpack_from(">QI", head, 8) == (0, 0)
    assert struct.unpack_from(">I", head, 32) == (0,)
    if header.version == 3:
        assert struct.unpack_from(">Q", head, 72)[0] & ~0b11001 == 0


@given(
    offset=st.integers(1, 2**64 - 1),
    size=st.integers(0, 2**32 - 1),
    version=st.sampled_from([2, 3]),
)
def test_no_backing_file_is_ever_accepted(offset: int, size: int, version: int) -> None:
    head = bytearray(qcow2.header(version=version) + bytes(1 << 16))
    struct.pack_into(">QI", head, 8, offset, size)
    with pytest.raises(TerminalError, match="UnsafeImage"):
        parse_qcow2(bytes(head), max_virtual_size=LIMIT)


@given(
    st.lists(st.tuples(st.integers(1, 2**32 - 1), st.binary(max_size=40)), max_size=6),
    st.binary(max_size=40),
)
def test_no_data_file_is_ever_accepted(before: list[tuple[int, bytes]], name: bytes) -> None:
    extensions = b"".join(qcow2.extension(kind, data) for kind, data in before)
    head = qcow2.header(extensions=extensions + qcow2.extension(0x44415441, name))
    with pytest.raises(TerminalError, match="UnsafeImage"):
        parse_qcow2(head, max_virtual_size=LIMIT)


@pytest.mark.parametrize(
    ("head", "claimed", "said"),
    [
        (b"QFI\xfb\0\0\0\3", "raw", "qcow2"),
        (b"KDMV\1\0\0\0", "raw", "VMDK"),
        (b"vhdxfile", "raw", "VHDX"),
        (bytes(64) + b"\x7f\x10\xda\xbe", "raw", "VDI"),
        (b"\xfd7zXZ\0", "raw", "xz"),
        (b"", "raw", "empty"),
        (b"KDMV\1\0\0\0", "qcow2", "VMDK"),
        (b"QFI", "qcow2", "does not begin"),
    ],
)
def test_a_file_of_another_format_is_named(head: bytes, claimed: str, said: str) -> None:
    with pytest.raises(TerminalError, match="FormatMismatch") as refused:
        check_magic(head, claimed)
    assert said in refused.value.message


def test_what_fits_is_taken() -> None:
    check_magic(b"\xeb\x63\x90", "raw")
    check_magic(b"\0", "raw")
    check_magic(qcow2.header(), "qcow2")
