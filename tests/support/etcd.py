# SPDX-License-Identifier: Apache-2.0
"""The control plane's memory: copied, brought back, or replaced by an empty one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nopal_dev import proc
from nopal_dev.cluster import Cluster
from nopal_dev.hosts import machine_memory_kib

_API = ("kube-controller-manager", "kube-apiserver")


@dataclass(frozen=True)
class Etcd:
    """etcd of one cluster; whoever uses kube-apiserver sees it away for a moment."""

    cluster: Cluster

    @property
    def data(self) -> Path:
        """etcd's data directory."""
        return self.cluster.folder / "kubernetes" / "etcd"

    def backup(self, path: Path) -> None:
        """Copy all that is known now."""
        with self._down():
            shutil.copytree(self.data, path)

    def restore(self, path: Path) -> None:
        """Go back to a copy, which is used up."""
        with self._down():
            shutil.rmtree(self.data)
            path.rename(self.data)

    def wipe(self, path: Path) -> None:
        """Begin with nothing, as another cluster does; what was known is moved to the path."""
        with self._down():
            self.data.rename(path)
        cpus, memory = len(proc.cpus()), machine_memory_kib()
        for host in self.cluster.hosts.values():
            self.cluster.control_plane.add_node(
                host.name, host.address, cpus=cpus, memory_kib=memory
            )
        self.cluster.workloads.install()
        self.cluster.workloads.put_keys(self.cluster.ceph)

    @contextmanager
    def _down(self) -> Iterator[None]:
        control_plane = self.cluster.control_plane
        for component in _API:
            control_plane.kill(component)
        control_plane.stop("etcd")
        try:
            yield
        finally:
            for component in ("etcd", *reversed(_API)):
                control_plane.start(component)
            control_plane.wait()
