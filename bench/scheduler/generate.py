# SPDX-License-Identifier: Apache-2.0
"""Clusters and streams of virtual machines from seeds: the same ones for us and for the peers.

Memory is skewed as in practice: many small ones, a few that take a third of a host.
"""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from nopal_scheduler.model import HOST, Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm

GIB = 2**30
SIZES = (2, 4, 8, 16, 32, 64, 96)
"""Memory in GiB; 11.2 in the mean."""
SIZE_WEIGHTS = (30, 25, 20, 12, 8, 4, 1)
CPUS = (1, 2, 4, 8, 16)
"""Virtual CPUs, drawn apart from memory; 3.5 in the mean."""
CPU_WEIGHTS = (30, 30, 25, 10, 5)
AMPLE, SCARCE = 256, 80
"""Virtual CPUs of a host of 256 GiB: never a limit, and as soon used up as memory (80 to 256 as
3.5 to 11.2)."""
RACK = "rack"


class Rules(Enum):
    """Which required rules half of the virtual machines have, in groups of four."""

    NONE = "no rules"
    APART = "half with anti-affinity"
    """Apart from each other by host."""
    MIXED = "half with rules"
    """Apart by host, or spread over the racks, or together in one rack, as 3 to 1 to 1."""


def make_hosts(count: int, *, memory: int = 256, cpu: int = AMPLE) -> tuple[Host, ...]:
    """Return hosts of so many GiB and virtual CPUs, ten in a rack."""
    width = len(str(count))
    return tuple(
        Host(
            name=f"host-{number:0{width}}",
            capacity=Room(cpu=cpu, memory=memory * GIB),
            labels={RACK: f"rack-{number // 10:0{width}}"},
        )
        for number in range(count)
    )


def make_vms(seed: int, *, rules: Rules = Rules.NONE, prefix: str = "vm") -> Iterator[Vm]:
    """Yield virtual machines without end, with needs as they are in practice.

    Args:
        seed: The same seed, the same ones.
        rules: Which rules they have.
        prefix: What their names begin with.
    """
    chance = random.Random(seed)  # noqa: S311 - a generator of loads, not of secrets
    group = 0
    for number in itertools.count():
        vm = Vm(
            name=f"{prefix}-{number:06}",
            needs=Room(
                cpu=chance.choices(CPUS, CPU_WEIGHTS)[0],
                memory=chance.choices(SIZES, SIZE_WEIGHTS)[0] * GIB,
            ),
        )
        if rules is not Rules.NONE and number % 8 < 4:
            if number % 8 == 0:
                group += 1
            app = (("app", f"{prefix}-{group:05}"),)
            vm = replace(
                vm, labels=dict(app), rules=(_rule(group if rules is Rules.MIXED else 0, app),)
            )
        yield vm


def _rule(group: int, app: tuple[tuple[str, str], ...]) -> Rule:
    match group % 5:
        case 3:
            return Rule(RuleKind.SPREAD, app, topology=RACK)
        case 4:
            return Rule(RuleKind.AFFINITY, app, topology=RACK)
        case _:
            return Rule(RuleKind.ANTI_AFFINITY, app, topology=HOST)


@dataclass(slots=True)
class _Places:
    """Random places for one virtual machine after another, none over capacity or against a rule."""

    hosts: Sequence[Host]
    chance: random.Random
    limit: float
    """The share of every host that may be taken."""
    taken: list[Room] = field(init=False)
    racks: list[str] = field(init=False)
    apps: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.taken = [Room() for _ in self.hosts]
        self.racks = [host.labels[RACK] for host in self.hosts]

    def next(self, vm: Vm) -> Vm:
        """Return the virtual machine on a host."""
        allowed = self._allowed(vm)
        # Most draws hit; only where they do not is every host looked at.
        draws = (self.chance.randrange(len(self.hosts)) for _ in range(20))
        for number in itertools.chain(draws, self._every()):
            room, host = self.taken[number] + vm.needs, self.hosts[number]
            roomy = room.memory <= self.limit * host.capacity.memory
            if roomy and room.cpu <= host.capacity.cpu and allowed(number):
                self.taken[number] = room
                if vm.rules:
                    self.apps[vm.labels["app"]].append(number)
                return replace(vm, host=host.name)
        raise ValueError(f"the hosts are full at {vm.name}")

    def _every(self) -> Iterator[int]:
        yield from self.chance.sample(range(len(self.hosts)), len(self.hosts))

    def _allowed(self, vm: Vm) -> Callable[[int], bool]:
        if not vm.rules:
            return lambda number: True
        there = self.apps[vm.labels["app"]]
        racks = Counter(self.racks[number] for number in there)
        match vm.rules[0].kind:
            case RuleKind.ANTI_AFFINITY:
                return lambda number: number not in there
            case RuleKind.AFFINITY:
                return lambda number: not racks or self.racks[number] in racks
            case RuleKind.SPREAD:
                least = min(racks[rack] for rack in set(self.racks))
                return lambda number: racks[self.racks[number]] == least


def make_cluster(
    hosts: Sequence[Host],
    count: int,
    *,
    seed: int,
    failures: int = 0,
    rules: Rules = Rules.NONE,
    limit: float = 1.0,
) -> Cluster:
    """Return a cluster with so many virtual machines at random places.

    Args:
        hosts: The hosts.
        count: How many virtual machines.
        seed: The same seed, the same cluster.
        failures: k.
        rules: Which rules they have; they are kept.
        limit: The share of every host's memory that may be taken.

    Raises:
        ValueError: there is no room for so many.
    """
    places = _Places(hosts, random.Random(seed), limit)  # noqa: S311 - as above
    vms = itertools.islice(make_vms(seed, rules=rules), count)
    return Cluster(tuple(hosts), tuple(places.next(vm) for vm in vms), Redundancy(failures))
