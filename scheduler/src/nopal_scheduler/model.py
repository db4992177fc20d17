# SPDX-License-Identifier: Apache-2.0
"""What the scheduler knows: hosts with room, virtual machines with needs and rules, and what k is.

Plain data, in and out. A `Cluster` is one zone at one moment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

MIB = 2**20
HOST = "host"
"""The topology of single hosts: every host is a domain of its own, named as the host. So a label of
that very key makes no domains; the API refuses it as a topologyKey."""
_NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Room:
    """An amount of virtual CPUs, of memory in bytes, and of further countable resources by name."""

    cpu: int = 0
    memory: int = 0
    more: Mapping[str, int] = field(default_factory=dict, hash=False)
    """For example {"nvidia.com/gpu": 2}."""

    def __add__(self, other: "Room") -> "Room":
        return self._with(other, 1)

    def __sub__(self, other: "Room") -> "Room":
        return self._with(other, -1)

    def _with(self, other: "Room", sign: int) -> "Room":
        more = self.more
        if other.more:
            names = (*self.more, *(name for name in other.more if name not in self.more))
            more = {n: self.more.get(n, 0) + sign * other.more.get(n, 0) for n in names}
        return Room(self.cpu + sign * other.cpu, self.memory + sign * other.memory, more)


class RuleKind(StrEnum):
    """What a rule asks of the virtual machines that its selector matches."""

    AFFINITY = "affinity"
    """At least one of them in the same domain. With none anywhere, a virtual machine that its own
    rule matches may be the first."""
    ANTI_AFFINITY = "antiAffinity"
    """None of them in the same domain; holds for them as well (symmetric)."""
    SPREAD = "spread"
    """Their count in the virtual machine's domain, itself included where it matches, is at most
    `max_skew` above that of the emptiest domain that it could use."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a virtual machine wants to be, seen from other virtual machines.

    A rule counts when its virtual machine is placed; what is placed is not moved for it. Hosts
    without the topology's label are no domain: a required rule does not fit there.
    """

    kind: RuleKind
    selector: tuple[tuple[str, str], ...]
    """Labels that the others must have, all of them, in the order of their keys."""
    topology: str = HOST
    """Label key of hosts whose equal values make a domain, for example "rack"; or HOST."""
    max_skew: int = 1
    """For SPREAD only."""
    weight: int | None = None
    """None: required. Else 1 to 100: preferred so much."""

    @property
    def required(self) -> bool:
        """Tell whether a host that breaks the rule is no place at all."""
        return self.weight is None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the selector matches a virtual machine's labels."""
        return all(labels.get(key) == value for key, value in self.selector)

    def repels(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a virtual machine with these labels may not be in the same domain."""
        return self.required and self.kind is RuleKind.ANTI_AFFINITY and self.matches(labels)

    def counts_on(self, labels: Mapping[str, str]) -> bool:
        """Tell whether one with these labels may open a place: affinity and spread want company."""
        return self.required and self.kind is not RuleKind.ANTI_AFFINITY and self.matches(labels)


@dataclass(frozen=True, slots=True)
class Host:
    """One host as a place for virtual machines."""

    name: str
    capacity: Room
    """What virtual machines may use: see `host_capacity`."""
    allocated: Room = Room()
    """What is taken of it besides the cluster's virtual machines."""
    networks: frozenset[str] = frozenset()
    """Networks that virtual machines can use there."""
    cpu_features: frozenset[str] = frozenset()
    """CPU features that a guest can have there."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    blocked: str = ""
    """Why the host takes no virtual machine at all, for example "not ready"; empty if it does."""
    draining: bool = False
    """It takes none either, and those there are to leave."""

    @property
    def free(self) -> Room:
        """Return what is left besides `allocated`; negative where a host shrank below it."""
        return self.capacity - self.allocated

    @property
    def refusal(self) -> str:
        """Return why the host takes no virtual machine; empty if it does."""
        return self.blocked or ("draining" if self.draining else "")

    def domain(self, topology: str) -> str | None:
        """Return the host's domain in a topology; None where it lacks the label."""
        return self.name if topology == HOST else self.labels.get(topology)


@dataclass(frozen=True, slots=True)
class Vm:
    """A virtual machine: what it needs, and where it is."""

    name: str
    """Unique in the cluster; the operator uses the UID."""
    needs: Room
    """The room that it takes on its host, overhead included: see `vm_cost`."""
    host: str | None = None
    """The host that it is on; None while it has none."""
    networks: tuple[str, ...] = ()
    """Networks that its host must realize."""
    cpu_features: frozenset[str] = frozenset()
    """CPU features that its host must have."""
    node_selector: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Labels that its host must have."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What rules of others match."""
    rules: tuple[Rule, ...] = ()
    priority: int = 0
    """The higher, the earlier it is restarted after a loss."""
    restarts: bool = True
    """Whether it is started elsewhere when its host is lost."""
    movable: bool = True
    """Whether it may be moved while it runs."""


@dataclass(frozen=True, slots=True)
class Redundancy:
    """How many failure domains may be lost at once, with a new host for every one that restarts."""

    failures: int = 0
    """k, 0 to 3."""
    topology: str = HOST
    """What fails as a whole: HOST, or a label key of hosts. A host without the label is a failure
    domain of its own."""

    def __str__(self) -> str:
        """Return it in words, for example "N+1 over rack"."""
        return f"N+{self.failures} over {'hosts' if self.topology == HOST else self.topology}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """One zone: its hosts, its virtual machines, and what it is to survive."""

    hosts: tuple[Host, ...]
    vms: tuple[Vm, ...] = ()
    redundancy: Redundancy = Redundancy()


def failure_domain(host: Host, topology: str) -> str:
    """Return what is lost together with the host.

    A host without the label stands alone; the brackets keep its name off every label value.
    """
    return host.domain(topology) or f"[{host.name}]"


def vm_memory_cost(cores: int, memory: int) -> int:
    """Return the bytes that a VM takes on its host: the guest's memory and QEMU's own.

    50 MiB for QEMU itself, 8 MiB for each vCPU, and 1/512 of the memory for its page tables.
    """
    return memory + 50 * MIB + 8 * MIB * cores + memory // 512


def vm_cost(cores: int, memory: int, more: Mapping[str, int] = _NOTHING) -> Room:
    """Return the room that a VM of so many cores and bytes of guest memory takes on its host."""
    return Room(cpu=cores, memory=vm_memory_cost(cores, memory), more=more)


def host_capacity(total: Room, *, reserved: Room, cpu_overcommit_percent: int) -> Room:
    """Return what virtual machines may use of a host.

    Args:
        total: host threads and bytes of memory, all of it.
        reserved: threads and bytes that the host keeps for itself.
        cpu_overcommit_percent: virtual CPUs for each thread; nothing else is overcommitted.
    """
    rest = total - reserved
    return Room(
        cpu=max(0, rest.cpu) * cpu_overcommit_percent // 100,
        memory=max(0, rest.memory),
        more={name: max(0, count) for name, count in rest.more.items()},
    )
