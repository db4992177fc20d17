# SPDX-License-Identifier: Apache-2.0
"""etcd, kube-apiserver and kube-controller-manager, and a Node object for each host."""

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from nopal_dev.audit import AuditLog
from nopal_dev.binaries import Binaries
from nopal_dev.certs import Certificates
from nopal_dev.kubernetes import Kubectl, write_kubeconfig
from nopal_dev.network import Network
from nopal_dev.processes import Processes, listening

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager")

# No kubelet renews the Nodes: the lifecycle controllers would call them dead after 50 s.
_CONTROLLERS = "*,-node-lifecycle-controller,-taint-eviction-controller,-node-ipam-controller"
_START_SECONDS = 180.0


class ControlPlane:
    """The Kubernetes of one cluster.

    Args:
        folder: Where certificates, etcd's data and kubeconfig files lie.
        network: The addresses to listen on.
        processes: Where the daemons are recorded.
        binaries: The programs.
    """

    def __init__(
        self, folder: Path, network: Network, *, processes: Processes, binaries: Binaries
    ) -> None:
        self._folder = folder
        self._network = network
        self._processes = processes
        self._binaries = binaries
        self.certificates = Certificates(folder / "certs")
        self.kubeconfig = folder / "admin.kubeconfig"
        self.audit = AuditLog(folder / "audit")

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{self._network.address}:6443"

    @property
    def kubectl(self) -> Kubectl:
        """The cluster, as its administrator."""
        return Kubectl(self._binaries.kubectl, self.kubeconfig)

    def up(self) -> None:
        """Start what does not run and wait until all is ready."""
        self.certificates.make([self._network.address, "127.0.0.1", "10.96.0.1"])
        certificates = self.certificates
        for name, path in (
            ("admin", self.kubeconfig),
            ("controller-manager", self._folder / "controller-manager.kubeconfig"),
        ):
            write_kubeconfig(
                path,
                server=self.server,
                authority=certificates.authority,
                user={
                    "client-certificate": str(certificates.certificate(name)),
                    "client-key": str(certificates.key(name)),
                },
            )
        for component in COMPONENTS:
            self.start(component)
        self.wait()

    def start(self, component: str) -> None:
        """Start one of COMPONENTS with the flags it always has; one that runs is kept."""
        # Each ends, and nobody starts it again, where what it stands on does not answer it: the API
        # server after 20 s without etcd, the controller manager after 10 s without API server.
        if component == "kube-apiserver":
            self._processes.wait("etcd", self._etcd_listens, timeout=_START_SECONDS)
        if component == "kube-controller-manager":
            self.wait()
        argv = {
            "etcd": self._etcd,
            "kube-apiserver": self._apiserver,
            "kube-controller-manager": self._controller_manager,
        }[component]()
        self._processes.start(component, argv)

    def stop(self, component: str) -> None:
        """End one of COMPONENTS; the API server gets 3 s, for with open watches it takes 60."""
        self._processes.stop(component, grace=3.0)

    def kill(self, component: str) -> None:
        """``kill -9`` one of COMPONENTS."""
        self._processes.kill(component)

    def restart(self, component: str) -> None:
        """``kill -9`` one of COMPONENTS, start it again and wait until all is ready."""
        self.kill(component)
        self.start(component)
        self.wait()

    def wait(self, timeout: float = _START_SECONDS) -> None:
        """Wait until the API server says that it is ready; raises NotReadyError."""
        self._processes.wait("kube-apiserver", self.ready, timeout=timeout)

    def ready(self) -> bool:
        """Whether the API server's /readyz says ok now."""
        context = ssl.create_default_context(cafile=str(self.certificates.authority))
        try:
            with urllib.request.urlopen(  # noqa: S310 - our own https address
                f"{self.server}/readyz", timeout=2.0, context=context
            ) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def add_node(self, name: str, address: str, *, cpus: int, memory_kib: int) -> None:
        """Make a Ready Node as a kubelet would, and keep one that is there."""
        resources = {"cpu": str(cpus), "memory": f"{memory_kib}Ki", "pods": "110"}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
            },
            "status": {
                "capacity": resources,
                # As a kubelet that leaves the machine to the guests: see docs/production.md.
                "allocatable": {**resources, "memory": "1Gi"},
                "addresses": [
                    {"type": "InternalIP", "address": address},
                    {"type": "Hostname", "address": name},
                ],
                "conditions": [
                    {
                        "type": "Ready",
                        "status": "True",
                        "reason": "KubeletReady",
                        "message": "set by nopal_dev: there is no kubelet",
                    }
                ],
            },
        }
        if self.kubectl.get("node", name) is None:
            self.kubectl.run("create", "-f", "-", stdin=json.dumps(node))
        # A new Node is tainted not-ready until a controller that does not run here looks at it.
        self.kubectl.run(
            "taint", "node", name, "node.kubernetes.io/not-ready:NoSchedule-", check=False
        )

    def set_node_ready(self, name: str, *, ready: bool) -> None:
        """Say on the Node's behalf whether it is Ready: the tests' second witness."""
        condition = {
            "type": "Ready",
            "status": "True" if ready else "Unknown",
            "reason": "KubeletReady" if ready else "NodeStatusUnknown",
            "message": "set by nopal_dev: there is no kubelet",
        }
        patch = json.dumps({"status": {"conditions": [condition]}})
        self.kubectl.run("patch", "node", name, "--subresource=status", "-p", patch)

    def _etcd_listens(self) -> bool:
        return listening(self._network.loopback, 2379)

    def _etcd(self) -> list[str]:
        clients = f"http://{self._network.loopback}:2379"
        peers = f"http://{self._network.loopback}:2380"
        return [
            str(self._binaries.etcd),
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _apiserver(self) -> list[str]:
        certificates = self.certificates
        return [
            str(self._binaries.apiserver),
            f"--etcd-servers=http://{self._network.loopback}:2379",
            f"--bind-address={self._network.address}",
            f"--advertise-address={self._network.address}",
            "--secure-port=6443",
            f"--tls-cert-file={certificates.certificate('server')}",
            f"--tls-private-key-file={certificates.key('server')}",
            f"--client-ca-file={certificates.authority}",
            f"--service-account-key-file={certificates.key('service-accounts')}",
            f"--service-account-signing-key-file={certificates.key('service-accounts')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=Node,RBAC",
            "--endpoint-reconciler-type=none",
            "--allow-privileged",
            *self.audit.flags(),
        ]

    def _controller_manager(self) -> list[str]:
        certificates = self.certificates
        return [
            str(self._binaries.controller_manager),
            f"--kubeconfig={self._folder / 'controller-manager.kubeconfig'}",
            f"--bind-address={self._network.loopback}",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={certificates.key('service-accounts')}",
            f"--root-ca-file={certificates.authority}",
            f"--controllers={_CONTROLLERS}",
            "--leader-elect=false",
        ]
