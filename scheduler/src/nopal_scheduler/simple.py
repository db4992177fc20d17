# SPDX-License-Identifier: Apache-2.0
"""Place one virtual machine by room and networks alone, over hosts that know what they give.

The operator stands on this until it keeps a `State`; then this module goes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .answer import NoPlacement, Placement, Refusal
from .model import Host, Room, vm_cost


@dataclass(frozen=True, slots=True)
class VmRequest:
    """A virtual machine that needs a host."""

    cores: int
    memory: int
    """Guest memory in bytes."""
    networks: tuple[str, ...] = ()
    """Networks that its host must realize."""

    @property
    def cost(self) -> Room:
        """Return the room that it takes on a host."""
        return vm_cost(self.cores, self.memory)


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
