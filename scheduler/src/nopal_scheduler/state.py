# SPDX-License-Identifier: Apache-2.0
"""One cluster as arrays, changed one virtual machine at a time: what every search stands on.

Hosts are sorted by name and are their index from then on, so that the order of the input decides
nothing. Amounts are whole numbers in rows by resource: `free[r, h]`.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from .model import HOST, Cluster, Host, Redundancy, Room, Vm, failure_domain
from .rules import Mask, RuleBook, Topologies

Amounts = npt.NDArray[np.int64]
"""One resource a row; one column for each host, or no second axis for one virtual machine."""
_ELIGIBLE = 1_000
"""Kinds of virtual machines for which it is known which hosts may take them."""


class State:
    """Where everything is, and what is left.

    Args:
        cluster: Hosts and virtual machines. One whose host is not in the cluster raises
            ValueError; one without a host is only known by its name.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.hosts: tuple[Host, ...] = tuple(sorted(cluster.hosts, key=lambda host: host.name))
        self.index = {host.name: i for i, host in enumerate(self.hosts)}
        if len(self.index) != len(self.hosts):
            raise ValueError("two hosts have one name")
        self.redundancy: Redundancy = cluster.redundancy
        more = {n for host in cluster.hosts for n in host.capacity.more}
        more.update(n for vm in cluster.vms for n in vm.needs.more)
        self.resources: tuple[str, ...] = ("cpu", "memory", *sorted(more))
        self.capacity: Amounts = self.columns(host.capacity for host in self.hosts)
        self.scale: npt.NDArray[np.float64] = np.maximum(self.capacity, 1).astype(np.float64)
        """What shares are taken of: the capacity, and 1 where there is none."""
        self.free: Amounts = self.columns(host.free for host in self.hosts)
        self.takes: Mask = np.array([not host.refusal for host in self.hosts], dtype=np.bool_)
        self.topologies = Topologies(self.hosts)
        self.rules = RuleBook(self.topologies, len(self.hosts))
        self.vms: dict[str, Vm] = {}
        """Every virtual machine that has a host, by name."""
        self.on: tuple[dict[str, None], ...] = tuple({} for _ in self.hosts)
        """For each host the names of its virtual machines, in the order in which they came."""
        self._where: dict[str, int] = {}
        self._eligible: dict[object, Mask] = {}
        domains = self._failure_domains(self.redundancy.topology)
        self.domain_names: tuple[str, ...] = tuple(domains)
        """The failure domains in order: see `model.failure_domain`."""
        self.lost_with: tuple[Mask, ...] = tuple(domains.values())
        """For each of them the mask of the hosts that are lost together."""
        for vm in sorted(cluster.vms, key=lambda vm: vm.name):
            if vm.host is not None:
                if vm.host not in self.index:
                    raise ValueError(f'vm "{vm.name}" is on host "{vm.host}", which is not there')
                self.add(vm, self.index[vm.host])

    def add(self, vm: Vm, host: int) -> None:
        """Put a virtual machine on a host, whether it fits or not: it may be there already."""
        if vm.name in self._where:
            raise ValueError(f'there is a vm "{vm.name}" already')
        self.free[:, host] -= self.needs(vm)
        self.rules.add(vm, host)
        self.vms[vm.name] = vm
        self._where[vm.name] = host
        self.on[host][vm.name] = None

    def remove(self, name: str) -> int:
        """Take a virtual machine off its host and return which that was; raises KeyError."""
        host, vm = self._where.pop(name), self.vms.pop(name)
        del self.on[host][name]
        self.free[:, host] += self.needs(vm)
        self.rules.add(vm, host, -1)
        return host

    def describe(self, hosts: Iterable[Host]) -> None:
        """Take other labels of the same hosts, and other words for why one takes nothing.

        Args:
            hosts: All of them. They differ in what nothing was asked by so far: in no label that a
                selector, a rule or the redundancy names, and not in whether they take anything.
        """
        self.hosts = tuple(sorted(hosts, key=lambda host: host.name))
        self.topologies.describe(self.hosts)

    def host_of(self, name: str) -> int:
        """Return the host that a virtual machine is on; raises KeyError."""
        return self._where[name]

    def needs(self, vm: Vm) -> Amounts:
        """Return what a virtual machine takes, by resource.

        Raises:
            ValueError: it needs a resource that no host and no virtual machine had at the start;
                `eligible` is empty for it.
        """
        room = vm.needs
        if not room.more and len(self.resources) == 2:
            return np.array((room.cpu, room.memory), dtype=np.int64)
        unknown = self._unknown(room)
        if unknown:
            raise ValueError(f"no host has {unknown[0]}")
        return self.columns((room,))[:, 0]

    def eligible(self, vm: Vm) -> Mask:
        """Return the hosts that may take it, room and rules aside: do not change the array."""
        key = (
            tuple(sorted(vm.node_selector.items())),
            vm.networks,
            vm.cpu_features,
            self._unknown(vm.needs),
        )
        known = self._eligible.get(key)
        if known is None:
            if len(self._eligible) >= _ELIGIBLE:
                self._eligible.clear()
            known = np.array([not self.mismatch(vm, host) for host in self.hosts], dtype=np.bool_)
            self._eligible[key] = known
        return known

    def mismatch(self, vm: Vm, host: Host) -> tuple[str, ...]:
        """Return every reason, room and rules aside, why a host is no place for it."""
        if host.refusal:
            return (host.refusal,)
        labels = vm.node_selector.items()
        return (
            *(f"no label {key}={value}" for key, value in labels if host.labels.get(key) != value),
            *(f"network {n} not realized" for n in vm.networks if n not in host.networks),
            *(f"cpu feature {f} missing" for f in sorted(vm.cpu_features - host.cpu_features)),
            *(f"no {name}" for name in self._unknown(vm.needs)),
        )

    def fits(self, vm: Vm) -> Mask:
        """Return the hosts that can take it now: eligible, with room, and within every rule."""
        eligible = self.eligible(vm)
        if not eligible.any():
            return eligible
        fits = eligible.copy()
        for free, needs in zip(self.free, self.needs(vm), strict=True):
            fits &= free >= needs
        if self.rules.concerns(vm):
            fits &= self.rules.allowed(vm, eligible)
        return fits

    def _unknown(self, room: Room) -> tuple[str, ...]:
        """Return the resources that are needed and that no row is for."""
        if not room.more:
            return ()
        return tuple(sorted(n for n in room.more if room.more[n] and n not in self.resources))

    def columns(self, rooms: Iterable[Room]) -> Amounts:
        """Return amounts as a column each, by resource; resources without a row are left out."""
        names = self.resources[2:]
        columns = [(r.cpu, r.memory, *(r.more.get(n, 0) for n in names)) for r in rooms]
        return np.array(columns, dtype=np.int64).reshape(-1, len(self.resources)).T.copy()

    def _failure_domains(self, topology: str) -> dict[str, Mask]:
        names = [failure_domain(host, topology) for host in self.hosts]
        if topology == HOST:
            return dict(zip(names, np.eye(len(self.hosts), dtype=np.bool_), strict=True))
        return {each: np.array([n == each for n in names]) for each in sorted(set(names))}
