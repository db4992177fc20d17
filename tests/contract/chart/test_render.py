# SPDX-License-Identifier: Apache-2.0
"""What Helm makes of the chart."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nopal_api import names
from nopal_dev.binaries import Binaries

pytestmark = pytest.mark.real

CHART = Path(__file__).parents[3] / "charts" / "nopal"
Rendered = dict[tuple[str, str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def helm() -> str:
    return str(Binaries.find().helm)


def run(helm: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm, *args], capture_output=True, text=True, timeout=60, check=False)


def render(helm: str, *sets: str, namespace: str = names.SYSTEM_NAMESPACE) -> Rendered:
    flags = [flag for each in sets for flag in ("--set-json", each)]
    done = run(helm, "template", "any", str(CHART), "--namespace", namespace, *flags)
    assert done.returncode == 0, done.stderr
    found: Rendered = {}
    for body in yaml.safe_load_all(done.stdout):
        if body:
            meta = body["metadata"]
            key = (body["kind"], meta.get("namespace", ""), meta["name"])
            assert key not in found, f"{key} is there twice"
            found[key] = body
    return found


@pytest.fixture(scope="module")
def chart(helm: str) -> Rendered:
    return render(helm)


def of(chart: Rendered, kind: str) -> list[dict[str, Any]]:
    return [body for (each, _, _), body in chart.items() if each == kind]


def empty(node: Any, path: str = "") -> Iterator[str]:
    """Where a value is one that Argo CD would show as drift for ever."""
    if node is None or node == "" or node == [] or node == {}:
        yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from empty(value, f"{path}.{key}")
    if isinstance(node, list):
        for number, value in enumerate(node):
            yield from empty(value, f"{path}[{number}]")


def test_lint_is_quiet(helm: str) -> None:
    done = run(helm, "lint", "--strict", str(CHART), "--namespace", names.SYSTEM_NAMESPACE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


def test_nothing_is_empty(chart: Rendered) -> None:
    drift = {str(key): list(empty(body)) for key, body in chart.items()}
    # These mean something by being empty, and kube-apiserver keeps them: "" is the core group.
    allowed = (".subresources.status", ".emptyDir", ".apiGroups[0]")
    left = {
        key: [path for path in found if not path.endswith(allowed)] for key, found in drift.items()
    }
    assert {key: found for key, found in left.items() if found} == {}


def test_the_same_again_is_the_same(helm: str, chart: Rendered) -> None:
    assert render(helm) == chart


def test_every_object_is_labelled(chart: Rendered) -> None:
    for key, body in chart.items():
        if key[0] != "CustomResourceDefinition":
            labels = body["metadata"]["labels"]
            assert labels["app.kubernetes.io/name"] == "nopal", key
            assert labels["app.kubernetes.io/managed-by"] == "Helm", key


def test_another_namespace_is_refused_with_the_remedy(helm: str) -> None:
    done = run(helm, "template", "any", str(CHART), "--namespace", "elsewhere")
    assert done.returncode != 0
    assert "--namespace nopal-system" in done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        "operator.replicas=0",
        "oprator={}",
        'node.libvirt.uri="/run/libvirt"',
        "lease.renewSeconds=0",
        'node.env={"lower": "x"}',
        'nodeSecrets.ceph=["Not A Name"]',
    ],
)
def test_a_wrong_value_is_refused(helm: str, wrong: str) -> None:
    done = run(
        helm, "template", "any", str(CHART), "-n", names.SYSTEM_NAMESPACE, "--set-json", wrong
    )
    assert done.returncode != 0
    assert "schema" in done.stderr


class TestPolicies:
    def test_each_is_bound_and_fails_closed(self, chart: Rendered) -> None:
        for kind in ("ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"):
            policies = {body["metadata"]["name"] for body in of(chart, kind)}
            bindings = of(chart, f"{kind}Binding")
            assert policies
            assert {body["spec"]["policyName"] for body in bindings} == policies
            assert {body["spec"]["failurePolicy"] for body in of(chart, kind)} == {"Fail"}
        for body in of(chart, "ValidatingAdmissionPolicyBinding"):
            assert body["spec"] == {
                "policyName": body["metadata"]["name"],
                "validationActions": ["Deny"],
            }

    def test_every_refusal_says_why_and_is_forbidden(self, chart: Rendered) -> None:
        for body in of(chart, "ValidatingAdmissionPolicy"):
            for validation in body["spec"]["validations"]:
                assert validation.get("message") or validation.get("messageExpression")
                assert validation["reason"] == "Forbidden"


class TestRoles:
    def rules(self, chart: Rendered) -> Iterator[tuple[str, dict[str, Any]]]:
        for kind in ("ClusterRole", "Role"):
            for body in of(chart, kind):
                for rule in body["rules"]:
                    yield body["metadata"]["name"], rule

    def test_none_has_a_wildcard(self, chart: Rendered) -> None:
        for name, rule in self.rules(chart):
            for field in ("apiGroups", "resources", "verbs"):
                assert "*" not in rule[field], name

    def test_processes_escalate_nothing(self, chart: Rendered) -> None:
        dangerous = {"impersonate", "escalate", "bind", "delete", "deletecollection"}
        for name, rule in self.rules(chart):
            if name != "nopal-edit":
                assert not dangerous & set(rule["verbs"]), name
                assert not {"pods", "pods/exec", "serviceaccounts/token"} & set(rule["resources"])

    def test_secrets_are_bound_cluster_wide_by_nobody(self, chart: Rendered) -> None:
        bound = {body["roleRef"]["name"] for body in of(chart, "ClusterRoleBinding")}
        for body in of(chart, "ClusterRole"):
            secrets = any("secrets" in rule["resources"] for rule in body["rules"])
            assert not (secrets and body["metadata"]["name"] in bound)
        named = [rule for _, rule in self.rules(chart) if "secrets" in rule["resources"]]
        assert all(rule["verbs"] == ["get"] for rule in named)

    def test_the_value_opens_them(self, helm: str) -> None:
        opened = render(helm, "nodeSecrets.clusterWide=true")
        binding = opened["ClusterRoleBinding", "", "nopal-node-secrets"]
        assert binding["subjects"][0]["name"] == "nopal-node"

    def test_the_ceph_keys_by_name_only(self, helm: str, chart: Rendered) -> None:
        key = ("Role", names.SYSTEM_NAMESPACE, "nopal-node-ceph")
        assert chart[key]["rules"][0]["resourceNames"] == ["ceph"]
        assert key not in render(helm, "nodeSecrets.ceph=[]")

    def test_users_get_no_status_and_no_finalizer_subresource(self, chart: Rendered) -> None:
        for name in ("nopal-view", "nopal-edit"):
            for rule in chart["ClusterRole", "", name]["rules"]:
                assert not [each for each in rule["resources"] if "/" in each]
        assert chart["ClusterRole", "", "nopal-view"]["rules"][0]["verbs"] == [
            "get",
            "list",
            "watch",
        ]


class TestCrds:
    def test_they_come_with_the_chart_and_stay(self, chart: Rendered) -> None:
        crds = of(chart, "CustomResourceDefinition")
        assert len(crds) == 6
        for body in crds:
            assert body["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"

    def test_they_can_be_left_out(self, helm: str) -> None:
        assert of(render(helm, "crds.enabled=false"), "CustomResourceDefinition") == []


class TestWorkloads:
    def pod(self, chart: Rendered, kind: str, name: str) -> dict[str, Any]:
        body = chart[kind, names.SYSTEM_NAMESPACE, name]
        spec = body["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        pod: dict[str, Any] = spec["template"]["spec"]
        return pod

    def test_the_operator_has_no_privilege_at_all(self, chart: Rendered) -> None:
        pod = self.pod(chart, "Deployment", "nopal-operator")
        assert pod["serviceAccountName"] == "nopal-operator"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["command"] == ["python3", "-m", "nopal_operator"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "volumes"} & set(pod)

    def test_the_daemon_is_in_the_host(self, chart: Rendered) -> None:
        pod = self.pod(chart, "DaemonSet", "nopal-node")
        assert pod["serviceAccountName"] == "nopal-node"
        assert pod["hostNetwork"] is True
        assert pod["hostPID"] is True
        (container,) = pod["containers"]
        assert container["command"] == ["python3", "-m", "nopal_node"]
        assert container["securityContext"]["privileged"] is True
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/run/libvirt", "/var/log/libvirt"} <= mounts
        (name,) = [each for each in container["env"] if each["name"] == "NOPAL_NODE_NAME"]
        assert name["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}

    def test_the_settings_are_ones_that_the_processes_read(self, chart: Rendered) -> None:
        sources = {
            ("Deployment", "nopal-operator"): "operator/src/nopal_operator/settings.py",
            ("DaemonSet", "nopal-node"): "node-daemon/src/nopal_node/settings.py",
        }
        for (kind, name), path in sources.items():
            (container,) = self.pod(chart, kind, name)["containers"]
            known = (CHART.parents[1] / path).read_text()
            for each in container["env"]:
                assert f'"{each["name"]}"' in known, each["name"]

    def test_the_bounds_of_imports_reach_the_daemon(self, helm: str) -> None:
        chart = render(helm, 'node.imports={"virtualSizeGiB": 1048576, "convertSeconds": 9}')
        (container,) = self.pod(chart, "DaemonSet", "nopal-node")["containers"]
        found = {each["name"]: each.get("value") for each in container["env"]}
        assert found["NOPAL_IMPORT_DOWNLOAD_GIB"] == "64"
        assert found["NOPAL_IMPORT_VIRTUAL_GIB"] == "1048576", "not 1.048576e+06"
        assert found["NOPAL_IMPORT_DOWNLOAD_SECONDS"] == "21600"
        assert found["NOPAL_IMPORT_CONVERT_SECONDS"] == "9"

    def test_further_environment_and_the_image(self, helm: str) -> None:
        chart = render(
            helm,
            'node.env={"NOPAL_LOG_LEVEL": "DEBUG"}',
            'node.image={"repository": "registry.example/nopal-node", "tag": "1.2.3"}',
        )
        (container,) = self.pod(chart, "DaemonSet", "nopal-node")["containers"]
        assert {"name": "NOPAL_LOG_LEVEL", "value": "DEBUG"} in container["env"]
        assert container["image"] == "registry.example/nopal-node:1.2.3"

    def test_one_operator_has_no_disruption_budget(self, helm: str, chart: Rendered) -> None:
        assert of(chart, "PodDisruptionBudget")
        assert not of(render(helm, "operator.replicas=1"), "PodDisruptionBudget")
