# SPDX-License-Identifier: Apache-2.0
"""Words for people: amounts, rounded so that what does not fit never looks as if it did; lists."""

import difflib
from collections.abc import Iterable, Sequence

_UNITS = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))


def at_least(count: int) -> str:
    """Return bytes as a quantity with at most one decimal, rounded up: what is needed."""
    return _format(count, up=True)


def at_most(count: int) -> str:
    """Return bytes as a quantity with at most one decimal, rounded down: what is free."""
    return _format(count, up=False)


def is_bytes(resource: str) -> bool:
    """Tell whether a resource is measured in bytes: memory, and huge pages as Kubernetes has them.

    Those are named hugepages-2Mi or hugepages-1Gi, perhaps behind a domain and a slash. Everything
    else is counted: a unit would mean something else than was written.
    """
    return resource == "memory" or resource.rpartition("/")[2].startswith("hugepages-")


def quantity(resource: str, count: int, *, up: bool) -> str:
    """Return an amount of a resource, bytes as a quantity, rounded up or down."""
    return _format(count, up=up) if is_bytes(resource) else str(count)


def amount_of(resource: str, count: int) -> str:
    """Return how much of what, rounded up: "3Gi of memory" or "2 gpu"."""
    return f"{quantity(resource, count, up=True)} {'of ' * is_bytes(resource)}{resource}"


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """Return ": did you mean X?", X what is known and most like the word; else `otherwise`."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else otherwise


def counted(count: int, noun: str) -> str:
    """Return "1 case" or "3 cases"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


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
