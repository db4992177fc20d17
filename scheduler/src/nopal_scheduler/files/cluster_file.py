# SPDX-License-Identifier: Apache-2.0
"""The cluster file: one zone as people write it, and the `Cluster` that it stands for.

`cluster_yaml` reads the text, `cluster_writer` writes it; docs/reference/cluster.schema.json is
made from these models.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from ..model import HOST, Cluster, Host, Redundancy
from ..words import did_you_mean
from .file_entries import (
    LARGEST,
    Entry,
    HostEntry,
    Key,
    Percent,
    RoomEntry,
    Truth,
    VmEntry,
    numbered,
)

Where = tuple[str | int, ...]
"""The way to a field: keys and list indexes from the top."""


class RedundancyEntry(Entry):
    """How many failure domains may be lost at once."""

    failures: Annotated[int, Field(strict=True, ge=0, le=3)] = 0
    """How many, 0 to 3: after the loss of any so many, every virtual machine that restarts has a
    host to go to."""
    topology_key: Key = HOST
    """What fails as a whole: `host`, or a label of hosts whose equal values fail together, for
    example rack."""


class ClusterFile(Entry):
    """One zone at one moment: its hosts, its virtual machines, and what it is to survive."""

    version: Literal[1] = 1
    """Version of this format."""
    redundancy: RedundancyEntry = RedundancyEntry()
    """How many failure domains may be lost at once."""
    cpu_overcommit_percent: Percent = 400
    """Virtual CPUs for each host thread, in percent: 400 gives 4 for each thread. Memory is never
    overcommitted."""
    host_reserved: RoomEntry = RoomEntry(memory=2 * 2**30)
    """Threads and memory that every host keeps for itself; left out, 2Gi as in a Zone. Not for
    hosts with `capacity`."""
    vm_overhead: Truth = True
    """true: memory of a virtual machine is what its guest sees, and what QEMU itself takes is
    added, as Nopal does. false: it is all that the virtual machine takes on its host."""
    # That there is one is asked in `faults`: with min_length a wrong host counts as a missing one.
    hosts: Annotated[tuple[HostEntry, ...], Field(json_schema_extra={"minItems": 1})]
    """The hosts, at least one."""
    vms: tuple[VmEntry, ...] = ()
    """The virtual machines."""

    def to_cluster(self) -> Cluster:
        """Return what the file stands for; only if it has no `faults`."""
        return Cluster(
            hosts=tuple(host for entry in self.hosts for host in self._hosts(entry)),
            vms=tuple(vm for entry in self.vms for vm in entry.to_vms(overhead=self.vm_overhead)),
            redundancy=Redundancy(self.redundancy.failures, self.redundancy.topology_key),
        )

    def _hosts(self, entry: HostEntry) -> Iterator[Host]:
        return entry.to_hosts(
            cpu_overcommit_percent=self.cpu_overcommit_percent,
            reserved=self.host_reserved.to_room(),
        )

    def faults(self, *, topology: bool = True) -> Iterator[tuple[Where, str]]:
        """Yield what is wrong between entries: where, and what to do about it.

        Args:
            topology: Whether the failure domain of the file counts, and not another in its place.
        """
        if topology and self.redundancy.failures:
            what = unknown_topology(self.redundancy.topology_key, (h.labels for h in self.hosts))
            if what:
                yield ("redundancy", "topologyKey"), what
        hosts: set[str] = set()
        if not self.hosts:
            yield ("hosts",), "there is none: write at least one"
        yield from _names("hosts", self.hosts, hosts)
        yield from _names("vms", self.vms, set())
        for i, vm in enumerate(self.vms):
            if len(vm.host) > (vm.count or 1):
                most = vm.count or 1
                what = f"more hosts than virtual machines ({most}): leave some out"
                yield ("vms", i, "host"), what
            for host in vm.host:
                if host not in hosts:
                    meant = did_you_mean(host, hosts, otherwise=": add it to hosts")
                    yield ("vms", i, "host"), f'there is no host "{host}"{meant}'


def unknown_topology(topology: str, labels: Iterable[Mapping[str, str]]) -> str:
    """Return what is wrong with a failure domain that no host has a label for; else nothing.

    Args:
        topology: `host`, or the key of a label.
        labels: Those of every host.
    """
    known = {HOST, *(key for each in labels for key in each)}
    if topology in known:
        return ""
    meant = did_you_mean(topology, known, otherwise=": write host, or give hosts the label")
    return f"no host has the label {topology}{meant}"


def _names(
    field: str, entries: Sequence[HostEntry | VmEntry], seen: set[str]
) -> Iterator[tuple[Where, str]]:
    if sum(entry.count or 1 for entry in entries) > LARGEST:
        yield (field,), f"these are more than {LARGEST}"
        return
    for i, entry in enumerate(entries):
        twice = [name for name in numbered(entry.name, entry.count) if name in seen]
        if twice:
            yield (field, i, "name"), f'"{twice[0]}" is there already: give it another name'
        seen.update(numbered(entry.name, entry.count))
