# SPDX-License-Identifier: Apache-2.0
"""A zone's hosts as its scheduler is told of them, and what of that makes a difference."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from nopal_scheduler.model import Host, Redundancy, Vm


@dataclass(frozen=True, slots=True)
class Premises:
    """A zone without its virtual machines."""

    hosts: tuple[Host, ...]
    redundancy: Redundancy


@dataclass(frozen=True, slots=True)
class Asked:
    """What anything in a zone was asked by so far. All else is words: it decides nothing."""

    labels: frozenset[str] = frozenset()
    """Keys of virtual machines' labels by which a rule selects."""
    places: frozenset[str] = frozenset()
    """Keys of hosts' labels by which hosts are selected or domains are told."""
    networks: frozenset[str] = frozenset()
    cpu_features: frozenset[str] = frozenset()

    @classmethod
    def by(cls, vms: Iterable[Vm]) -> "Asked":
        """Return what virtual machines ask by."""
        labels, places = set[str](), set[str]()
        networks, features = set[str](), set[str]()
        for vm in vms:
            for rule in vm.rules:
                labels.update(key for key, _ in rule.selector)
                places.add(rule.topology)
            places.update(vm.node_selector)
            networks.update(vm.networks)
            features |= vm.cpu_features
        return cls(*map(frozenset, (labels, places, networks, features)))

    def __or__(self, other: "Asked") -> "Asked":
        """Return what either was asked by."""
        return Asked(
            self.labels | other.labels,
            self.places | other.places,
            self.networks | other.networks,
            self.cpu_features | other.cpu_features,
        )

    def __len__(self) -> int:
        """Return how many keys and names these are."""
        return sum(map(len, (self.labels, self.places, self.networks, self.cpu_features)))

    def of(self, vm: Vm) -> Vm:
        """Return a virtual machine with those labels that rules ask for.

        Every set of labels costs the scheduler a number for each host, and most are unique.
        """
        labels = {key: value for key, value in vm.labels.items() if key in self.labels}
        return vm if len(labels) == len(vm.labels) else replace(vm, labels=labels)

    def essence(self, premises: Premises) -> Premises:
        """Return what of a zone's hosts makes a difference: two that are equal here are alike."""
        places = self.places | {premises.redundancy.topology}
        hosts = (
            replace(
                host,
                labels={key: host.labels[key] for key in places if key in host.labels},
                networks=host.networks & self.networks,
                cpu_features=host.cpu_features & self.cpu_features,
                blocked="blocked" if host.blocked else "",
            )
            for host in premises.hosts
        )
        return replace(premises, hosts=tuple(hosts))
