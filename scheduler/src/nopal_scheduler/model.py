# SPDX-License-Identifier: Apache-2.0
"""What the scheduler knows: hosts with capacity and load, and a virtual machine that needs room."""

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Room:
    """An amount of virtual CPUs and of memory in bytes."""

    cpu: int = 0
    memory: int = 0

    def __add__(self, other: "Room") -> "Room":
        return Room(self.cpu + other.cpu, self.memory + other.memory)

    def __sub__(self, other: "Room") -> "Room":
        return Room(self.cpu - other.cpu, self.memory - other.memory)


@dataclass(frozen=True, slots=True)
class Host:
    """One host as a place for virtual machines."""

    name: str
    capacity: Room
    """What virtual machines may use: see `host_capacity`."""
    allocated: Room = Room()
    """What the virtual machines there take, overhead included: see `vm_cost`."""
    networks: frozenset[str] = frozenset()
    """Networks that virtual machines can use there."""
    blocked: str = ""
    """Why the host takes no virtual machine at all, for example "not ready"; empty if it does."""

    @property
    def free(self) -> Room:
        """Return what is left; negative where a host shrank below its load."""
        return self.capacity - self.allocated


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


def vm_memory_cost(cores: int, memory: int) -> int:
    """Return the bytes that a VM takes on its host: the guest's memory and QEMU's own.

    50 MiB for QEMU itself, 8 MiB for each vCPU, and 1/512 of the memory for its page tables.
    """
    return memory + 50 * MIB + 8 * MIB * cores + memory // 512


def vm_cost(cores: int, memory: int) -> Room:
    """Return the room that a VM of so many cores and bytes of guest memory takes on its host."""
    return Room(cpu=cores, memory=vm_memory_cost(cores, memory))


def host_capacity(total: Room, *, reserved: Room, cpu_overcommit_percent: int) -> Room:
    """Return what virtual machines may use of a host.

    Args:
        total: host threads and bytes of memory, all of it.
        reserved: threads and bytes that the host keeps for itself.
        cpu_overcommit_percent: virtual CPUs for each thread; memory is never overcommitted.
    """
    threads = max(0, total.cpu - reserved.cpu)
    return Room(
        cpu=threads * cpu_overcommit_percent // 100,
        memory=max(0, total.memory - reserved.memory),
    )
