# SPDX-License-Identifier: Apache-2.0
"""The reference for users: a page for each kind, made from its schema."""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from .base import Bytes, DnsLabel, ObjectName, Quantity
from .crd_manifest import crd_manifest
from .crd_schema import DEFAULT
from .kinds import KINDS, Kind
from .reasons import COMMON, CONDITIONS, ConditionType


def _pattern(string: Any) -> str:
    return str(TypeAdapter(string).json_schema()["pattern"])


_PATTERNS = {
    _pattern(DnsLabel): "DNS label",
    _pattern(ObjectName): "DNS name",
    _pattern(Quantity): "quantity",
    _pattern(Bytes): "quantity",
}
_MADE = "<!-- Made by `make crds` from api/src/nopal_api; do not edit. -->\n"


def index_page() -> str:
    """Return the page that lists the kinds."""
    rows = [
        f"| [{kind}]({kind.singular}.md) | {'namespace' if kind.namespaced else 'cluster'} |"
        f" {', '.join(f'`{name}`' for name in (kind.plural, *kind.short_names))} |"
        f" {_first_sentence(kind)} |"
        for kind in KINDS
    ]
    return "\n".join(
        (
            _MADE,
            "# Reference\n",
            f"The kinds of `{KINDS[0].api_version}`. `kubectl get nopal` shows all of them;"
            " `kubectl explain vm.spec.disks` shows these texts in the terminal.\n",
            "| Kind | Scope | Names for kubectl | What it is |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "## Reasons of any condition\n",
            "| Reason | Meaning |",
            "| --- | --- |",
            *(f"| `{reason.name}` | {_cell(reason.meaning)} |" for reason in COMMON),
            "",
        )
    )


def kind_page(kind: Kind, *, example: str) -> str:
    """Return the page of one kind.

    Args:
        kind: one of ours.
        example: a manifest, YAML.
    """
    version = crd_manifest(kind)["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    scope = "lives in a namespace" if kind.namespaced else "belongs to the cluster"
    names = ", ".join(f"`{name}`" for name in (kind.plural, kind.singular, *kind.short_names))
    parts = [
        _MADE,
        f"# {kind}\n",
        f"{schema['description']}\n",
        f"`{kind.api_version}`; it {scope}. Names for kubectl: {names}.\n",
    ]
    if kind.label_name:
        parts.append("Its name is a DNS label of at most 63 characters.\n")
    parts += ["## Example\n", f"```yaml\n{example.strip()}\n```\n"]
    for part in ("spec", "status"):
        node = schema["properties"][part]
        parts += [f"## {part}\n", f"{node['description']}\n", *_table(node, part)]
        if rules := dict.fromkeys(_rules(node, part)):
            parts += ["### Rules\n", "kube-apiserver refuses an object that breaks one:\n"]
            parts += [*rules, ""]
    parts += ["## Conditions\n", *_conditions(CONDITIONS[kind.kind])]
    parts += ["## kubectl\n", "Columns of `kubectl get` (in italics with `-o wide` only):\n"]
    for column in kind.columns:
        name = f"*{column.name}*" if column.wide else column.name
        parts.append(f"- {name}: {column.meaning}.")
    parts.append("")
    if kind.selectable:
        fields = ", ".join(f"`{path.removeprefix('.')}`" for path in kind.selectable)
        parts.append(f"Fields for `--field-selector`: {fields}.\n")
    return "\n".join(parts)


def _first_sentence(kind: Kind) -> str:
    text = (kind.model.__doc__ if kind.model else None) or ""
    return " ".join(text.split("\n\n")[0].split())


def _table(node: dict[str, Any], path: str) -> Iterator[str]:
    yield "| Field | Type | Default | Bounds | Meaning |"
    yield "| --- | --- | --- | --- | --- |"
    yield from _rows(node, path)
    yield ""


def _rows(node: dict[str, Any], path: str) -> Iterator[str]:
    for name, field in node.get("properties", {}).items():
        place = f"{path}.{name}"
        if place == "status.conditions":
            meaning = f"{_cell(field['description'])} See [Conditions](#conditions)."
            yield f"| `{place}` | list | | | {meaning} |"
            continue
        must = ", required" if name in node.get("required", ()) and path != "status" else ""
        text, _, default = _cell(field["description"]).partition(DEFAULT)
        default = f"`{default.removesuffix('.')}`" if default else ""
        yield f"| `{place}` | {_type(field)}{must} | {default} | {_bounds(field)} | {text} |"
        inner = field
        if field["type"] == "array":
            inner, place = field["items"], f"{place}[]"
        yield from _rows(inner, place)


def _type(field: dict[str, Any]) -> str:
    match field["type"]:
        case "array":
            return f"list of {_type(field['items'])}s"
        case "object":
            values = field.get("additionalProperties")
            return f"map of {_type(values)}s" if values else "object"
        case kind:
            return str(kind)


def _bounds(field: dict[str, Any]) -> str:
    inner = ""
    if field["type"] == "array" and "properties" not in field["items"]:
        inner = f"each {_bounds(field['items'])}"
    elif "additionalProperties" in field:
        inner = f"each value {_bounds(field['additionalProperties'])}"
    out = []
    if "enum" in field:
        out.append(", ".join(f"`{value}`" for value in field["enum"]))
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minProperties", "maxProperties", " entries"),
    ):
        if high in field:
            smallest, largest = field.get(low), _number(field[high])
            span = f"{smallest} to {largest}" if smallest is not None else f"at most {largest}"
            out.append(f"{largest}{unit}" if smallest == field[high] else f"{span}{unit}")
    if "pattern" in field:
        out.append(_PATTERNS.get(field["pattern"]) or f"`{_cell(field['pattern'])}`")
    if field.get("format") == "date-time":
        out.append("RFC 3339")
    if inner:
        out.append(inner)
    return "; ".join(out)


def _number(value: int) -> str:
    return "2^53" if value == 2**53 else str(value)


def _rules(node: dict[str, Any], path: str) -> Iterator[str]:
    for rule in node.get("x-kubernetes-validations", ()):
        yield f"- `{path}{rule.get('fieldPath', '')}`: {rule['message']}."
    for name, field in node.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}")
    if node["type"] == "array":
        yield from _rules(node["items"], f"{path}[]")


def _conditions(conditions: tuple[ConditionType, ...]) -> Iterator[str]:
    for condition in conditions:
        yield f"### {condition.type}\n"
        yield f"{condition.meaning}\n"
        if not condition.reasons:
            continue
        yield "| Reason | Status | Meaning |"
        yield "| --- | --- | --- |"
        for reason in condition.reasons:
            yield f"| `{reason.name}` | {reason.status} | {_cell(reason.meaning)} |"
        yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
