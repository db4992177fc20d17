# SPDX-License-Identifier: Apache-2.0
"""What tests of placement and redundancy on a real cluster share."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from support.site import HOSTS, ZONE, Object, Site, Space, condition, status_of
from support.waiting import PATIENCE, wait

NODES = ("node-1", "node-2")


def zone(site: Site) -> Object:
    found = site.get("zone", ZONE)
    assert found is not None
    return found


def until_zone(site: Site, reason: str) -> Object:
    """Wait until the zone, as it is now, says that of its redundancy; give it."""
    last: Object = {}

    def says() -> bool:
        nonlocal last
        last = zone(site)
        said = condition(last, "Redundant")
        generation = last["metadata"]["generation"]
        return (said.get("reason"), said.get("observedGeneration")) == (reason, generation)

    wait(says, f"the zone says {reason}")
    return last


def half(site: Site) -> int:
    """So many cores that a host has room for one such virtual machine and not for two."""
    host = site.get(HOSTS, "node-1")
    assert host is not None
    return 4 * int(host["status"]["capacity"]["cpu"]) // 2 + 1


def labelled(space: Space, name: str, label: str, **spec: Any) -> Object:
    vm = space.vm(name, **spec)
    vm["metadata"]["labels"] = {"app": label}
    return vm


def node(vm: Object) -> str:
    return str(vm["status"]["assignment"]["nodeName"])


def refused(space: Space, name: str, reason: str, *words: str) -> str:
    """Wait until the VM is refused for that reason, in these words; return the message."""
    vm = space.says(name, reason, *words)
    assert status_of(vm, "Ready") == "False"
    assert "assignment" not in vm["status"]
    return str(condition(vm, "Scheduled")["message"])


@contextmanager
def node_labels(site: Site, key: str, values: Mapping[str, str]) -> Iterator[None]:
    """Give nodes a label for a while."""
    kubectl = site.cluster.kubectl
    for name, value in values.items():
        kubectl.run("label", "node", name, f"{key}={value}", "--overwrite")
    try:
        yield
    finally:
        for name in values:
            kubectl.run("label", "node", name, f"{key}-")


def on(name: str) -> dict[str, Any]:
    """The placement of a virtual machine that must be on that node, by `named_nodes`."""
    return {"nodeSelector": {"matchLabels": {"example.com/name": name}}}


@contextmanager
def named_nodes(site: Site) -> Iterator[None]:
    """Let virtual machines choose a node by its name."""
    with node_labels(site, "example.com/name", {name: name for name in NODES}):
        yield


def export(site: Site, name: str = ZONE) -> subprocess.CompletedProcess[str]:
    """The zone as a cluster file."""
    env = os.environ | {"KUBECONFIG": str(site.cluster.control_plane.kubeconfig)}
    return tool("nopal_operator", "export-zone", name, env=env)


def tool(
    module: str, *arguments: str, env: dict[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        argv, input=stdin, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
