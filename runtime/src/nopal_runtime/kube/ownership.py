# SPDX-License-Identifier: Apache-2.0
"""Server-side apply of a status, as kube-apiserver does it: for the fake API server.

Pure. Only what Nopal uses: managers that apply by force to /status, nested objects, list-maps and
atomic lists. The contract suite holds it to the real one.
"""

import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from nopal_runtime.kube.fields import Path, Shape, item_step, leaves

Owners = dict[str, frozenset[Path]]


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply leaves behind."""

    status: dict[str, Any]
    owners: Owners


def apply(
    status: Mapping[str, Any],
    owners: Owners,
    *,
    manager: str,
    wanted: Mapping[str, Any],
    shape: Shape,
) -> Applied:
    """Merge one manager's complete set into the status.

    Fields that it owned before and leaves out now are removed, unless another manager owns them
    too. Fields that it sets to another value are taken from their other owners.
    """
    old = dict(leaves(status, shape))
    new = dict(leaves(wanted, shape))
    new_paths = frozenset(new)
    result = deepcopy(dict(status))
    after: Owners = {}
    for name, paths in owners.items():
        if name != manager:
            taken = {p for p in paths & new_paths if old.get(p) != new[p]}
            if kept := paths - taken:
                after[name] = kept
    still_owned = frozenset().union(*after.values()) if after else frozenset()
    for path in owners.get(manager, frozenset()) - new_paths - still_owned:
        _remove(result, path, shape)
    for path, value in new.items():
        _put(result, path, deepcopy(value), shape)
    if new_paths:
        after[manager] = new_paths
    return Applied(result, after)


def fields_v1(paths: Iterable[Path]) -> dict[str, Any]:
    """Return a field set as managedFields carries it."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        node = root
        for step in path:
            node = node.setdefault(step, {})
            if step.startswith("k:"):
                node.setdefault(".", {})
    return {"f:status": root}


def _index(items: list[Any], step: str, keys: tuple[str, ...]) -> int:
    return next((i for i, item in enumerate(items) if item_step(item, keys) == step), -1)


def _put(value: Any, path: Path, leaf: Any, shape: Shape) -> None:
    step, rest = path[0], path[1:]
    name = step[2:]
    if not rest:
        value[name] = leaf
        return
    child_shape = shape.fields.get(name, Shape())
    if not rest[0].startswith("k:"):
        child = value.get(name)
        if not isinstance(child, dict):
            child = value[name] = {}
        _put(child, rest, leaf, child_shape)
        return
    items = value.setdefault(name, [])
    at = _index(items, rest[0], child_shape.keys)
    if at < 0:
        items.append(json.loads(rest[0][2:]))
        at = len(items) - 1
    _put(items[at], rest[1:], leaf, child_shape.item or Shape())


def _remove(value: Any, path: Path, shape: Shape) -> None:
    step, rest = path[0], path[1:]
    name = step[2:]
    if not isinstance(value, dict) or name not in value:
        return
    if not rest:
        del value[name]
        return
    child, child_shape = value[name], shape.fields.get(name, Shape())
    if rest[0].startswith("k:"):
        at = _index(child, rest[0], child_shape.keys)
        if at < 0:
            return
        _remove(child[at], rest[1:], child_shape.item or Shape())
        if not child[at]:
            del child[at]
    else:
        _remove(child, rest, child_shape)
    if not value[name]:
        del value[name]
