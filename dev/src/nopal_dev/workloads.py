# SPDX-License-Identifier: Apache-2.0
"""The operator and the node daemons as plain processes, under the chart's RBAC and policies.

Everything of the chart is applied but its two workloads (Deployment and DaemonSet): those run here
as processes, with the ServiceAccounts' real tokens, the daemons' bound to their Node.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nopal_dev.binaries import Binaries
from nopal_dev.ceph import Ceph
from nopal_dev.commands import run
from nopal_dev.controlplane import ControlPlane
from nopal_dev.errors import DevError
from nopal_dev.hosts import Host
from nopal_dev.kubernetes import write_kubeconfig
from nopal_dev.processes import Process, Processes

NAMESPACE = "nopal-system"
"""Where the operator and the daemons live."""

SECRET = "ceph"  # noqa: S105 - the name of a Secret, not one
"""The Secret with one Ceph key for each host, under the host's name."""

OPERATOR = "operator"
_WORKLOAD_KINDS = ("Deployment", "DaemonSet")
_TOKEN_LIFE = "8760h"  # noqa: S105 - a duration
_ROOT = Path(__file__).parents[3]
_CHART = _ROOT / "charts" / "nopal"
_EXAMPLES = _ROOT / "examples"


class Workloads:
    """What Nopal itself runs in a cluster.

    Args:
        folder: Where the kubeconfig files of the processes lie.
        control_plane: The Kubernetes to install into.
        hosts: The hosts by name.
        processes: Where the processes are recorded.
        binaries: For helm.
    """

    def __init__(
        self,
        folder: Path,
        *,
        control_plane: ControlPlane,
        hosts: Mapping[str, Host],
        processes: Processes,
        binaries: Binaries,
    ) -> None:
        self._folder = folder
        self._control_plane = control_plane
        self._hosts = hosts
        self._processes = processes
        self._binaries = binaries

    def install(self, values: Mapping[str, Any] | None = None) -> None:
        """Apply the chart without its workloads: CRDs first, for the rest may use them.

        Args:
            values: Chart values over those that fit this cluster.
        """
        kubectl = self._control_plane.kubectl
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        kubectl.apply([namespace])
        objects = self._chart(values or {})
        crds = [each for each in objects if each["kind"] == "CustomResourceDefinition"]
        kubectl.apply(crds)
        left_out = (*_WORKLOAD_KINDS, "CustomResourceDefinition")
        kubectl.apply([each for each in objects if each["kind"] not in left_out])
        kubectl.await_rights(list(_rights(objects)))
        for each in _one_of_each_kind():
            # A Zone leaves nothing on a host.
            kubectl.await_kind(each, finalizer=each["kind"] != "Zone")

    def put_keys(self, ceph: Ceph) -> None:
        """Make the hosts' Ceph users and the Secret ``ceph`` with their keys."""
        keys = {host.name: ceph.host_key(host.name, host.address) for host in self._hosts.values()}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "stringData": keys,
        }
        self._control_plane.kubectl.apply([secret])

    def operator_kubeconfig(self) -> Path:
        """A kubeconfig with a token of the operator's ServiceAccount."""
        return self._kubeconfig(OPERATOR, self._token("nopal-operator"))

    def daemon_kubeconfig(self, node: str) -> Path:
        """A kubeconfig with a token of the daemons' ServiceAccount, bound to this Node."""
        bound = ["--bound-object-kind", "Node", "--bound-object-name", node]
        return self._kubeconfig(node, self._token("nopal-node", *bound))

    def start_operator(self, settings: Mapping[str, str] | None = None) -> Process:
        """Start the operator; one that runs is kept.

        Args:
            settings: More environment, such as NOPAL_* timings.
        """
        env = {"KUBECONFIG": str(self.operator_kubeconfig()), **(settings or {})}
        return self._processes.start(OPERATOR, [sys.executable, "-m", "nopal_operator"], env=env)

    def start_daemon(self, node: str, settings: Mapping[str, str] | None = None) -> Process:
        """Start the node daemon of a host inside that host; one that runs is kept.

        Args:
            node: The host.
            settings: More environment, such as NOPAL_* timings.
        """
        env = {
            "KUBECONFIG": str(self.daemon_kubeconfig(node)),
            "NOPAL_NODE_NAME": node,
            "NOPAL_LIBVIRT_URI": "qemu:///system",
            **(settings or {}),
        }
        return self._hosts[node].start("daemon", [sys.executable, "-m", "nopal_node"], env=env)

    def start(self, settings: Mapping[str, str] | None = None, *, supervised: bool = False) -> None:
        """Start the operator and every daemon.

        Args:
            settings: More environment for all of them.
            supervised: Whether a small process restarts them when they end, as a kubelet would.
        """
        self.start_operator(settings)
        for node in self._hosts:
            self.start_daemon(node, settings)
        if supervised:
            argv = [sys.executable, "-m", "nopal_dev.supervisor", *self.names]
            source = str(Path(__file__).parents[1])
            env = {"PYTHONPATH": source, "NOPAL_DEV_PROCESSES": str(self._processes.folder)}
            self._processes.start("supervisor", argv, env=env)

    def stop(self) -> None:
        """End them all, the supervisor first."""
        self._processes.stop("supervisor")
        for name in self.names:
            self._processes.stop(name)

    @property
    def names(self) -> list[str]:
        """The names under which the processes are recorded: ``operator``, ``NODE-daemon``."""
        return [OPERATOR, *(self.daemon_name(node) for node in self._hosts)]

    def daemon_name(self, node: str) -> str:
        """The name under which a host's daemon is recorded."""
        return f"{node}-daemon"

    def stop_operator(self) -> None:
        """End the operator in peace."""
        self._processes.stop(OPERATOR)

    def kill_operator(self) -> None:
        """``kill -9`` the operator."""
        self._processes.kill(OPERATOR)

    def restart_operator(self) -> Process:
        """End the operator and start it again with the same settings."""
        return self._processes.restart(OPERATOR)

    def stop_daemon(self, node: str) -> None:
        """End a host's daemon in peace."""
        self._processes.stop(self.daemon_name(node))

    def kill_daemon(self, node: str) -> None:
        """``kill -9`` a host's daemon."""
        self._processes.kill(self.daemon_name(node))

    def restart_daemon(self, node: str) -> Process:
        """End a host's daemon and start it again with the same settings."""
        return self._processes.restart(self.daemon_name(node))

    def _chart(self, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        fitting = {"nodeSecrets": {"ceph": [SECRET]}}
        argv = [str(self._binaries.helm), "template", "nopal", str(_CHART), "-f", "-"]
        options = ["--namespace", NAMESPACE, "--include-crds"]
        text = run([*argv, *options], stdin=json.dumps({**fitting, **values}))
        return [each for each in yaml.safe_load_all(text) if each]

    def _token(self, account: str, *bound: str) -> str:
        options = ["-n", NAMESPACE, "--duration", _TOKEN_LIFE, *bound]
        token = self._control_plane.kubectl.run("create", "token", account, *options).strip()
        if not token:
            raise DevError(f"no token for ServiceAccount {account}: is the chart installed?")
        return token

    def _kubeconfig(self, name: str, token: str) -> Path:
        path = self._folder / f"{name}.kubeconfig"
        write_kubeconfig(
            path,
            server=self._control_plane.server,
            authority=self._control_plane.certificates.authority,
            user={"token": token},
            namespace=NAMESPACE,
        )
        return path


def _one_of_each_kind() -> Iterator[dict[str, Any]]:
    """An object of each of our kinds, under a name that nobody has."""
    host = {"apiVersion": "nopal.dev/v1alpha1", "kind": "Host", "metadata": {}, "spec": {}}
    texts = [path.read_text() for path in sorted(_EXAMPLES.glob("*.yaml"))]
    for each in (host, *yaml.safe_load_all("\n---\n".join(texts))):
        namespace = {"namespace": NAMESPACE} if "namespace" in each["metadata"] else {}
        yield {**each, "metadata": {"name": "is-this-kind-known", **namespace}}


def _rights(objects: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """For each binding a SubjectAccessReview: whether who is bound may do one thing of the role."""
    found = {
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]): each
        for each in objects
    }
    for binding in objects:
        if not binding["kind"].endswith("RoleBinding"):
            continue
        namespace, role = binding["metadata"].get("namespace"), binding["roleRef"]
        of_role = namespace if role["kind"] == "Role" else None
        rule = found[role["kind"], of_role, role["name"]]["rules"][0]
        plural, _, subresource = rule["resources"][0].partition("/")
        asked = {
            "namespace": namespace or "",
            "verb": rule["verbs"][0],
            "group": rule["apiGroups"][0],
            "resource": plural,
            "subresource": subresource,
            "name": rule.get("resourceNames", [""])[0],
        }
        for each in binding["subjects"]:
            user = f"system:serviceaccount:{each['namespace']}:{each['name']}"
            yield {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {"user": user, "resourceAttributes": asked},
            }
