# SPDX-License-Identifier: Apache-2.0
"""The chart's files agree with each other and with the code; no Helm is needed for that."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nopal_api import names

CHART = Path(__file__).parents[3] / "charts" / "nopal"
TEMPLATES = sorted((CHART / "templates").glob("*"))
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
FREE = ("resources", "env", "podAnnotations", "nodeSelector", "tolerations", "imagePullSecrets")


def paths(values: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield above + name
        if isinstance(value, dict) and name not in FREE:
            yield from paths(value, f"{above}{name}.")


def schema_of(path: str) -> dict[str, Any] | None:
    node = SCHEMA
    for name in path.split("."):
        node = node.get("properties", {}).get(name)
        if node is None:
            return None
        if "$ref" in node:
            node = SCHEMA["definitions"][node["$ref"].rsplit("/", 1)[1]]
    return node


def templates() -> str:
    return "\n".join(path.read_text() for path in TEMPLATES if path.is_file())


@pytest.mark.parametrize("path", list(paths(VALUES)))
def test_every_value_has_a_schema_and_a_reader(path: str) -> None:
    found = schema_of(path)
    assert found is not None, "values.schema.json does not know it"
    whole = path.split(".")
    # Images go to a helper whole.
    readers = [".".join(whole[: n + 1]) for n in range(1 if len(whole) > 1 else 0, len(whole))]
    read = any(f".Values.{reader}" in text for reader in readers for text in [all_templates()])
    assert read, "no template reads it"


def all_templates() -> str:
    crds = (CHART / "templates" / "crds").glob("*.yaml")
    return templates() + "\n".join(path.read_text() for path in crds)


def test_every_value_that_a_template_reads_exists() -> None:
    known = set(paths(VALUES))
    for reader in set(re.findall(r"\.Values\.([A-Za-z.]+)", all_templates())):
        assert reader in known, f".Values.{reader} is not in values.yaml"


def objects(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "properties" in node:
        yield node
    for child in (*node.get("properties", {}).values(), *node.get("definitions", {}).values()):
        yield from objects(child)


def test_a_misspelt_value_is_refused() -> None:
    found = list(objects(SCHEMA))
    assert len(found) > 5
    assert all(node["additionalProperties"] is False for node in found)


def test_every_value_is_described() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    undescribed = []
    for number, line in enumerate(lines):
        value = re.match(r" *([A-Za-z]+): *\S", line)
        above = lines[number - 1].lstrip() if number else ""
        plain = ("image", "repository", "resources", "requests", "limits", "kubernetes", "env")
        if value and not above.startswith("#") and value[1] not in (*plain, *FREE, "operator"):
            undescribed.append(line.strip())
    # These say it by their names, or stand under a common comment.
    assert set(undescribed) <= {
        "imagePullPolicy: IfNotPresent",
        "priorityClassName: system-cluster-critical",
        "priorityClassName: system-node-critical",
        "uri: qemu:///system",
        "logDir: /var/log/libvirt",
        "libDir: /var/lib/libvirt",
    }


def test_the_names_are_those_of_the_code() -> None:
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    for definition, name in (
        ("nopal.namespace", names.SYSTEM_NAMESPACE),
        ("nopal.hostsNamespace", names.HOST_LEASE_NAMESPACE),
        ("nopal.finalizer", names.FINALIZER),
    ):
        body = helpers.split(f'define "{definition}"', 1)[1].split("{{- end -}}\n\n", 1)[0]
        assert f"\n{name}\n" in body, definition


def test_the_chart_is_the_distributions_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["apiVersion"] == "v2"
    assert chart["kubeVersion"] == ">=1.36.0-0"
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    assert f'version = "{chart["appVersion"]}"' in project
    assert chart["version"] == chart["appVersion"]
