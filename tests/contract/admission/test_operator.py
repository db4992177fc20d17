# SPDX-License-Identifier: Apache-2.0
"""The operator decides by status and finalizers: spec and all else belong to the user."""

from typing import Any

import pytest

from nopal_api import names
from nopal_api.kinds import DISK, HOST, IMAGE, NETWORK, VIRTUAL_MACHINE, ZONE, Kind
from support import objects
from support.admission import World
from support.apiserver import Answer

pytestmark = pytest.mark.real

POLICY = "ValidatingAdmissionPolicy 'nopal-operator'"
NETWORK_BODY = {
    "metadata": {},
    "spec": {"zone": "z1", "type": "Bridge", "bridge": {"name": "br0"}},
}


def forbidden(answer: Answer, *words: str) -> bool:
    assert answer.code == 403, answer
    for word in words:
        assert word in answer.message, answer.message
    return True


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (VIRTUAL_MACHINE, {"powerState": "Stopped"}),
        (DISK, {"reclaimPolicy": "Retain"}),
        (IMAGE, {"allowedNamespaces": {"from": "Listed", "names": ["a"]}}),
        (NETWORK, {"bridge": {"mtu": 1400}}),
        (HOST, {"scheduling": "Disabled"}),
    ],
    ids=str,
)
def test_it_changes_no_spec(world: World, kind: Kind, change: dict[str, Any]) -> None:
    bodies = {
        VIRTUAL_MACHINE: objects.vm(namespace=world.namespace),
        DISK: objects.disk(namespace=world.namespace),
        IMAGE: objects.image(),
        NETWORK: NETWORK_BODY,
        HOST: objects.host(),
    }
    name = world.make(kind, bodies[kind])
    before = world.read(kind, name)["spec"]
    answer = world.operator.merge(kind, name, world.space(kind), patch={"spec": change})
    assert forbidden(answer, POLICY, "spec belongs to the user")
    assert world.read(kind, name)["spec"] == before


def test_a_zone_it_does_not_change_at_all(world: World) -> None:
    name = world.make(ZONE, objects.zone())
    answer = world.operator.merge(ZONE, name, patch={"spec": {"cpuOvercommitPercent": 100}})
    assert forbidden(answer)


@pytest.mark.parametrize(
    "meta", [{"labels": {"a": "b"}}, {"annotations": {"a": "b"}}], ids=lambda meta: next(iter(meta))
)
def test_it_changes_no_label_and_no_annotation(world: World, meta: dict[str, Any]) -> None:
    name = world.vm()
    answer = world.operator.merge(VIRTUAL_MACHINE, name, world.namespace, patch={"metadata": meta})
    assert forbidden(answer, POLICY, "labels")


def test_of_the_finalizers_it_touches_only_its_own(world: World) -> None:
    body = objects.vm(namespace=world.namespace)
    body["metadata"]["finalizers"] = ["example.org/backup"]
    name = world.make(VIRTUAL_MACHINE, body)
    for wrong in ([names.FINALIZER], None, ["example.org/backup", "example.org/other"]):
        patch: dict[str, Any] = {"metadata": {"finalizers": wrong}}
        answer = world.operator.merge(VIRTUAL_MACHINE, name, world.namespace, patch=patch)
        assert forbidden(answer, POLICY, "finalizer")
    for finalizers in (["example.org/backup"], ["example.org/backup", names.FINALIZER]):
        patch = {"metadata": {"finalizers": finalizers}}
        done = world.operator.merge(VIRTUAL_MACHINE, name, world.namespace, patch=patch)
        assert done.ok, done


def test_a_deletion_ends_when_it_removes_the_finalizer(world: World) -> None:
    name = world.vm()
    assert world.admin.delete(VIRTUAL_MACHINE, name, world.namespace).ok
    assert "deletionTimestamp" in world.read(VIRTUAL_MACHINE, name)["metadata"]
    patch: dict[str, Any] = {"metadata": {"finalizers": []}}
    assert world.operator.merge(VIRTUAL_MACHINE, name, world.namespace, patch=patch).ok
    assert world.admin.get(VIRTUAL_MACHINE, name, world.namespace).code == 404


def test_it_creates_and_deletes_nothing(world: World) -> None:
    name = world.vm()
    body = objects.vm("t-own", namespace=world.namespace)
    assert forbidden(world.operator.create(VIRTUAL_MACHINE, body))
    assert forbidden(world.operator.delete(VIRTUAL_MACHINE, name, world.namespace))


def test_a_users_status_is_pruned_and_the_users_role_has_no_status(world: World) -> None:
    """A user who may edit a namespace writes specs, never an assignment."""
    body = objects.vm(namespace=world.namespace)
    body["status"] = {"assignment": world.assignment()}
    assert "status" not in world.read(VIRTUAL_MACHINE, world.make(VIRTUAL_MACHINE, body))
