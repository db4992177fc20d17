# SPDX-License-Identifier: Apache-2.0
"""`down` leaves nothing, wherever `up` was killed; `up` repairs what is missing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from nopal_dev import proc
from nopal_dev.cluster import Cluster
from nopal_dev.errors import UnknownClusterError
from nopal_dev.network import namespaces
from nopal_dev.processes import wait_until
from nopal_dev.state import MARKER, State, clusters, marker
from support.waiting import PATIENCE

DEMO = """
import os, sys, time
from nopal_dev.cluster import Cluster
from nopal_dev.state import marker
from support.site import SETTINGS, Site, Space
os.environ.update(marker(sys.argv[1]))
cluster = Cluster.up(sys.argv[1], hosts=1)
cluster.workloads.install()
cluster.workloads.put_keys(cluster.ceph)
cluster.workloads.start(SETTINGS, supervised=True)
site = Site(cluster)
site.start()
space = Space(site, "default")
site.apply(site.image("counter"), space.disk("root"), space.vm("vm1", "root"))
space.running("vm1")
print("running", flush=True)
time.sleep(600)
"""
"""As `make demo` does it, with a guest of 512 bytes."""

INTERRUPTIBLE = """
import signal
from nopal_dev.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
raise SystemExit(main())
"""
"""Our own command line, where this session may have been started to ignore Ctrl-C."""


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


def inhabitants(cluster: Cluster) -> dict[int, int]:
    """Every process of the cluster, the guests' among them, and when it started."""
    pids = proc.with_environment(MARKER, marker(cluster.name)[MARKER])
    for namespace in cluster.network.namespaces():
        pids += proc.in_network_namespace(cluster.network.namespace_file(namespace))
    # One that has ended since it was listed is none.
    return {pid: started for pid in pids if (started := proc.start_time(pid)) is not None}


def gone_without_a_trace(name: str) -> None:
    """Take the cluster down, and see that it had something and has nothing."""
    cluster = Cluster.load(name)
    before = inhabitants(cluster)
    assert leftovers(cluster.state, name)
    cluster.down()
    assert leftovers(cluster.state, name) == []
    assert [pid for pid, started in before.items() if proc.start_time(pid) == started] == []
    with pytest.raises(UnknownClusterError):
        Cluster.load(name)


@pytest.mark.real
@pytest.mark.parametrize("stage", ["network", "hosts", "ceph", "all"])
def test_down_after_a_killed_up(name: str, stage: str) -> None:
    up = [sys.executable, "-m", "nopal_dev", "up", "--name", name, "--hosts", "1"]
    with subprocess.Popen(up, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        wait_until(f"stage {stage}", lambda: _reached(name, stage, process), timeout=PATIENCE)
        process.send_signal(signal.SIGKILL)
    gone_without_a_trace(name)


@pytest.mark.real
def test_down_after_ctrl_c(name: str) -> None:
    up = [sys.executable, "-c", INTERRUPTIBLE, "up", "--name", name, "--hosts", "1"]
    with subprocess.Popen(up, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        wait_until("a host starts", lambda: _reached(name, "hosts", process), timeout=PATIENCE)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 130
    gone_without_a_trace(name)


@pytest.mark.real
def test_down_after_a_killed_demo(name: str) -> None:
    """A guest runs, and a supervisor is about to start again what has ended."""
    demo = [sys.executable, "-c", DEMO, name]
    path = {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        demo, stdout=subprocess.PIPE, env={**os.environ, **path}, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        process.send_signal(signal.SIGKILL)
    cluster = Cluster.load(name)
    (guest,) = cluster.hosts["node-1"].qemu_pids()
    assert guest in inhabitants(cluster)
    cluster.workloads.kill_operator()
    again = partial(cluster.processes.find, "operator")
    wait_until("the supervisor starts it again", lambda: again() is not None, timeout=PATIENCE)
    cluster.workloads.kill_daemon("node-1")
    gone_without_a_trace(name)


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
