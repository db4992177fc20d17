# SPDX-License-Identifier: Apache-2.0
"""Objects that go behind everybody's back, and those who do not see it."""

from collections.abc import Iterator
from contextlib import contextmanager

from support.parts import DAEMON, OPERATOR, Parts
from support.site import Space, condition


@contextmanager
def away(space: Space, *nodes: str, operator: bool = True) -> Iterator[None]:
    """The daemons of these nodes, and the operator, do not run; they run again afterwards."""
    workloads, parts = space.site.cluster.workloads, Parts(space.site.cluster)
    for node in nodes:
        parts.kill(DAEMON, node)
    if operator:
        workloads.stop_operator()  # in peace: then the next one need not wait for its Lease
    try:
        yield
    finally:
        for node in nodes:
            parts.start(DAEMON, node)
        if operator:
            parts.start(OPERATOR, "")


def vanish(space: Space, kind: str, name: str, namespace: str | None = None) -> None:
    """Remove an object behind everybody's back: no finalizer holds it."""
    where = space.namespace if namespace is None else namespace
    scope = ["-n", where] if where else []
    kubectl = space.site.cluster.kubectl
    nothing = '{"metadata":{"finalizers":null}}'
    kubectl.run("patch", kind, name, *scope, "--type=merge", "-p", nothing)
    kubectl.run("delete", kind, name, *scope, "--wait=false")
    # An operator that runs may have repaired the finalizer in between.
    kubectl.run("patch", kind, name, *scope, "--type=merge", "-p", nothing, check=False)
    assert space.site.get(kind, name, where) is None


def held(space: Space, node: str) -> str:
    """What the Host says of orphans; empty if it has none."""
    host = space.site.get("hosts.nopal.dev", node) or {}
    said = condition(host, "OrphansHeld")
    return str(said["message"]) if said.get("status") == "True" else ""
