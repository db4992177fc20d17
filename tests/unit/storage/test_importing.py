# SPDX-License-Identifier: Apache-2.0
"""What is written of a stream, and the names that imports build under."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nopal_node.storage.importing import data_runs
from nopal_node.storage.staging import build_epoch, whole_mib

RUN = 64 << 10


LENGTHS = st.sampled_from([1, RUN - 1, RUN, RUN + 1, 2 * RUN])


@given(st.lists(st.tuples(st.sampled_from([0, 1]), LENGTHS), max_size=4))
def test_runs_put_together_are_the_data(pieces: list[tuple[int, int]]) -> None:
    data = b"".join(bytes([value]) * length for value, length in pieces)
    again = bytearray(len(data))
    end = -1
    for offset, run in data_runs(data):
        assert offset > end, "in order, never touching"
        assert offset % RUN == 0
        assert any(run)
        again[offset : offset + len(run)] = run
        end = offset + len(run)
    assert bytes(again) == data


def test_zeros_are_not_written() -> None:
    assert list(data_runs(bytes(10 * RUN))) == []
    assert list(data_runs(bytes(RUN) + b"x" * RUN + bytes(RUN))) == [(RUN, b"x" * RUN)]


@pytest.mark.parametrize(
    ("name", "epoch"),
    [
        ("image-u.1", 1),
        ("image-u.12.scratch", 12),
        ("image-u", None),
        ("image-u.x", None),
        ("image-u.1.scratch.scratch", None),
        ("image-u2.1", None),
        ("ximage-u.1", None),
        ("image-u.-1", None),
        ("image-u.1.2", None),
        ("image-u.", None),
    ],
)
def test_only_builds_of_the_image_are_cleaned(name: str, epoch: int | None) -> None:
    assert build_epoch("image-u", name) == epoch


def test_sizes_are_rounded_up() -> None:
    assert [whole_mib(size) for size in (0, 1, 1 << 20, (1 << 20) + 1)] == [
        0,
        1 << 20,
        1 << 20,
        2 << 20,
    ]
