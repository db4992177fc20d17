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

from nopal_runtime.kube.fields import Path, Shape, leaves

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
    old = dict(leaves(status, shape)) if status else {}
    new = dict(leaves(wanted, shape)) if wanted else {}
    new_paths = frozenset(new)
    after: Owners = {}
    for name, paths in owners.items():
        if name != manager:
            taken = {p for p in paths & new_paths if old.get(p) != new[p]}
            if kept := paths - taken:
                after[name] = kept
    still_owned = frozenset().union(*after.values()) if after else frozenset()
    given_up = owners.get(manager, frozenset()) - new_paths - still_owned
    if new_paths:
        after[manager] = new_paths
    return Applied(_build({p: v for p, v in old.items() if p not in given_up} | new), after)


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


def _build(values: Mapping[Path, Any]) -> dict[str, Any]:
    """Return the object with these leaves: `leaves` backwards."""
    root: dict[str, Any] = {}
    items: dict[Path, dict[str, Any]] = {}
    for path, value in values.items():
        node: Any = root
        for depth, step in enumerate(path):
            here, last = path[: depth + 1], depth == len(path) - 1
            if step.startswith("v:"):
                node.append(deepcopy(value))
            elif step.startswith("k:"):
                if here not in items:
                    items[here] = json.loads(step[2:])
                    node.append(items[here])
                node = items[here]
            elif last:
                node[step[2:]] = deepcopy(value)
            else:
                is_list = path[depth + 1][:2] in ("k:", "v:")
                node = node.setdefault(step[2:], [] if is_list else {})
    return root
