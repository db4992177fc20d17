# SPDX-License-Identifier: Apache-2.0
"""Place one virtual machine: filter the hosts, take the least loaded, or say why none fits."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .model import Host, Room, VmRequest
from .words import at_least, at_most


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why one host does not fit.

    Reasons of one kind are counted together; what differs between hosts is the figure.
    """

    host: str
    reason: str
    """For example "insufficient memory" or "not ready"."""
    needs: int | None = None
    """What the virtual machine needs of it, for a reason about an amount."""
    free: int | None = None
    """What the host has left of it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The host that takes the virtual machine."""

    host: str


@dataclass(frozen=True, slots=True)
class NoPlacement:
    """No host fits, and why, host by host."""

    hosts: int
    refusals: tuple[Refusal, ...]

    @property
    def message(self) -> str:
        """Return the sentence for people, as kube-scheduler words it.

        For example "0/2 hosts fit: 1 insufficient memory (needs 8Gi, 3Gi free), 1 not ready". A
        host that lacks two things is counted under both; the free amount is the best of the group.
        """
        if not self.refusals:
            return "0/0 hosts fit: there is no host"
        groups: dict[str, list[Refusal]] = defaultdict(list)
        for refusal in self.refusals:
            groups[refusal.reason].append(refusal)
        ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
        parts = [f"{len(group)} {_words(reason, group)}" for reason, group in ordered]
        return f"0/{self.hosts} hosts fit: {', '.join(parts)}"


def place(request: VmRequest, hosts: Iterable[Host]) -> Placement | NoPlacement:
    """Return the least loaded host that fits, or why none does.

    The load is the fuller of CPU and memory once the virtual machine is there; the name decides
    between equals, so that the same input always gives the same answer.
    """
    refusals: list[Refusal] = []
    best: tuple[float, float, str] | None = None
    count, cost = 0, request.cost
    for host in hosts:
        count += 1
        against = _refuse(request.networks, cost, host)
        if against:
            refusals.extend(against)
            continue
        score = (*_load(cost, host), host.name)
        if best is None or score < best:
            best = score
    if best is not None:
        return Placement(best[2])
    return NoPlacement(count, tuple(sorted(refusals, key=lambda r: (r.host, r.reason))))


def _refuse(networks: tuple[str, ...], cost: Room, host: Host) -> tuple[Refusal, ...]:
    """Return every reason why the host does not fit; empty if it does."""
    if host.blocked:
        return (Refusal(host.name, host.blocked),)
    found = [
        Refusal(host.name, f"network {name} not realized")
        for name in networks
        if name not in host.networks
    ]
    free = host.free
    if cost.cpu > free.cpu:
        found.append(Refusal(host.name, "insufficient cpu", cost.cpu, max(0, free.cpu)))
    if cost.memory > free.memory:
        found.append(Refusal(host.name, "insufficient memory", cost.memory, max(0, free.memory)))
    return tuple(found)


def _load(cost: Room, host: Host) -> tuple[float, float]:
    after = host.allocated + cost
    cpu = after.cpu / host.capacity.cpu
    memory = after.memory / host.capacity.memory
    return max(cpu, memory), cpu + memory


def _words(reason: str, group: list[Refusal]) -> str:
    needs = group[0].needs
    if needs is None:
        return reason
    free = max(refusal.free or 0 for refusal in group)
    most = "at most " if len(group) > 1 else ""
    if reason == "insufficient memory":
        return f"{reason} (needs {at_least(needs)}, {most}{at_most(free)} free)"
    return f"{reason} (needs {needs}, {most}{free} free)"
