# SPDX-License-Identifier: Apache-2.0
"""Which fields a manager owns, as server-side apply counts them (metadata.managedFields).

A field set is a set of paths. A path is a tuple of steps: "f:NAME" for a field, "k:{...}" for an
item of a list-map by its keys, "v:..." for an item of a set. Only leaves count here, because a
container is owned through them. Source of the format: kubernetes-sigs/structured-merge-diff,
fieldpath/serialize.go.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

from nopal_api.kinds import Kind

Path = tuple[str, ...]
_NO_DIGESTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Shape:
    """How server-side apply merges one place of the schema."""

    fields: Mapping[str, "Shape"] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    """Keys of a list-map; empty for every other list, which is atomic unless it is a set."""
    is_set: bool = False
    item: "Shape | None" = None


_CONDITIONS = ("type",)
_ATOMIC = Shape()


@cache
def status_shape(kind: Kind) -> Shape:
    """Return the shape of the kind's status, from its model."""
    if kind.model is None:
        return Shape()
    schema = kind.model.model_json_schema(by_alias=True)
    return _shape(schema, schema.get("$defs", {})).fields.get("status", Shape())


def _shape(node: Mapping[str, Any], defs: Mapping[str, Any]) -> Shape:
    extra = node.get("x-nopal", {})
    for part in node.get("anyOf", ()):
        if part.get("type") != "null":
            extra = {**part.get("x-nopal", {}), **extra}
            node = part
    if "$ref" in node:
        node = defs[node["$ref"].rsplit("/", 1)[1]]
        extra = {**node.get("x-nopal", {}), **extra}
    if extra.get("atomic"):
        return Shape()
    if node.get("type") == "array":
        item = _shape(node["items"], defs)
        return Shape(
            keys=tuple(extra.get("list_map", ())), is_set=bool(extra.get("list_set")), item=item
        )
    fields = {}
    for name, child in node.get("properties", {}).items():
        shape = _shape(child, defs)
        if name == "conditions" and shape.item is not None:
            shape = Shape(keys=_CONDITIONS, item=shape.item)
        fields[name] = shape
    return Shape(fields=fields)


def item_step(item: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """Return the path step of a list-map's item."""
    return "k:" + json.dumps(
        {key: item[key] for key in sorted(keys) if key in item}, separators=(",", ":")
    )


def leaves(value: Any, shape: Shape, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the leaves of an applied value, each with its path."""
    if isinstance(value, str | int):  # most are, and asking for a Mapping is slow
        yield path, value
    elif isinstance(value, Mapping) and value:
        for name, child in value.items():
            yield from leaves(child, shape.fields.get(name, _ATOMIC), (*path, f"f:{name}"))
    elif isinstance(value, list | tuple) and shape.keys:
        for item in value:
            step = item_step(item, shape.keys)
            yield from leaves(item, shape.item or _ATOMIC, (*path, step))
    elif isinstance(value, list | tuple) and shape.is_set:
        for item in value:
            yield (*path, "v:" + json.dumps(item, separators=(",", ":"))), item
    else:
        yield path, value


def digest(paths: Iterable[Path]) -> str:
    """Return a short digest of a field set."""
    lines = sorted("\0".join(path) for path in paths)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=12).hexdigest()


def owned_digests(managed_fields: Iterable[Mapping[str, Any]]) -> Mapping[str, str]:
    """Return, for each manager that applied to the status, the digest of the fields it owns."""
    found = {}
    for entry in managed_fields:
        if entry.get("operation") == "Apply" and entry.get("subresource") == "status":
            paths = list(_trie_leaves(entry.get("fieldsV1", {}).get("f:status", {})))
            if paths:
                found[entry["manager"]] = digest(paths)
    return MappingProxyType(found) if found else _NO_DIGESTS


def _trie_leaves(node: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    children = {step: child for step, child in node.items() if step != "."}
    if not children and path:
        yield path
    for step, child in children.items():
        yield from _trie_leaves(child, (*path, _normal(step)))


def _normal(step: str) -> str:
    if not step.startswith("k:"):
        return step
    keys = json.loads(step[2:])
    return "k:" + json.dumps({k: keys[k] for k in sorted(keys)}, separators=(",", ":"))
