# SPDX-License-Identifier: Apache-2.0
"""`down` leaves nothing, wherever `up` was killed; `up` repairs what is missing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nopal_dev import proc
from nopal_dev.cluster import Cluster
from nopal_dev.errors import UnknownClusterError
from nopal_dev.network import namespaces
from nopal_dev.processes import wait_until
from nopal_dev.state import MARKER, State, clusters, marker


@pytest.fixture
def name() -> Iterator[str]:
    own = f"dev-{os.getpid()}"
    yield own
    if own in clusters():
        Cluster.load(own).down()


def leftovers(state: State | None, name: str) -> list[str]:
    found = [f"process {pid}" for pid in proc.with_environment(MARKER, marker(name)[MARKER])]
    if state is not None:
        prefix = f"np{state.slot}-"
        found += [each for each in namespaces() if each.startswith(prefix)]
        found += [each for each in os.listdir("/sys/class/net") if each.startswith(prefix)]
        found += [str(state.folder)] if state.folder.exists() else []
        found += [
            line
            for line in Path("/proc/mounts").read_text().splitlines()
            if str(state.folder) in line
        ]
    return found


@pytest.mark.real
@pytest.mark.parametrize("stage", ["network", "hosts", "ceph", "all"])
def test_down_after_a_killed_up(name: str, stage: str) -> None:
    up = [sys.executable, "-m", "nopal_dev", "up", "--name", name, "--hosts", "1"]
    with subprocess.Popen(up, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        wait_until(f"stage {stage}", lambda: _reached(name, stage, process), timeout=100.0)
        process.send_signal(signal.SIGKILL)
    state = State.load(name)
    assert leftovers(state, name)
    Cluster.load(name).down()
    assert leftovers(state, name) == []
    with pytest.raises(UnknownClusterError):
        Cluster.load(name)


@pytest.mark.real
def test_up_repairs_what_is_missing(name: str) -> None:
    cluster = Cluster.up(name, hosts=1)
    cluster.ceph.ceph("config-key", "set", "nopal/test", "kept")
    for lost in ("kube-apiserver", "ceph-mgr.a", "node-1-libvirtd", "ceph-mon.a"):
        cluster.processes.kill(lost)
    again = Cluster.up(name, hosts=2)
    assert again.ceph.ceph("config-key", "get", "nopal/test") == "kept"
    assert sorted(again.hosts) == ["node-1", "node-2"]
    assert again.hosts["node-2"].virsh("hostname").strip() == "node-2"
    nodes = again.kubectl.get("nodes")["items"]
    assert [node["metadata"]["name"] for node in nodes] == ["node-1", "node-2"]


def _reached(name: str, stage: str, process: "subprocess.Popen[bytes]") -> bool:
    if stage == "all":
        return process.poll() == 0
    if name not in clusters():
        return False
    cluster = Cluster.load(name)
    if stage == "network":
        return bool(cluster.network.namespaces())
    if stage == "hosts":
        return cluster.processes.find("node-1-libvirtd") is not None
    if cluster.processes.find("ceph-mgr.a") is None:
        return False
    time.sleep(0.5)  # amid the OSDs
    return True
