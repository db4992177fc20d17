# SPDX-License-Identifier: Apache-2.0
"""Quantities: bytes as people write them."""

_UNITS = {
    "": 1,
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50,
}  # fmt: skip
MIB = 2**20


def parse_bytes(text: str) -> int:
    """Return the bytes of a quantity such as 10Gi.

    Raises:
        ValueError: the text is no quantity.
    """
    digits = text.rstrip("kKMGTPi")
    unit = text[len(digits) :]
    if not digits.isdecimal() or unit not in _UNITS:
        raise ValueError(f"{text!r} is not a quantity such as 512Mi or 10Gi")
    return int(digits) * _UNITS[unit]


def whole_mib(text: str) -> int:
    """Return the bytes of a quantity, rounded up to whole MiB."""
    return -(-parse_bytes(text) // MIB) * MIB


def format_bytes(count: int) -> str:
    """Return a quantity for people: the largest binary unit that loses less than 5 %, or bytes."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        size = _UNITS[unit]
        if count >= size:
            whole, rest = divmod(count, size)
            return f"{whole}{unit}" if not rest else f"{count / size:.1f}{unit}"
    return str(count)
