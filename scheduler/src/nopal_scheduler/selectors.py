# SPDX-License-Identifier: Apache-2.0
"""Which selectors match a virtual machine, without a look at all the others.

A zone may have thousands of applications, each with a selector of its own; a virtual machine has a
handful of labels. So selectors are found by their first label.
"""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
Selector = tuple[tuple[str, str], ...]


class SelectorIndex(Generic[K]):
    """Keys, each with a selector, found by the labels that it matches."""

    def __init__(self) -> None:
        self._by_first: dict[tuple[str, str] | None, dict[K, Selector]] = {}

    def add(self, key: K, selector: Selector) -> None:
        """Add a key; one that is there already stays."""
        self._by_first.setdefault(selector[0] if selector else None, {})[key] = selector

    def matching(self, labels: Mapping[str, str]) -> Iterator[K]:
        """Yield the keys whose selector matches, those of the empty selector first."""
        yield from self._by_first.get(None, ())
        for pair in labels.items():
            for key, selector in self._by_first.get(pair, {}).items():
                if is_in(selector, labels):
                    yield key


def labels_key(labels: Mapping[str, str]) -> Selector:
    """Return labels as something that can be a key."""
    return tuple(sorted(labels.items())) if labels else ()


def is_in(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Tell whether a selector matches labels."""
    return all(labels.get(key) == value for key, value in selector)
