# SPDX-License-Identifier: Apache-2.0
"""The policies hold even where somebody bound far too strong a role to our ServiceAccounts."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

from nopal_api import names
from nopal_api.kinds import DISK, LEASE, NODE, VIRTUAL_MACHINE, ZONE
from support import objects
from support.admission import World, eventually
from support.cluster import NODE_ACCOUNT, OPERATOR_ACCOUNT

if TYPE_CHECKING:
    from nopal_dev.cluster import Cluster

pytestmark = pytest.mark.real

BINDING = "admission-test-too-strong"


@pytest.fixture(scope="module", autouse=True)
def everything_allowed(cluster: "Cluster", world: World) -> Iterator[None]:
    accounts = [
        f"--serviceaccount={names.SYSTEM_NAMESPACE}:{account}"
        for account in (NODE_ACCOUNT, OPERATOR_ACCOUNT)
    ]
    cluster.kubectl.run(
        "create", "clusterrolebinding", BINDING, "--clusterrole=cluster-admin", *accounts
    )
    # What nothing but that role allows tells that it has reached the server.
    patch = {"metadata": {"labels": {"admission-test": "1"}}}
    for who in (world.daemon, world.operator):
        allowed = eventually(partial(who.merge, NODE, world.here, patch=patch), ok=True)
        assert allowed.ok, allowed
    yield
    cluster.kubectl.run("delete", "clusterrolebinding", BINDING)
    gone = eventually(lambda: world.daemon.merge(NODE, world.here, patch=patch), ok=False)
    assert gone.code == 403


def test_a_daemon_changes_no_spec_of_its_own_vm(world: World) -> None:
    name = world.vm()
    patch = {"spec": {"powerState": "Stopped"}}
    answer = world.daemon.merge(VIRTUAL_MACHINE, name, world.namespace, patch=patch)
    assert answer.code == 403
    assert "nothing but the status" in answer.message


def test_a_daemon_writes_no_status_that_is_the_operators_alone(world: World) -> None:
    zone = world.make(ZONE, objects.zone())
    status = {"hosts": {"total": 9, "ready": 9}}
    answer = world.daemon.apply_status(ZONE, zone, manager=names.MANAGER_NODE, status=status)
    assert answer.code == 403
    assert "no status of this kind" in answer.message


def test_without_a_node_it_is_told_so(world: World) -> None:
    zone = world.make(ZONE, objects.zone())
    answer = world.nodeless.apply_status(ZONE, zone, manager=names.MANAGER_NODE, status={})
    assert answer.code == 403
    assert "names no node" in answer.message


def test_a_daemon_removes_no_finalizer(world: World) -> None:
    name = world.disk()
    patch = {"metadata": {"finalizers": None}}
    answer = world.daemon.merge(DISK, name, world.namespace, patch=patch)
    assert answer.code == 403
    assert "nothing but the status" in answer.message


def test_a_daemon_deletes_nothing(world: World) -> None:
    answer = world.daemon.delete(VIRTUAL_MACHINE, world.vm(), world.namespace)
    assert answer.code == 403
    assert "deletes no object" in answer.message
    answer = world.daemon.delete(DISK, "", world.namespace)
    assert answer.code == 403, "nor a whole collection"


def test_a_daemon_creates_nothing_but_its_host(world: World) -> None:
    body = objects.vm("t-daemon", namespace=world.namespace)
    answer = world.daemon.create(VIRTUAL_MACHINE, body)
    assert answer.code == 403
    assert "nothing but its Host" in answer.message


def test_a_daemon_writes_no_lease_outside_of_the_hosts(world: World) -> None:
    """Else it could end the operator's leadership, or become the leader."""
    lease = {"metadata": {"name": world.here, "namespace": names.SYSTEM_NAMESPACE}}
    answer = world.daemon.create(LEASE, lease)
    assert answer.code == 403
    assert "its own Lease" in answer.message
    mine = {"metadata": {"name": world.here, "namespace": names.HOST_LEASE_NAMESPACE}}
    world.admin.create(LEASE, mine)
    answer = world.daemon.delete(LEASE, world.here, names.HOST_LEASE_NAMESPACE)
    world.admin.delete(LEASE, world.here, names.HOST_LEASE_NAMESPACE)
    assert answer.code == 403
    assert "ValidatingAdmissionPolicy 'nopal-node-leases'" in answer.message


def test_the_operator_creates_and_deletes_nothing(world: World) -> None:
    name = world.vm()
    body = objects.vm("t-operator", namespace=world.namespace)
    for answer in (
        world.operator.create(VIRTUAL_MACHINE, body),
        world.operator.delete(VIRTUAL_MACHINE, name, world.namespace),
    ):
        assert answer.code == 403
        assert "ValidatingAdmissionPolicy 'nopal-operator'" in answer.message
