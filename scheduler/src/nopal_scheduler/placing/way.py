# SPDX-License-Identifier: Apache-2.0
"""What would help, in words and as data: whoever asks for more than room and rules can try it."""

from dataclasses import dataclass, replace

from ..model import Cluster, Host, Vm


@dataclass(frozen=True, slots=True)
class Way:
    """One change after which the virtual machine fits."""

    vm: Vm
    """The virtual machine as it is then."""
    host: Host | None = None
    """What takes the place of the host of its name; the virtual machine fits on this one."""

    def applied(self, cluster: Cluster) -> Cluster:
        """Return the cluster with the change; the virtual machine is still to be placed."""
        changed = self.host
        if changed is None:
            return cluster
        hosts = (changed if host.name == changed.name else host for host in cluster.hosts)
        return replace(cluster, hosts=tuple(hosts))


@dataclass(frozen=True, slots=True)
class Advice:
    """What would help, in words, and the ways to it."""

    message: str
    """For example "fits if 3Gi of memory were free on any host of rack b"."""
    ways: tuple[Way, ...] = ()
    """Each alone is enough; none for what a mover says."""
