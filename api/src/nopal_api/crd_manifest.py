# SPDX-License-Identifier: Apache-2.0
"""The CustomResourceDefinition of a kind, as kubectl and the chart install it."""

from typing import Any

import yaml

from .crd_schema import structural_schema
from .kinds import Column, Kind
from .names import CATEGORY

_HEADER = (
    "# SPDX-License-Identifier: Apache-2.0\n"
    "# Made by `make crds` from api/src/nopal_api; do not edit.\n"
)


def crd_manifest(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of one of our kinds.

    Raises:
        SchemaError: its model cannot be written as a structural schema.
        ValueError: the kind has no model.
    """
    if kind.model is None:
        raise ValueError(f"{kind} is not a kind of ours")
    schema = structural_schema(kind.model)
    standard = {
        "apiVersion": {
            "description": "Version of the schema of this object.",
            "type": "string",
        },
        "kind": {"description": "Kind of this object.", "type": "string"},
        "metadata": _metadata(kind),
    }
    schema["properties"] = standard | schema["properties"]
    version: dict[str, Any] = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in kind.columns],
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "names": {
                "categories": [CATEGORY],
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "shortNames": list(kind.short_names),
                "singular": kind.singular,
            },
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        },
    }


def crd_yaml(kind: Kind) -> str:
    """Return the text of crds/<plural>.yaml."""
    return _HEADER + _dump(crd_manifest(kind))


def chart_template(kind: Kind) -> str:
    """Return the chart's template of the CRD: under crds.enabled, kept on uninstall by crds.keep.

    Losing a CRD loses every object of its kind, so the chart keeps them unless it is told.
    """
    text = _dump(crd_manifest(kind))
    if "{{" in text:
        raise ValueError(f"{kind}: a description has {{{{, which Helm would take for a template")
    before, metadata, after = text.partition("metadata:\n")
    annotations = (
        "  {{- if .Values.crds.keep }}\n"
        "  annotations:\n"
        "    helm.sh/resource-policy: keep\n"
        "  {{- end }}\n"
    )
    body = before + metadata + annotations + after
    return f"{_HEADER}{{{{- if .Values.crds.enabled }}}}\n{body}{{{{- end }}}}\n"


def _metadata(kind: Kind) -> dict[str, Any]:
    out: dict[str, Any] = {"type": "object"}
    if kind.label_name:
        name = {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
        out["properties"] = {"name": name}
    return out


def _column(column: Column) -> dict[str, Any]:
    out: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "description": column.meaning,
        "jsonPath": column.path,
    }
    return out | {"priority": 1} if column.wide else out


class _Dumper(yaml.SafeDumper):
    """Writes lists indented below their key, as people do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _dump(manifest: dict[str, Any]) -> str:
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
