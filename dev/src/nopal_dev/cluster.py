# SPDX-License-Identifier: Apache-2.0
"""A whole cluster: up, found again, down without a trace."""

import shutil
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial

from nopal_dev import proc
from nopal_dev.binaries import Binaries
from nopal_dev.ceph import Ceph
from nopal_dev.controlplane import ControlPlane
from nopal_dev.errors import DevError, UnknownClusterError
from nopal_dev.hosts import Host, machine_memory_kib
from nopal_dev.imageserver import ImageServer
from nopal_dev.kubernetes import Kubectl
from nopal_dev.network import Network
from nopal_dev.processes import Processes, kill_all
from nopal_dev.state import MARKER, State, exclusive, free_slot
from nopal_dev.workloads import Workloads


def _silent(_line: str) -> None:
    """Says nothing."""


class Cluster:
    """One cluster on this machine; made by ``up`` or ``load``."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.name = state.name
        self.folder = state.folder
        self.network = Network(state.slot)
        self.processes = Processes(
            state.folder / "processes", state.folder / "logs", marker=state.marker
        )
        self.ceph = Ceph(
            state.folder / "ceph",
            state.fsid,
            network=self.network,
            processes=self.processes,
            objectstore=state.objectstore,
        )
        self.hosts: dict[str, Host] = {
            node: Host(
                node,
                index,
                folder=state.folder / "hosts" / node,
                network=self.network,
                processes=self.processes,
            )
            for index, node in enumerate(state.hosts)
        }

    @classmethod
    def up(
        cls,
        name: str,
        *,
        hosts: int = 2,
        objectstore: str = "memstore",
        say: Callable[[str], None] = _silent,
    ) -> "Cluster":
        """Start a cluster, or find a running one and start what is missing in it.

        Args:
            name: Its name; several stand side by side.
            hosts: How many hosts; a running cluster may grow, never shrink.
            objectstore: ``memstore``, or ``bluestore`` where durability is the subject.
            say: Is told each stage and its time.
        """
        binaries = Binaries.find(say)
        with exclusive(name):
            state = cls._state(name, hosts, objectstore)
            cluster = cls(state)
            cluster.__dict__["binaries"] = binaries
            cluster.network.up()
            cluster._dhcp_up()
            stages: dict[str, Callable[[], None]] = {
                "control plane": cluster._control_plane_up,
                "Ceph": cluster._ceph_up,
                **{
                    f"host {host.name}": partial(host.up, cluster.addresses)
                    for host in cluster.hosts.values()
                },
            }
            _together(stages, say)
            _timed("nodes and keys", cluster._introduce, say)
        return cluster

    @classmethod
    def load(cls, name: str) -> "Cluster":
        """Find a cluster that was started before; raises UnknownClusterError."""
        return cls(State.load(name))

    @cached_property
    def binaries(self) -> Binaries:
        """The control plane's programs."""
        return Binaries.find()

    @cached_property
    def control_plane(self) -> ControlPlane:
        """The cluster's Kubernetes."""
        return ControlPlane(
            self.folder / "kubernetes",
            self.network,
            processes=self.processes,
            binaries=self.binaries,
        )

    @cached_property
    def workloads(self) -> Workloads:
        """The operator and the node daemons."""
        return Workloads(
            self.folder / "workloads",
            control_plane=self.control_plane,
            hosts=self.hosts,
            processes=self.processes,
            binaries=self.binaries,
        )

    @cached_property
    def image_server(self) -> ImageServer:
        """Serves image files to the hosts; not started by ``up``."""
        return ImageServer(self.folder / "images", self.network, processes=self.processes)

    @property
    def kubectl(self) -> Kubectl:
        """The cluster, as its administrator."""
        return self.control_plane.kubectl

    @property
    def addresses(self) -> dict[str, str]:
        """Host names and management addresses."""
        return {host.name: host.address for host in self.hosts.values()}

    @property
    def environment(self) -> dict[str, str]:
        """What a shell needs for kubectl, ceph and rbd to reach this cluster."""
        return {
            "NOPAL_CLUSTER": self.name,
            "KUBECONFIG": str(self.control_plane.kubeconfig),
            "CEPH_CONF": str(self.ceph.conf),
        }

    def down(self) -> None:
        """Remove every process, namespace, link and file of the cluster."""
        with exclusive(self.name, last=True):
            deadline = time.monotonic() + 90.0
            while left := self._pids():
                kill_all(left)
                if time.monotonic() > deadline:
                    raise DevError(f"cluster {self.name}: processes that do not end: {left}")
            self.network.down()
            shutil.rmtree(self.folder / "hosts", ignore_errors=True)
            self.state.remove()

    def _pids(self) -> list[int]:
        """All its processes: recorded, marked by their environment, or in its namespaces."""
        found = set(proc.with_environment(MARKER, self.state.marker[MARKER]))
        for name in self.processes.names():
            if process := self.processes.find(name):
                found.add(process.pid)
        for namespace in self.network.namespaces():
            # QEMU: libvirt gives it an environment of its own.
            found.update(proc.in_network_namespace(self.network.namespace_file(namespace)))
        return sorted(found)

    @staticmethod
    def _state(name: str, hosts: int, objectstore: str) -> State:
        nodes = tuple(f"node-{number}" for number in range(1, hosts + 1))
        try:
            state = State.load(name)
        except UnknownClusterError:
            state = State(
                name=name,
                slot=free_slot(name),
                hosts=nodes,
                fsid=str(uuid.uuid4()),
                objectstore=objectstore,
            )
            state.save()
            return state
        if len(nodes) > len(state.hosts):
            state = State(
                name=name,
                slot=state.slot,
                hosts=nodes,
                fsid=state.fsid,
                objectstore=state.objectstore,
            )
            state.save()
        return state

    def _dhcp_up(self) -> None:
        """Give guests their addresses: no name service, no route to elsewhere."""
        first, last = self.network.guest_range
        argv = [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-ping", "--port=0"),
            *("--bind-interfaces", "--except-interface=lo", "--log-dhcp", "--log-facility=-"),
            *("--dhcp-authoritative", "--dhcp-option=option:router", "--pid-file="),
            f"--interface={self.network.guest_link}",
            f"--dhcp-range={first},{last},12h",
            f"--dhcp-leasefile={self.folder / 'dhcp.leases'}",
            "--user=root",
        ]
        self.processes.start("dhcp", argv)

    def _control_plane_up(self) -> None:
        self.control_plane.up()

    def _ceph_up(self) -> None:
        self.ceph.up()

    def _introduce(self) -> None:
        """A Node for each host."""
        cpus = len(proc.cpus())
        for host in self.hosts.values():
            self.control_plane.add_node(
                host.name, host.address, cpus=cpus, memory_kib=machine_memory_kib()
            )


def _timed(what: str, stage: Callable[[], None], say: Callable[[str], None]) -> None:
    started = time.monotonic()
    stage()
    say(f"{what}: {time.monotonic() - started:.1f} s")


def _together(stages: dict[str, Callable[[], None]], say: Callable[[str], None]) -> None:
    """Run all stages at the same time; the first error of any is raised when all have ended."""
    with ThreadPoolExecutor(max_workers=len(stages)) as workers:
        running = [workers.submit(_timed, what, stage, say) for what, stage in stages.items()]
    for each in running:
        each.result()
