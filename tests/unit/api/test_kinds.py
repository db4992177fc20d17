# SPDX-License-Identifier: Apache-2.0
"""What all our kinds have in common: the conventions of the API, checked on every node."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nopal_api.__main__ import generated_crds, generated_reference, main
from nopal_api.base import Rule
from nopal_api.crd_manifest import chart_template, crd_manifest, crd_yaml
from nopal_api.kinds import DISK, HOST, KINDS, LEASE, NODE, VIRTUAL_MACHINE, Kind
from nopal_api.names import CATEGORY
from nopal_api.reasons import CONDITIONS
from support.manifests import good

ROOT = Path(__file__).parents[3]
Node = dict[str, Any]
# Given by kube-apiserver, with bounds of its own.
STANDARD = {"apiVersion", "kind", "metadata"}


def schema(kind: Kind) -> Node:
    node: Node = crd_manifest(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return node


def nodes(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    yield path, node
    for name, below in node.get("properties", {}).items():
        if path or name not in STANDARD:
            yield from nodes(below, f"{path}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")
    if "additionalProperties" in node:
        yield from nodes(node["additionalProperties"], f"{path}.*")


EVERY = [(kind, path, node) for kind in KINDS for path, node in nodes(schema(kind))]


def test_every_node_is_typed_and_bounded() -> None:
    wrong = []
    for kind, path, node in EVERY:
        match node.get("type"):
            case "string":
                bounded = "enum" in node or "maxLength" in node
            case "integer":
                bounded = "minimum" in node and "maximum" in node
            case "array":
                bounded = "maxItems" in node and "x-kubernetes-list-type" in node
            case "object":
                bounded = "properties" in node or "maxProperties" in node
            case _:
                bounded = False
        if not bounded:
            wrong.append(f"{kind}{path}")
    assert wrong == []


def test_every_field_is_described_in_a_sentence() -> None:
    wrong = [
        f"{kind}{path}: {node.get('description')}"
        for kind, path, node in EVERY
        if not path.endswith(("[]", ".*"))
        and not re.fullmatch(r"(?s)\S.*[.)]", node.get("description", ""))
    ]
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_no_zero_values(kind: Kind) -> None:
    """kube-apiserver drops them on writing: Argo CD would show drift for ever."""

    def zeros(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, dict):
            for key, below in value.items():
                yield from zeros(below, f"{path}.{key}")
        elif isinstance(value, list):
            for i, below in enumerate(value):
                yield from zeros(below, f"{path}[{i}]")
        if value in (0, "", [], {}, False, None):
            yield path

    found = list(zeros(crd_manifest(kind), ""))
    # subresources.status is an empty object by its definition; a minimum of 0 is kept.
    assert [p for p in found if not p.endswith((".subresources.status", ".minimum"))] == []


def test_no_default_is_inside_a_list_or_a_status() -> None:
    wrong = [
        f"{kind}{path}"
        for kind, path, node in EVERY
        if "default" in node and ("[]" in path or path.startswith(".status"))
    ]
    assert wrong == []


def test_fields_are_named_by_the_conventions() -> None:
    names = {path.rpartition(".")[2] for _, path, _ in EVERY if not path.endswith(("]", "*"))}
    names.discard("")
    assert [n for n in names if not re.fullmatch(r"[a-z][A-Za-z0-9]*", n)] == []
    assert "boolean" not in {node["type"] for _, _, node in EVERY}
    seconds = [n for n in names if re.search(r"(?i)period|timeout|interval", n)]
    assert all(n.endswith("Seconds") for n in seconds)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_conditions_are_a_list_map_by_type(kind: Kind) -> None:
    conditions = schema(kind)["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["maxItems"] == 16
    assert len(CONDITIONS[kind.kind]) <= 16


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_manifest_has_what_people_use(kind: Kind) -> None:
    spec = crd_manifest(kind)["spec"]
    version = spec["versions"][0]
    assert spec["names"]["categories"] == [CATEGORY]
    assert spec["names"]["singular"] == kind.kind.lower()
    assert "all" not in spec["names"]["categories"]
    assert version["subresources"] == {"status": {}}
    columns = version["additionalPrinterColumns"]
    assert columns[0]["name"] == "Ready"
    assert {"name": "Age"}.items() <= next(c for c in columns if c["name"] == "Age").items()
    assert {c["name"]: c.get("priority") for c in columns}["Message"] == 1


def test_names_are_used_once() -> None:
    used = [n for kind in KINDS for n in (kind.plural, kind.singular, *kind.short_names)]
    core = {"po", "no", "ns", "svc", "pv", "pvc", "cm", "ds", "deploy", "rs", "sts", "hpa", "ing"}
    assert len(used) == len(set(used))
    assert not core & set(used)


def test_a_host_selects_its_own_on_the_server() -> None:
    assert ".status.assignment.nodeName" in VIRTUAL_MACHINE.selectable
    assert ".status.executor.nodeName" in DISK.selectable


def test_only_the_host_may_go_without_a_spec() -> None:
    without = [kind for kind in KINDS if "spec" not in schema(kind).get("required", [])]
    assert without == [HOST]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_good_manifest_uses_every_field_of_the_spec(kind: Kind) -> None:
    """So that what is accepted on the real server covers the whole schema."""
    body = good(kind.kind)["spec"]
    assert kind.model is not None
    parsed = kind.model.model_validate({"spec": body}).wire()["spec"]
    known = {path for path, _ in nodes(schema(kind)["properties"]["spec"], ".spec")}

    def used(value: Any, path: str) -> Iterator[str]:
        yield path
        if isinstance(value, dict):
            for key, below in value.items():
                yield from used(below, f"{path}.{key}")
        if isinstance(value, list):
            for below in value:
                yield from used(below, f"{path}[]")

    there = set(used(body, ".spec"))
    alternatives = {".spec.cloudInit.userDataSecretRef", ".spec.allowedNamespaces.names"}
    missing = {
        p for p in known - there if not p.endswith(".*") and not p.startswith(tuple(alternatives))
    }
    missing -= {p for p in missing if p.startswith(".spec.allowedNamespaces")}
    assert missing == set()
    assert set(used(parsed, ".spec")) >= there - {p for p in there if ".matchLabels." in p}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_yaml_reads_back_as_the_manifest(kind: Kind) -> None:
    assert yaml.safe_load(crd_yaml(kind)) == crd_manifest(kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_chart_wraps_the_same_text(kind: Kind) -> None:
    lines = chart_template(kind).splitlines()
    inside = [line for line in lines if "{{" not in line]
    manifest = yaml.safe_load("\n".join(inside))
    annotations = manifest["metadata"].pop("annotations")
    assert annotations == {"helm.sh/resource-policy": "keep"}
    assert manifest == crd_manifest(kind)
    assert lines[2] == "{{- if .Values.crds.enabled }}"
    assert lines[-1] == "{{- end }}"


@pytest.mark.parametrize("what", ["crds", "reference"])
def test_the_committed_files_are_what_the_models_make(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main([what, "--check"]) == 0, capsys.readouterr().out + "differ: run `make crds`"


def test_check_sees_changed_missing_and_stale_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nopal_api.__main__.KINDS", KINDS[-1:])  # one shows it as well as all
    assert main(["crds", "--check"]) == 1
    assert main(["crds"]) == 0
    assert main(["crds", "--check"]) == 0
    stale = tmp_path / "crds" / "old.yaml"
    stale.write_text("old")
    assert main(["crds", "--check"]) == 1
    assert main(["crds"]) == 0
    assert not stale.exists()
    first = tmp_path / next(iter(dict(generated_crds())))
    first.write_text(first.read_text() + "\n")
    assert main(["crds", "--check"]) == 1


def test_the_reference_names_every_field_and_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    pages = {path.name: text for path, text in generated_reference()}
    for kind in KINDS:
        page = pages[f"{kind.singular}.md"]
        for path, _ in nodes(schema(kind)):
            field = path.removeprefix(".")
            inner = field.endswith(("[]", "*")) or "conditions[]" in field
            assert not field or inner or f"`{field}`" in page or field in ("spec", "status")
        for condition in CONDITIONS[kind.kind]:
            assert f"### {condition.type}\n" in page


def test_other_kinds_have_no_crd() -> None:
    for kind in (NODE, LEASE):
        with pytest.raises(ValueError, match="not a kind of ours"):
            crd_manifest(kind)
    assert (NODE.api_version, LEASE.api_version) == ("v1", "coordination.k8s.io/v1")


def test_rules_say_something() -> None:
    rules = [
        Rule(rule["rule"], rule["message"])
        for _, _, node in EVERY
        for rule in node.get("x-kubernetes-validations", ())
    ]
    assert rules
    assert [r for r in rules if not r.message or r.message.endswith(".")] == []
