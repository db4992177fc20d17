# SPDX-License-Identifier: Apache-2.0
"""Amounts for people, rounded so that what does not fit never looks as if it did."""

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


def _format(count: int, *, up: bool) -> str:
    for unit, size in _UNITS:
        if count >= size:
            tenths = -(-count * 10 // size) if up else count * 10 // size
            whole, rest = divmod(tenths, 10)
            return f"{whole}.{rest}{unit}" if rest else f"{whole}{unit}"
    return str(count)
