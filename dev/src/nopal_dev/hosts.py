# SPDX-License-Identifier: Apache-2.0
"""Hosts: each a network, mount and UTS namespace with its own virtlogd and libvirtd.

What runs in such a host sees its own /run/libvirt, /etc/libvirt and so on, its own network and its
own host name, exactly as the node DaemonSet sees a node. Processes and /proc are shared.
"""

import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from nopal_dev import proc
from nopal_dev.commands import run
from nopal_dev.errors import CommandError, DevError
from nopal_dev.holder import private
from nopal_dev.network import Network
from nopal_dev.processes import Process, Processes, kill_all

_LIBVIRTD_CONF = """\
# A migration between two hosts with the same UUID is refused.
host_uuid = "{uuid}"
unix_sock_group = "root"
auth_unix_ro = "none"
auth_unix_rw = "none"
# No authentication: for a cluster on one machine only.
listen_tls = 0
listen_tcp = 1
listen_addr = "{address}"
auth_tcp = "none"
"""

_QEMU_CONF = """\
security_driver = "none"
user = "root"
group = "root"
namespaces = []
cgroup_controllers = []
remember_owner = 0
"""

_LOG_PLACES = (
    ("./devices/serial/log", "file"),
    ("./devices/console/log", "file"),
    ("./devices/serial[@type='file']/source", "path"),
)


class Host:
    """One host of a cluster.

    Args:
        name: Its node name, and its host name.
        index: From 0; its addresses follow from it.
        folder: All its files.
        network: The cluster's network.
        processes: Where its daemons are recorded.
    """

    def __init__(
        self, name: str, index: int, *, folder: Path, network: Network, processes: Processes
    ) -> None:
        self.name = name
        self.index = index
        self.address = network.host_address(index)
        self.folder = folder
        self._network = network
        self._processes = processes

    @property
    def namespace(self) -> str:
        """The name of its network namespace."""
        return self._network.host_namespace(self.name)

    @property
    def uri(self) -> str:
        """The libvirt URI by which it is reached from outside."""
        return f"qemu+tcp://{self.address}/system"

    def up(self, neighbours: Mapping[str, str]) -> None:
        """Start what does not run and wait until libvirt answers.

        Args:
            neighbours: Host names and addresses, for /etc/hosts.
        """
        self._network.connect(self.name, self.index)
        self._configure(neighbours)
        self._hold()
        self.start_libvirtd()
        self._warm_up()

    def argv(self, *command: str) -> list[str]:
        """A command as it must be run to run inside this host."""
        holder = self._processes.find(self._named("holder"))
        if holder is None:
            raise DevError(f"host {self.name} is not up")
        target = f"--target={holder.pid}"
        return ["nsenter", target, "--net", "--mount", "--uts", "--", *command]

    def run(self, *command: str, timeout: float = 60.0, check: bool = True) -> str:
        """Run a short command inside this host and give its output."""
        return run(self.argv(*command), timeout=timeout, check=check)

    def start(
        self, daemon: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a daemon inside this host; it is recorded as ``NODE-DAEMON``."""
        return self._processes.start(self._named(daemon), self.argv(*argv), env=env)

    def start_libvirtd(self, *, timeout: float = 180.0) -> None:
        """Start virtlogd and libvirtd if they do not run, and wait until libvirt answers."""
        run_dir = private(self.folder, "/run/libvirt")
        self.start("virtlogd", ["virtlogd", "-p", "/run/libvirt/virtlogd.pid"])
        self._processes.wait(
            self._named("virtlogd"), (run_dir / "virtlogd-sock").exists, timeout=timeout
        )
        self.start("libvirtd", ["libvirtd", "--listen", "-p", "/run/libvirt/libvirtd.pid"])
        self._processes.wait(self._named("libvirtd"), self.libvirt_answers, timeout=timeout)

    def libvirt_answers(self) -> bool:
        """Whether libvirtd answers; one that takes too long does not."""
        try:
            return bool(run(["virsh", "-q", "-c", self.uri, "uri"], timeout=20.0))
        except CommandError:
            return False

    def kill_libvirtd(self) -> None:
        """``kill -9`` libvirtd; the guests run on."""
        self._processes.kill(self._named("libvirtd"))

    def stop_libvirtd(self) -> None:
        """End libvirtd in peace; the guests run on."""
        self._processes.stop(self._named("libvirtd"), grace=10.0)

    def virsh(self, *args: str, timeout: float = 60.0, check: bool = True) -> str:
        """Run virsh against this host's libvirt."""
        return run(["virsh", "-q", "-c", self.uri, *args], timeout=timeout, check=check)

    def qemu_pids(self) -> list[int]:
        """The QEMU processes of this host."""
        found = proc.in_network_namespace(self._network.namespace_file(self.namespace))
        return sorted(
            pid
            for pid in found
            if "-name" in (line := proc.command_line(pid)) and "qemu-system" in line[0]
        )

    def console_log(self, domain: str) -> Path | None:
        """Where the serial console of a domain (UUID or name) is logged; None when it is not.

        The path is one of the machine's: it leads through the host's mount namespace.
        """
        text = self.virsh("dumpxml", domain, check=False)
        holder = self._processes.find(self._named("holder"))
        if not text or holder is None:
            return None
        devices = ElementTree.fromstring(text)  # noqa: S314 - libvirt's own words
        for query, attribute in _LOG_PLACES:
            found = devices.find(query)
            if found is not None and (path := found.get(attribute)):
                return Path(f"/proc/{holder.pid}/root{path}")
        return None

    def power_off(self) -> None:
        """Cut the power: ``kill -9`` everything in this host at once, guests included."""
        kill_all(proc.in_network_namespace(self._network.namespace_file(self.namespace)))

    def _named(self, daemon: str) -> str:
        return f"{self.name}-{daemon}"

    def _configure(self, neighbours: Mapping[str, str]) -> None:
        etc = private(self.folder, "/etc/libvirt")
        etc.mkdir(parents=True, exist_ok=True)
        identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.folder}/{self.namespace}")
        (etc / "libvirtd.conf").write_text(
            _LIBVIRTD_CONF.format(uuid=identity, address=self.address)
        )
        (etc / "qemu.conf").write_text(_QEMU_CONF)
        (etc / "virtlogd.conf").touch()
        lines = ["127.0.0.1 localhost", *(f"{ip} {name}" for name, ip in neighbours.items())]
        private(self.folder, "/etc/hosts").write_text("\n".join(lines) + "\n")
        private(self.folder, "/etc/hostname").write_text(f"{self.name}\n")

    def _hold(self) -> None:
        name = self._named("holder")
        if self._processes.find(name) is not None:
            return
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        enter = ["ip", "netns", "exec", self.namespace]
        unshare = ["unshare", "--mount", "--uts", "--propagation", "private", "--"]
        holder = [sys.executable, "-m", "nopal_dev.holder", str(self.folder), self.name]
        source = str(Path(__file__).parents[1])
        self._processes.start(name, [*enter, *unshare, *holder], env={"PYTHONPATH": source})
        self._processes.wait(name, ready.exists, timeout=120.0)

    def _warm_up(self) -> None:
        """Let libvirt ask QEMU what it can do: seconds of work that would else slow a first VM."""
        self.virsh("domcapabilities", "--virttype", "qemu", timeout=120.0)


def machine_memory_kib() -> int:
    """The memory of the machine, in KiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
