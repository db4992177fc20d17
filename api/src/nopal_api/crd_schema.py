# SPDX-License-Identifier: Apache-2.0
"""From a pydantic model to the structural OpenAPI v3 schema of a CRD.

Structural means: no $ref, no anyOf, a type on every node. Nothing is written whose value is zero
(empty lists and strings, false, 0 as a default): kube-apiserver drops some of these on writing, and
Argo CD would show the CRD as changed for ever.

Defaults are written only for scalars of the spec that are not inside a list: Argo CD and
server-side apply compare lists whole. All others are filled by the models on reading. A status has
no defaults.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from .base import ApiModel, Rule

Schema = dict[str, Any]

_COPIED = (
    "pattern",
    "format",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
)
_EXTRAS = "x-nopal"
DEFAULT = " Default: "
"""Stands in a description before the default."""
_CEL_RESERVED = frozenset(
    {"const", "for", "function", "if", "import", "namespace", "package", "var"}
)


class SchemaError(Exception):
    """A model cannot be written as a structural schema; names the node."""


def structural_schema(model: type[ApiModel]) -> Schema:
    """Return the openAPIV3Schema of a kind's model, without apiVersion, kind and metadata.

    Raises:
        SchemaError: the model has a union, an unbounded value or another shape that a CRD cannot
            carry.
    """
    raw = model.model_json_schema(by_alias=True)
    definitions: Mapping[str, Schema] = raw.get("$defs", {})
    walk = _Walk(definitions)
    schema = walk.node(raw, path="")
    # Once more with the defaults of the spec alone.
    schema["properties"]["spec"] = walk.node(raw["properties"]["spec"], path="spec", defaults=True)
    return schema


class _Walk:
    """Translates the nodes of one model."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def node(self, raw: Schema, *, path: str, defaults: bool = False) -> Schema:
        """Translate one node.

        Args:
            raw: pydantic's JSON schema of it.
            path: the node's path, for errors.
            defaults: whether defaults may be written here and below.
        """
        flat, rules = self._flatten(raw, path)
        extras = flat.get(_EXTRAS, {})
        kind = flat.get("type")
        out: Schema = {}
        default = flat.get("default")
        if text := _description(flat, default if defaults else None):
            out["description"] = text
        match kind:
            case "object":
                out["type"] = kind
                rules += self._object(flat, out, path=path, defaults=defaults)
            case "array":
                out["type"] = kind
                self._array(flat, out, path=path)
            case "string" | "integer":
                out["type"] = kind
                if values := flat.get("enum") or [flat[key] for key in ("const",) if key in flat]:
                    out["enum"] = list(values)
                if default and defaults:
                    out["default"] = default
            case _:
                raise SchemaError(f"{path}: type {kind!r} has no place in the API")
        out |= {key: flat[key] for key in _COPIED if key in flat}
        rules += _immutable(extras)
        if rules:
            out["x-kubernetes-validations"] = [_validation(rule) for rule in rules]
        return out

    def _flatten(self, raw: Schema, path: str) -> tuple[Schema, list[Rule]]:
        """Inline $ref and anyOf with null; what the field says goes before what its type says."""
        rules = [Rule(*rule) for rule in raw.get(_EXTRAS, {}).get("rules", ())]
        inner: Schema | None = None
        if "$ref" in raw:
            inner = self._definitions[raw["$ref"].rpartition("/")[2]]
        elif "anyOf" in raw:
            choices = [choice for choice in raw["anyOf"] if choice != {"type": "null"}]
            if len(choices) != 1:
                raise SchemaError(f"{path}: a union of {len(choices)} types")
            inner = choices[0]
        if inner is None:
            return dict(raw), rules
        below, more = self._flatten(inner, path)
        own = {key: value for key, value in raw.items() if key not in ("$ref", "anyOf")}
        flat = below | own
        if own.get("description") and "properties" in below:
            # The first paragraph of a model's docstring says what its field says already.
            rest = below.get("description", "").partition("\n\n")[2]
            flat["description"] = "\n\n".join(filter(None, (own["description"], rest)))
        flat[_EXTRAS] = below.get(_EXTRAS, {}) | own.get(_EXTRAS, {})
        return flat, rules + more

    def _object(self, flat: Schema, out: Schema, *, path: str, defaults: bool) -> list[Rule]:
        if "properties" not in flat:
            values = flat.get("additionalProperties")
            if not isinstance(values, dict):
                raise SchemaError(f"{path}: a map without a type of its values")
            out["additionalProperties"] = self.node(values, path=f"{path}.*")
            longest = flat.get("propertyNames", {}).get("maxLength")
            if longest is None:
                raise SchemaError(f"{path}: a map without a length of its keys")
            cel = f"self.all(key, size(key) <= {longest})"
            return [Rule(cel, f"keys must have at most {longest} characters")]
        required = set(flat.get("required", ()))
        properties: Schema = {}
        rules: list[Rule] = []
        for name, raw in flat["properties"].items():
            place = f"{path}.{name}".lstrip(".")
            properties[name] = self.node(raw, path=place, defaults=defaults)
            message = raw.get(_EXTRAS, {}).get("immutable")
            if message and name not in required and "default" not in properties[name]:
                # A rule of the field itself is not asked when the field comes or goes.
                cel = f"has(self.{escaped(name)}) == has(oldSelf.{escaped(name)})"
                rules.append(Rule(cel, message, field=f".{name}"))
        out["properties"] = properties
        if required:
            out["required"] = sorted(required, key=list(properties).index)
        return rules

    def _array(self, flat: Schema, out: Schema, *, path: str) -> None:
        if not isinstance(flat.get("items"), dict):
            raise SchemaError(f"{path}: a list without one type of its items")
        extras = flat.get(_EXTRAS, {})
        items = self.node(flat["items"], path=f"{path}[]")
        if "properties" in items and "description" in items:
            # kubectl explain shows the list's text and then its items': not the same thing twice.
            rest = items.pop("description").partition("\n\n")[2]
            out["description"] = "\n\n".join(filter(None, (out.get("description", ""), rest)))
        if rules := extras.get("item_rules"):
            own = items.setdefault("x-kubernetes-validations", [])
            own += [_validation(Rule(*rule)) for rule in rules]
        out["items"] = items
        if keys := extras.get("list_map"):
            out["x-kubernetes-list-type"] = "map"
            out["x-kubernetes-list-map-keys"] = list(keys)
        else:
            out["x-kubernetes-list-type"] = "set" if extras.get("list_set") else "atomic"


def _description(flat: Schema, default: object) -> str:
    """Join the lines of each paragraph; kubectl breaks them to the width of the terminal."""
    paragraphs = flat.get("description", "").split("\n\n")
    lines = [" ".join(paragraph.split()) for paragraph in paragraphs]
    if default is not None and not isinstance(default, dict | list):
        # kubectl explain shows no defaults by itself.
        lines[0] = f"{lines[0]}{DEFAULT}{default}."
    return "\n\n".join(filter(None, lines))


def _immutable(extras: Mapping[str, Any]) -> Iterable[Rule]:
    if message := extras.get("immutable"):
        yield Rule("self == oldSelf", message)


def _validation(rule: Rule) -> Schema:
    out = {"rule": rule.cel, "message": rule.message}
    return out | {"fieldPath": rule.field} if rule.field else out


def escaped(name: str) -> str:
    """Return a field's name as CEL takes it: its reserved words stand between underscores."""
    return f"__{name}__" if name in _CEL_RESERVED else name
