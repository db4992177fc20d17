# SPDX-License-Identifier: Apache-2.0
"""The entries of a cluster file: hosts, virtual machines and their terms, as people write them.

The words are those of the API's kinds where there is one.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from ..model import (
    HOST,
    Host,
    Room,
    Rule,
    RuleKind,
    Vm,
    host_capacity,
    vm_cost,
)
from ..words import is_bytes
from .quantity import LEAST_MEMORY, PATTERN, parse_bytes, parse_memory

NOT_READY = "not ready"
"""What the refusal of a host begins with that is not ready."""
LARGEST = 100_000
"""Hosts, and virtual machines, that one file may have."""
_MOST = 2**46  # 64Ti: so much, LARGEST times, still is a 64-bit number


def _counted(value: object) -> object:
    """Return amounts by name as numbers; a unit only where the resource is measured in bytes."""
    return {n: _count(n, a) for n, a in value.items()} if isinstance(value, dict) else value


def _count(name: object, value: object) -> object:
    if isinstance(name, str) and is_bytes(name):
        try:
            return parse_memory(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if not isinstance(value, str):
        return value
    if not value.isdecimal():
        raise ValueError(f"{name}: {value!r} is no whole number, and {name} is counted: write 2")
    return parse_bytes(value)


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


_MEMORY: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": PATTERN},
        {"const": 0},
        {"type": "integer", "minimum": LEAST_MEMORY, "maximum": _MOST},
    ]
}
_COUNT: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": "^[0-9]{1,18}$"},
        {"type": "integer", "minimum": 0, "maximum": _MOST},
    ]
}
_Amount = Annotated[int, Field(strict=True, ge=0, le=_MOST)]
Memory = Annotated[_Amount, BeforeValidator(parse_memory), WithJsonSchema(_MEMORY)]
Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", min_length=1, max_length=317)
]
Key = Annotated[str, StringConstraints(min_length=1, max_length=317)]
Value = Annotated[str, StringConstraints(pattern=r"^[^\[\]]*$", max_length=253)]
Labels = dict[Key, Value]
More = Annotated[
    dict[Key, _Amount],
    BeforeValidator(_counted),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"minLength": 1, "maxLength": 317},
            "patternProperties": {"(^|/)hugepages-[^/]*$": _MEMORY},
            "additionalProperties": _COUNT,
        }
    ),
]
Count = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]
Cpu = Annotated[int, Field(strict=True, ge=0, le=10_000_000)]
Percent = Annotated[int, Field(strict=True, ge=1, le=10_000)]
Truth = Annotated[bool, Field(strict=True)]


class Entry(BaseModel):
    """A part of the file: camelCase, and nothing that is not known."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class RoomEntry(Entry):
    """An amount of everything that a host has."""

    cpu: Cpu = 0
    """Virtual CPUs; of `hostReserved` and `reserved` host threads."""
    memory: Memory = 0
    """Memory, for example 64Gi."""
    more: More = {}
    """Further countable resources by name, for example {nvidia.com/gpu: 2}; those named
    hugepages-SIZE in bytes, for example {hugepages-1Gi: 8Gi}."""

    def to_room(self) -> Room:
        """Return the amount as the scheduler has it."""
        return Room(self.cpu, self.memory, self.more)


class Term(Entry):
    """Other virtual machines, by their labels, and how near they are meant."""

    match_labels: Labels
    """Labels that the others have, all of them; {} is every virtual machine."""
    topology_key: Key = HOST
    """What "together" and "apart" mean: `host`, or a label of hosts whose equal values make a
    domain, for example rack."""
    weight: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    """Left out, the term is required. Otherwise it is a preference of 1 to 100."""

    def to_rule(self, kind: RuleKind, max_skew: int = 1) -> Rule:
        """Return the term as the scheduler has it."""
        return Rule(
            kind,
            selector=tuple(sorted(self.match_labels.items())),
            topology=self.topology_key,
            max_skew=max_skew,
            weight=self.weight,
        )


class SpreadTerm(Term):
    """Virtual machines that are to be spread evenly."""

    max_skew: Annotated[int, Field(strict=True, ge=1, le=LARGEST)] = 1
    """By how many the fullest domain may exceed the emptiest."""


class HostEntry(Entry):
    """A host, or `count` hosts that are alike."""

    name: Name
    """Its name; with count the hosts are NAME-1, NAME-2 and so on."""
    count: Count | None = None
    """How many hosts the entry stands for; left out, it is one of just this name."""
    capacity: RoomEntry | None = None
    """What virtual machines may use of it, overcommit and reserves already counted. Instead of
    threads and memory."""
    threads: Cpu | None = None
    """Host threads, all of them."""
    memory: Memory | None = None
    """Memory of the machine, all of it."""
    more: More = {}
    """Further countable resources of the machine by name, for example {nvidia.com/gpu: 2}."""
    cpu_overcommit_percent: Percent | None = None
    """Virtual CPUs for each thread, in percent; left out, the file's."""
    reserved: RoomEntry | None = None
    """Threads and memory that the host keeps for itself; left out, the file's hostReserved."""
    allocated: RoomEntry = RoomEntry()
    """What is taken besides the virtual machines of this file."""
    labels: Labels = {}
    """Labels for nodeSelector, topologyKey and redundancy, for example {rack: a}."""
    networks: frozenset[Key] = frozenset()
    """Networks that virtual machines can use there."""
    cpu_features: frozenset[Key] = frozenset()
    """CPU features that a guest can have there, for example avx512f."""
    state: Literal["Ready", "NotReady", "Unschedulable", "Draining"] = "Ready"
    """NotReady and Unschedulable: it takes no virtual machine. Draining: neither, and those there
    are to leave."""
    reason: Annotated[str, StringConstraints(max_length=1024)] = ""
    """Why it is in this state, for people."""

    @model_validator(mode="after")
    def _one_form(self) -> "HostEntry":
        given = {
            "threads": self.threads is not None,
            "memory": self.memory is not None,
            "more": bool(self.more),
            "cpuOvercommitPercent": self.cpu_overcommit_percent is not None,
            "reserved": self.reserved is not None,
        }
        if self.capacity is not None and any(given.values()):
            field = next(name for name, there in given.items() if there)
            raise ValueError(f"capacity already says what {field} would: leave one of them out")
        if self.capacity is None and not (given["threads"] and given["memory"]):
            raise ValueError("give threads and memory of the machine, or capacity")
        return self

    def to_hosts(self, *, cpu_overcommit_percent: int, reserved: Room) -> Iterator[Host]:
        """Yield the hosts that the entry stands for.

        Args:
            cpu_overcommit_percent: Where the entry gives none.
            reserved: Where the entry gives none.
        """
        capacity = (
            self.capacity.to_room()
            if self.capacity
            else host_capacity(
                Room(self.threads or 0, self.memory or 0, self.more),
                reserved=self.reserved.to_room() if self.reserved else reserved,
                cpu_overcommit_percent=self.cpu_overcommit_percent or cpu_overcommit_percent,
            )
        )
        for name in numbered(self.name, self.count):
            yield Host(
                name,
                capacity,
                allocated=self.allocated.to_room(),
                networks=self.networks,
                cpu_features=self.cpu_features,
                labels=self.labels,
                blocked=self._blocked(),
                draining=self.state == "Draining",
            )

    def _blocked(self) -> str:
        if self.state == "NotReady":
            # The words say the state too, so that the state can be written again.
            told = self.reason.startswith(NOT_READY)
            return self.reason if told else ": ".join(filter(None, (NOT_READY, self.reason)))
        words = {"Ready": "", "Unschedulable": "scheduling disabled", "Draining": ""}
        return "" if self.state == "Ready" else self.reason or words[self.state]


class VmEntry(Entry):
    """A virtual machine, or `count` of them that are alike."""

    name: Name
    """Its name; with count they are NAME-1, NAME-2 and so on."""
    count: Count | None = None
    """How many the entry stands for; left out, it is one of just this name."""
    cores: Cpu
    """Virtual CPUs."""
    memory: Memory
    """Memory that the guest sees, for example 8Gi: see vmOverhead."""
    more: More = {}
    """Further countable resources by name, for example {nvidia.com/gpu: 1}."""
    host: Annotated[
        tuple[Name, ...],
        BeforeValidator(_several),
        WithJsonSchema(
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        ),
    ] = ()
    """The host that it is on; left out, it has none yet. A list: the hosts of the `count` virtual
    machines in turn."""
    labels: Labels = {}
    """What the terms of others match."""
    node_selector: Labels = {}
    """Labels that its host must have."""
    networks: tuple[Key, ...] = ()
    """Networks that its host must have."""
    cpu_features: frozenset[Key] = frozenset()
    """CPU features that its host must have."""
    affinity: tuple[Term, ...] = ()
    """At least one such virtual machine in its domain."""
    anti_affinity: tuple[Term, ...] = ()
    """No such virtual machine in its domain."""
    spread: tuple[SpreadTerm, ...] = ()
    """Such virtual machines evenly over the domains that it could use."""
    priority: Annotated[int, Field(strict=True, ge=-(2**31), lt=2**31)] = 0
    """The higher, the earlier it is restarted after a loss, and placed where not all fit."""
    restarts: Truth = True
    """Whether it is started elsewhere when its host is lost."""
    movable: Truth = True
    """Whether it may be moved while it runs."""

    def to_vms(self, *, overhead: bool) -> Iterator[Vm]:
        """Yield the virtual machines that the entry stands for; `overhead`: add QEMU's own."""
        needs = Room(self.cores, self.memory, self.more)
        if overhead:
            needs = vm_cost(self.cores, self.memory, self.more)
        rules = (
            *(term.to_rule(RuleKind.AFFINITY) for term in self.affinity),
            *(term.to_rule(RuleKind.ANTI_AFFINITY) for term in self.anti_affinity),
            *(term.to_rule(RuleKind.SPREAD, term.max_skew) for term in self.spread),
        )
        for i, name in enumerate(numbered(self.name, self.count)):
            yield Vm(
                name,
                needs,
                host=self.host[i % len(self.host)] if self.host else None,
                networks=self.networks,
                cpu_features=self.cpu_features,
                node_selector=self.node_selector,
                labels=self.labels,
                rules=rules,
                priority=self.priority,
                restarts=self.restarts,
                movable=self.movable,
            )


def numbered(name: str, count: int | None) -> Iterator[str]:
    """Yield the names that an entry stands for."""
    if count is None:
        yield name
    else:
        yield from (f"{name}-{i}" for i in range(1, count + 1))
