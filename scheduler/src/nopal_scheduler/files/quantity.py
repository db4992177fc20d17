# SPDX-License-Identifier: Apache-2.0
"""Quantities in files: bytes as Kubernetes writes them. `words` has amounts for people.

The API has its own, because neither package imports the other.
"""

import re

_UNITS = {
    "": 1,
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
PATTERN = r"^[0-9]{1,18}(k|M|G|T|Ki|Mi|Gi|Ti)?$"
"""What a quantity looks like, as a regular expression for a JSON Schema."""
LEAST_MEMORY = 2**20
"""Bytes; less is a figure whose unit was forgotten."""
_MOST_GIB = 4096
"""A figure without a unit up to this is meant in GiB, a larger one in MiB."""
_QUANTITY = re.compile(r"([0-9]{1,18})(k|M|G|T|Ki|Mi|Gi|Ti|)")


def parse_bytes(text: str) -> int:
    """Return the bytes of a quantity such as 10Gi.

    Raises:
        ValueError: the text is no quantity.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a quantity: write for example 512Mi or 8Gi")
    return int(found[1]) * _UNITS[found[2]]


def parse_memory(value: object) -> object:
    """Return the bytes of a quantity; what is no text is returned as it is.

    Raises:
        ValueError: the text is no quantity; or it is less than 1Mi and not 0, which nobody means.
    """
    count = parse_bytes(value) if isinstance(value, str) else value
    if not isinstance(count, int) or isinstance(count, bool) or not 0 < count < LEAST_MEMORY:
        return count
    if str(value) != str(count):
        raise ValueError(f"{value} is less than 1Mi: write for example 64Gi")
    unit = "Gi" if count <= _MOST_GIB else "Mi"
    raise ValueError(f"{count} is {count} byte{'s' * (count > 1)}: write {count}{unit}")


def exact(count: int) -> str:
    """Return the shortest quantity with binary units that is exactly so many bytes, 0 or more."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if count and count % _UNITS[unit] == 0:
            return f"{count // _UNITS[unit]}{unit}"
    return str(count)
