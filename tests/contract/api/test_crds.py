# SPDX-License-Identifier: Apache-2.0
"""The CRDs as kube-apiserver has them, and what kubectl makes of them."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
import yaml

from nopal_api.kinds import KINDS, Kind
from nopal_api.names import CATEGORY
from support.kubectl import Api
from support.manifests import good

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[3]
EXAMPLES = [
    body
    for path in sorted((ROOT / "examples").glob("*.yaml"))
    for body in yaml.safe_load_all(path.read_text())
]


def live(api: Api, kind: Kind) -> dict[str, Any]:
    got: dict[str, Any] = json.loads(
        api.kubectl("get", "crd", f"{kind.plural}.{kind.group}", "-o", "json")
    )
    return got


def lost(wanted: Any, have: Any, path: str = "") -> list[str]:
    """Return where the server does not have what was applied."""
    match wanted:
        case dict():
            keys = wanted.items()
            return [
                place
                for key, value in keys
                for place in (
                    lost(value, have[key], f"{path}.{key}") if key in have else [f"{path}.{key}"]
                )
            ]
        case list() if len(wanted) == len(have):
            pairs = enumerate(zip(wanted, have, strict=True))
            return [place for i, (a, b) in pairs for place in lost(a, b, f"{path}[{i}]")]
        case _:
            return [] if wanted == have else [path]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_crd_is_established(api: Api, kind: Kind) -> None:
    conditions = {c["type"]: c["status"] for c in live(api, kind)["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_server_keeps_every_word_of_the_crd(api: Api, kind: Kind) -> None:
    # What the server drops or rewrites, Argo CD shows as drift for ever.
    file = ROOT / "crds" / f"{kind.plural}.yaml"
    assert lost(yaml.safe_load(file.read_text())["spec"], live(api, kind)["spec"]) == []


@pytest.mark.parametrize(
    "body", EXAMPLES, ids=lambda body: f"{body['kind']}-{body['metadata']['name']}"
)
def test_the_examples_are_accepted(api: Api, body: dict[str, Any]) -> None:
    assert not api.refusal(body)


def test_a_default_is_set_for_what_was_left_out(api: Api) -> None:
    body = good("VirtualMachine", f"vm-{secrets.token_hex(3)}")
    for name in ("powerState", "restartPolicy", "shutdown"):
        del body["spec"][name]
    spec = api.make(body)["spec"]
    assert (spec["powerState"], spec["restartPolicy"]) == ("Running", "Always")
    assert spec["disks"] == body["spec"]["disks"], "nothing is added inside a list"


def test_one_get_shows_all_kinds(api: Api) -> None:
    api.kubectl("get", "zones,hosts,networks,images,disks,vms", "-n", api.namespace)
    listed = api.kubectl("api-resources", f"--categories={CATEGORY}", "-o", "name").split()
    assert sorted(listed) == sorted(f"{kind.plural}.{kind.group}" for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_columns_are_shown(api: Api, kind: Kind) -> None:
    name = f"{kind.singular[:8]}-{secrets.token_hex(3)}"
    api.make(good(kind.kind, name))
    where = (kind.plural, name, "-n", api.namespace)
    title = api.kubectl("get", *where).splitlines()[0].split()
    wide = api.kubectl("get", *where, "-o", "wide").splitlines()[0].split()
    assert title == ["NAME", *(c.name.upper() for c in kind.columns if not c.wide)]
    assert set(wide) == {"NAME", *(c.name.upper() for c in kind.columns)}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("vm", "what a user wants to run"),
        ("vm.spec.disks", "in the order in which the guest sees them"),
        ("vm.spec.disks.bootOrder", "The firmware tries 1 first"),
        ("vm.spec.restartPolicy", "Default: Always."),
        ("vm.status.assignment", "Counts the assignments"),
        ("zone.spec.pools.ceph.secretRef", "One host never uses another host's key"),
        ("disk.status.claim", "does not inherit the claim"),
    ],
)
def test_explain_reads_like_documentation(api: Api, path: str, says: str) -> None:
    text = " ".join(api.kubectl("explain", path).split())
    assert says in text
    assert "<empty>" not in text


@pytest.mark.parametrize(
    ("kind", "path", "status"),
    [
        (
            "VirtualMachine",
            "status.assignment.nodeName",
            {"assignment": {"nodeName": "n-1", "epoch": 1, "cores": 1, "memory": 1}},
        ),
        ("Disk", "status.executor.nodeName", {"executor": {"nodeName": "n-1", "epoch": 1}}),
    ],
)
def test_a_host_selects_what_is_its_own(
    api: Api, kind: str, path: str, status: dict[str, Any]
) -> None:
    names = [f"{word}-{secrets.token_hex(3)}" for word in ("mine", "free")]
    for name in names:
        api.make(good(kind, name))
    patch = json.dumps({"status": status})
    where = (kind.lower(), "-n", api.namespace)
    api.kubectl("patch", *where, names[0], "--subresource=status", "--type=merge", "-p", patch)

    def selected(value: str) -> list[str]:
        out = api.kubectl("get", *where, f"--field-selector={path}={value}", "-o", "name")
        return [line.partition("/")[2] for line in out.split()]

    assert selected("n-1") == [names[0]]
    assert names[1] in selected("")
    assert names[0] not in selected("")


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_conditions_merge_by_type(api: Api, kind: Kind) -> None:
    """Two field managers own different conditions of one object."""
    name = f"{kind.singular[:8]}-{secrets.token_hex(3)}"
    api.make(good(kind.kind, name))
    for manager, word in (("one", "Ready"), ("two", "Other")):
        condition = {"type": word, "status": "True", "reason": "Seen"}
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": name},
            "status": {"conditions": [condition]},
        }
        api.kubectl(
            *("apply", "--server-side", "--subresource=status", f"--field-manager={manager}"),
            *("-n", api.namespace, "-f", "-"),
            stdin=json.dumps(body),
        )
    got = json.loads(api.kubectl("get", kind.plural, name, "-n", api.namespace, "-o", "json"))
    assert {c["type"] for c in got["status"]["conditions"]} == {"Ready", "Other"}
