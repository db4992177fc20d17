# SPDX-License-Identifier: Apache-2.0
"""Two nodes without a host, a namespace, and the daemons' real node-bound tokens."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from nopal_api import names
from nopal_api.kinds import DISK, HOST, IMAGE, LEASE, NETWORK, NODE, VIRTUAL_MACHINE, ZONE
from support.admission import World, eventually
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
    """Policies act about a second after they were made."""
    name = world.vm()
    there = {"power": "Running"}
    eventually(
        lambda: world.neighbour.apply_status(
            VIRTUAL_MACHINE, name, world.namespace, manager=names.MANAGER_NODE, status=there
        ),
        ok=False,
    )


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
