# SPDX-License-Identifier: Apache-2.0
"""Two nodes without a host, a namespace, and the daemons' real node-bound tokens."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from nopal_api import names
from nopal_api.kinds import DISK, HOST, IMAGE, LEASE, NETWORK, NODE, VIRTUAL_MACHINE, ZONE, Kind
from support import objects
from support.admission import World, until
from support.apiserver import Answer
from support.cluster import NODE_ACCOUNT, OPERATOR_ACCOUNT, as_account, as_admin

if TYPE_CHECKING:
    from nopal_dev.cluster import Cluster


@pytest.fixture(scope="session")
def world(cluster: "Cluster") -> Iterator[World]:
    admin = as_admin(cluster)
    mark = uuid4().hex[:8]
    here, there, namespace = f"here-{mark}", f"there-{mark}", f"admission-{mark}"
    for number, node in enumerate((here, there), 1):
        cluster.control_plane.add_node(node, f"192.0.2.{number}", cpus=1, memory_kib=2**20)
    cluster.kubectl.run("create", "namespace", namespace)
    world = World(
        admin=admin,
        operator=as_account(cluster, OPERATOR_ACCOUNT),
        daemon=as_account(cluster, NODE_ACCOUNT, node=here),
        neighbour=as_account(cluster, NODE_ACCOUNT, node=there),
        nodeless=as_account(cluster, NODE_ACCOUNT),
        here=here,
        there=there,
        namespace=namespace,
    )
    _await_policies(world)
    yield world
    _remove_all(cluster, world)
    for lease in (here, there):
        admin.delete(LEASE, lease, names.HOST_LEASE_NAMESPACE)
    for node in (here, there):
        admin.delete(NODE, node)
    cluster.kubectl.run("delete", "namespace", namespace, "--wait=false")


def _await_policies(world: World) -> None:
    """Policies act about a second after they were made: wait for an answer of each."""
    vm, disk, image = world.vm(), world.disk(), world.image()
    admin, neighbour, operator = (
        replace(who, dry=True) for who in (world.admin, world.neighbour, world.operator)
    )
    # No role lets a daemon go so far that this policy alone stops it.
    daemon = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:{NODE_ACCOUNT}"
    mighty = replace(admin, acting_as=daemon)
    labels = {"metadata": {"labels": {"admission-test": "1"}}}
    lease = {"metadata": {"name": world.here, "namespace": names.HOST_LEASE_NAMESPACE}}

    def report(kind: Kind, name: str, **status: object) -> Answer:
        return neighbour.apply_status(
            kind, name, world.space(kind), manager=names.MANAGER_NODE, status=status
        )

    refused: dict[str, Callable[[], Answer]] = {
        "nopal-node": lambda: mighty.create(ZONE, objects.zone()),
        "nopal-node-virtualmachines": lambda: report(VIRTUAL_MACHINE, vm, power="Running"),
        "nopal-node-disks": lambda: report(DISK, disk, size="1"),
        "nopal-node-images": lambda: report(IMAGE, image, observedGeneration=1),
        "nopal-node-hosts": lambda: neighbour.create(HOST, objects.host(world.here)),
        "nopal-node-leases": lambda: neighbour.create(LEASE, lease),
        "nopal-operator": lambda: operator.merge(
            VIRTUAL_MACHINE, vm, world.namespace, patch=labels
        ),
    }
    for policy, ask in refused.items():
        says = partial(_says, f"ValidatingAdmissionPolicy '{policy}'")
        answer = until(ask, says)
        assert says(answer), (policy, answer)
    body = objects.vm("t-any", namespace=world.namespace)
    made = until(lambda: admin.create(VIRTUAL_MACHINE, body), _has_finalizer)
    assert _has_finalizer(made), made


def _says(words: str, answer: Answer) -> bool:
    return words in answer.message


def _has_finalizer(made: Answer) -> bool:
    return made.ok and names.FINALIZER in made.body["metadata"].get("finalizers", [])


def _remove_all(cluster: "Cluster", world: World) -> None:
    for kind in (VIRTUAL_MACHINE, DISK, IMAGE, NETWORK, HOST, ZONE):
        space = ["-n", world.namespace] if kind.namespaced else []
        listed = cluster.kubectl.get(f"{kind.plural}.{kind.group}", *space)
        for item in (listed or {"items": []})["items"]:
            name = item["metadata"]["name"]
            if name.startswith("t-") or name in (world.here, world.there):
                where = world.space(kind)
                world.admin.delete(kind, name, where)
                world.admin.merge(kind, name, where, patch={"metadata": {"finalizers": None}})
