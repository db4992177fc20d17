# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nopal_api.quantity import MIB, format_bytes, parse_bytes, whole_mib


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1),
        ("0", 0),
        ("1k", 1000),
        ("1Ki", 1024),
        ("512Mi", 512 * 2**20),
        ("10G", 10**10),
        ("10Gi", 10 * 2**30),
        ("2T", 2 * 10**12),
        ("64Ti", 2**46),
        ("3Pi", 3 * 2**50),
    ],
)
def test_parse(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text",
    ["", "Gi", "1.5Gi", "-1", "+1", "1 Gi", "1GB", "1GiGi", "1e3", "0x10", "1Ei", "1ki", "²"],
)
def test_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity such as"):
        parse_bytes(text)


@given(st.integers(min_value=1, max_value=2**50))
def test_whole_mib_rounds_up_by_less_than_one(count: int) -> None:
    rounded = whole_mib(str(count))
    assert rounded % MIB == 0
    assert 0 <= rounded - count < MIB


@given(st.integers(min_value=0, max_value=2**60))
def test_format_loses_little(count: int) -> None:
    text = format_bytes(count)
    number = text.rstrip("KMGTi")
    size = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}[text[len(number) :]]
    assert abs(float(number) * size - count) <= count * 0.05


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1023, "1023"), (2**30, "1Gi"), (3 * 2**29, "1.5Gi"), (2**40, "1Ti")],
)
def test_format_for_people(count: int, text: str) -> None:
    assert format_bytes(count) == text


@given(st.integers(1, 10**15), st.sampled_from(["", "k", "Ki", "M", "Mi", "G", "Gi"]))
def test_what_format_writes_whole_is_parsed_back(count: int, unit: str) -> None:
    amount = parse_bytes(f"{count}{unit}")
    text = format_bytes(amount)
    if "." not in text:
        assert parse_bytes(text) == amount
