# SPDX-License-Identifier: Apache-2.0
"""The processes that Nopal consists of or stands on: killed, started again, and looked for."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nopal_dev import proc
from nopal_dev.cluster import Cluster
from support.site import Site
from support.waiting import wait

OPERATOR, DAEMON, LIBVIRTD, APISERVER = "operator", "daemon", "libvirtd", "apiserver"
PARTS = (OPERATOR, DAEMON, LIBVIRTD, APISERVER)


@dataclass(frozen=True)
class Parts:
    """Kills parts of one cluster with `kill -9` and starts them again, as a kubelet or systemd."""

    cluster: Cluster

    def kill(self, part: str, node: str) -> None:
        """`kill -9`; the node matters where each has its own."""
        match part:
            case "operator":
                self.cluster.workloads.kill_operator()
            case "daemon":
                self.cluster.workloads.kill_daemon(node)
            case "libvirtd":
                self.cluster.hosts[node].kill_libvirtd()
            case _:
                self.cluster.control_plane.kill("kube-apiserver")

    def start(self, part: str, node: str) -> None:
        """Start it with what it had, and wait until it answers where others ask it."""
        match part:
            case "operator":
                self.cluster.workloads.restart_operator()
            case "daemon":
                self.cluster.workloads.restart_daemon(node)
            case "libvirtd":
                self.cluster.hosts[node].start_libvirtd()
            case _:
                self.cluster.control_plane.start("kube-apiserver")
                self.cluster.control_plane.wait()

    def mend(self) -> list[str]:
        """Start what does not run, and name it."""
        missing = [name for name, pid in self.pids().items() if pid is None]
        if not missing:
            return []
        if self.cluster.processes.find("kube-apiserver") is None:
            self.start(APISERVER, "")
        for node, host in self.cluster.hosts.items():
            host.start_libvirtd()
            if f"{node}-daemon" in missing:
                self.start(DAEMON, node)
        if OPERATOR in missing:
            self.start(OPERATOR, "")
        return missing

    @contextmanager
    def kubelet(self) -> Iterator[None]:
        """Start the operator again whenever it ends, as its kubelet would.

        One that could not renew its Lease for two thirds of its time must end, for another one may
        lead: a kube-apiserver that comes back slowly brings that about.
        """
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(0.5):
                if self.cluster.processes.find(OPERATOR) is None:
                    self.cluster.workloads.restart_operator()

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def name(self, part: str, node: str) -> str:
        """The name under which the process is recorded."""
        return {OPERATOR: OPERATOR, APISERVER: "kube-apiserver"}.get(part, f"{node}-{part}")

    def pids(self) -> dict[str, int | None]:
        """The process of each part by its recorded name; None where it does not run."""
        names = [OPERATOR, "kube-apiserver"]
        names += [f"{node}-{part}" for node in self.cluster.hosts for part in (DAEMON, LIBVIRTD)]
        found = {name: self.cluster.processes.find(name) for name in names}
        return {name: each.pid if each else None for name, each in found.items()}


def qemus(uid: str) -> set[int]:
    """The QEMU processes of a VM on any host, those included that no libvirt knows."""
    found = set()
    for pid in proc.pids():
        line = proc.command_line(pid)
        if line and "qemu-system" in line[0] and uid in line and proc.start_time(pid):
            found.add(pid)
    return found


@contextmanager
def never_twice(uid: str) -> Iterator[None]:
    """Look all the time whether the VM has two QEMU processes; fail at the end if it ever had."""
    ended, twice = threading.Event(), list[set[int]]()

    def look() -> None:
        while not ended.wait(0.1):
            if len(found := qemus(uid)) > 1:
                twice.append(found)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert not twice, f"two QEMU processes of {uid} at the same time: {twice}"


def traces(site: Site, uid: str) -> dict[str, list[str]]:
    """What is left of a VM on any host and in the pool: processes, domains, files, secrets."""
    found = {"qemu": [str(pid) for pid in qemus(uid)]}
    found["images"] = [name for name in site.images() if uid in name]
    for node, host in site.cluster.hosts.items():
        folders = ("/run/libvirt", "/var/log/libvirt", "/var/lib/libvirt", "/etc/libvirt")
        # libvirt shortens a domain's name where it names folders.
        files = host.run("find", *folders, "-name", f"*{uid[:8]}*", check=False)
        found[f"{node} files"] = files.split()
        secrets = host.virsh("secret-list").splitlines()
        found[f"{node} secrets"] = [line for line in secrets if uid in line]
        found[f"{node} domains"] = [u for u in host.virsh("list", "--uuid").split() if u == uid]
    return {what: left for what, left in found.items() if left}


def taps(site: Site) -> set[tuple[str, str]]:
    """The guests' taps of all hosts."""
    found = set()
    for node, host in site.cluster.hosts.items():
        names = host.run("ls", "/sys/class/net").split()
        found |= {(node, name) for name in names if name.startswith(("vnet", "tap"))}
    return found


def soon(true: Callable[[], bool], what: str) -> None:
    """Wait for a moment that passes quickly: look as often as it goes."""
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        if true():
            return
        time.sleep(0.01)
    wait(true, what)
