# SPDX-License-Identifier: Apache-2.0
"""Amounts for people, rounded so that what does not fit never looks as if it did; and lists."""

from collections.abc import Sequence

_UNITS = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))


def at_least(count: int) -> str:
    """Return bytes as a quantity with at most one decimal, rounded up: what is needed."""
    return _format(count, up=True)


def at_most(count: int) -> str:
    """Return bytes as a quantity with at most one decimal, rounded down: what is free."""
    return _format(count, up=False)


def quantity(resource: str, count: int, *, up: bool) -> str:
    """Return an amount of a resource, memory in bytes as a quantity, rounded up or down."""
    return _format(count, up=up) if resource == "memory" else str(count)


def joined(words: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"; there is at least one."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def one_of(hosts: Sequence[str]) -> str:
    """Return "host a" or "any of a, b and 7 more"."""
    if len(hosts) == 1:
        return f"host {hosts[0]}"
    shown = hosts if len(hosts) <= 3 else (*hosts[:2], f"{len(hosts) - 2} more")
    return f"any of {joined(shown)}"


def _format(count: int, *, up: bool) -> str:
    for unit, size in _UNITS:
        if count >= size:
            tenths = -(-count * 10 // size) if up else count * 10 // size
            whole, rest = divmod(tenths, 10)
            return f"{whole}.{rest}{unit}" if rest else f"{whole}{unit}"
    return str(count)
