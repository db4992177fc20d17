# SPDX-License-Identifier: Apache-2.0
"""What roles grant and nobody uses is found in kube-apiserver's audit log."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nopal_dev.audit import AuditLog
from support import verbs
from support.verbs import Grant, unused
from support.wholerun import WholeRun

BY_CLUSTER_ROLE = (
    'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "nopal-node" to ServiceAccount "n/s"'
)
BY_ROLE = 'RBAC: allowed by RoleBinding "b/hosts" of Role "nopal-node" to ServiceAccount "n/s"'
BOUND_HERE = (
    'RBAC: allowed by RoleBinding "b/team" of ClusterRole "secrets" to ServiceAccount "n/s"'
)


def event(verb: str, plural: str, reason: str, **more: str) -> dict[str, Any]:
    decision = more.pop("decision", "allow")
    return {
        "verb": verb,
        "objectRef": {"resource": plural, **more},
        "annotations": {
            "authorization.k8s.io/decision": decision,
            "authorization.k8s.io/reason": reason,
        },
    }


def role(kind: str, name: str, *rules: tuple[str, str, list[str]], namespace: str = "") -> Any:
    return {
        "kind": kind,
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
        "rules": [
            {"apiGroups": [group], "resources": [plural], "verbs": names}
            for group, plural, names in rules
        ],
    }


def log(folder: Path, *events: dict[str, Any], file: str = "audit.log") -> AuditLog:
    folder.mkdir(exist_ok=True)
    (folder / file).write_text("".join(f"{json.dumps(each)}\n" for each in events))
    return AuditLog(folder)


@pytest.fixture(autouse=True)
def nothing_is_excused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "BY_CHANCE", {})


def test_a_verb_that_nobody_used_is_named(tmp_path: Path) -> None:
    roles = [
        role(
            "ClusterRole",
            "nopal-node",
            ("nopal.dev", "zones", ["get", "list"]),
            ("nopal.dev", "disks/status", ["patch"]),
            ("", "nodes", ["get"]),
        ),
        role(
            "Role", "nopal-node", ("coordination.k8s.io", "leases", ["update"]), namespace="hosts"
        ),
        role("ClusterRole", "secrets", ("", "secrets", ["get"])),
    ]
    events = [
        event("list", "zones", BY_CLUSTER_ROLE, apiGroup="nopal.dev"),
        event("patch", "disks", BY_CLUSTER_ROLE, apiGroup="nopal.dev", subresource="status"),
        event("get", "nodes", BY_CLUSTER_ROLE),
        event("update", "leases", BY_ROLE, apiGroup="coordination.k8s.io", namespace="hosts"),
        event("get", "secrets", BOUND_HERE, namespace="team"),
    ]
    unneeded = Grant("ClusterRole nopal-node", "get", "zones.nopal.dev")
    assert unused(roles, log(tmp_path, *events).allowed()) == [unneeded]
    found = [str(grant) for grant in unused(roles, log(tmp_path).allowed())]
    assert found == [
        "ClusterRole nopal-node: get nodes",
        "ClusterRole nopal-node: get zones.nopal.dev",
        "ClusterRole nopal-node: list zones.nopal.dev",
        "ClusterRole nopal-node: patch disks.nopal.dev/status",
        "ClusterRole secrets: get secrets",
        "Role hosts/nopal-node: update leases.coordination.k8s.io",
    ]


def test_what_another_role_allowed_or_nobody_is_not_counted(tmp_path: Path) -> None:
    roles = [role("ClusterRole", "nopal-node", ("", "nodes", ["get"]))]
    refused = event("get", "nodes", "", decision="forbid")
    elsewhere = event("get", "nodes", BY_ROLE)
    version = {"verb": "get", "annotations": refused["annotations"]}
    assert unused(roles, log(tmp_path, refused, elsewhere, version).allowed())


def test_an_excuse_is_for_what_is_granted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roles = [role("ClusterRole", "nopal-node", ("", "nodes", ["get"]))]
    excused = Grant("ClusterRole nopal-node", "get", "nodes")
    stale = Grant("ClusterRole nopal-node", "get", "pods")
    monkeypatch.setattr(verbs, "BY_CHANCE", {excused: "now and then", stale: "no more"})
    assert unused(roles, log(tmp_path).allowed()) == [stale]


def test_the_log_is_read_across_its_rotation_and_while_it_is_written(tmp_path: Path) -> None:
    log(tmp_path, event("get", "nodes", BY_ROLE), file="audit-2026-01-01T00-00-00.000.log")
    now = log(tmp_path, event("list", "nodes", BY_ROLE))
    with (tmp_path / "audit.log").open("a") as file:
        # A server that was killed amid a line, its successor's, and one on its way.
        file.write(f'{{"verb": "wat{json.dumps(event("patch", "nodes", BY_ROLE))}\n')
        file.write(f'{json.dumps(event("create", "nodes", BY_ROLE))}\n{{"ver')
    assert [request.verb for request in now.allowed()] == ["get", "list", "create"]


class TestWholeRuns:
    """Only a session that ran everything can tell that something was not needed."""

    def session(self, folder: Path, *names: str, failed: int = 0, asked: str = "tests") -> Any:
        for name in ("test_a.py", "test_b.py"):
            (folder / name).touch()
        items = [SimpleNamespace(path=folder / name, nodeid=name) for name in names]
        config = SimpleNamespace(args=[asked])
        return SimpleNamespace(items=items, config=config, testsfailed=failed)

    def ran(self, folder: Path, session: Any, *begun: str, deselected: int = 0) -> bool:
        run = WholeRun(folder)
        run.pytest_deselected(session.items[:deselected])
        run.pytest_collection_finish(session)
        for name in begun:
            run.pytest_runtest_logstart(name)
        return run.complete(session)

    def test_all_of_it(self, tmp_path: Path) -> None:
        both = ("test_a.py", "test_b.py")
        assert self.ran(tmp_path, self.session(tmp_path, *both), *both)
        assert not self.ran(tmp_path, self.session(tmp_path, *both, failed=1), *both)
        assert not self.ran(tmp_path, self.session(tmp_path, *both), *both, deselected=1)
        assert not self.ran(tmp_path, self.session(tmp_path, *both), "test_a.py")
        one = self.session(tmp_path, *both, asked="tests/test_a.py::test_one")
        assert not self.ran(tmp_path, one, *both)

    def test_a_part(self, tmp_path: Path) -> None:
        part = self.session(tmp_path, "test_a.py")
        assert not self.ran(tmp_path, part, "test_a.py")
