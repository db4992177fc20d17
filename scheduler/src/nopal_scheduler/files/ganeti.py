# SPDX-License-Identifier: Apache-2.0
"""Read the text files of Ganeti's htools, as `hscan` writes them and `hbal -t` reads them.

The format is that of htools(1) of Ganeti 3.0: five sections (groups, nodes, instances, cluster
tags, policies) with an empty line between two, columns divided by "|", amounts in MiB.

What is taken over, and how:

- Memory for instances is what is free plus what they take; nothing is added to an instance's size.
  Stopped instances count, as in htools; those that are marked offline take no memory.
- vCPUs are the physical ones times the policy's ratio; those of the node's own system are taken.
- Offline nodes (htools writes drained ones so as well) take nothing.
- An instance stays in the node group that it is in; groups are the host label `group`.
- Exclusion tags become required anti-affinity over hosts, location tags labels of the nodes.
- auto_balance of N: the instance is not restarted after a loss, as htools keeps no memory for it.

Local disks, spindles, migration and desired-location tags are not read; where that matters there
is a note.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..model import MIB, Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm

GROUP = "group"
"""Label of hosts: their node group."""
_DEFAULT_RATIO = 4.0  # Ganeti's own, where the file has no policy
_EXCLUSION, _LOCATION = "htools:iextags:", "htools:nlocation:"
_UNREAD = ("htools:migration:", "htools:allowmigration:", "htools:desiredlocation:")
_RUNNING = frozenset({"running", "ERROR_up"})
_OFFLINE = "ADMIN_offline"
_LOCAL = frozenset({"plain", "file"})
_LARGEST = 2**26  # MiB: 64Ti, as in a cluster file
_NODE = ("name", "total memory", "node memory", "free memory", "total disk", "free disk",
         "physical cores", "role", "group")  # fmt: skip
_INSTANCE = ("name", "memory", "disk", "vcpus", "status", "auto_balance", "primary node",
             "secondary node", "disk template", "tags")  # fmt: skip
_NODE_TAGS, _OS_VCPUS = 10, 13


@dataclass(frozen=True, slots=True)
class GanetiCluster:
    """What a text file says."""

    cluster: Cluster
    notes: tuple[str, ...] = ()
    """What of the file does not count here, for people."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a section, split at its bars."""

    source: str
    number: int
    fields: tuple[str, ...]
    names: Sequence[str] = ()

    def error(self, what: str) -> ValueError:
        return ValueError(f"{self.source}:{self.number}: {what}")

    def text(self, at: int) -> str:
        return self.fields[at]

    def tags(self, at: int) -> tuple[str, ...]:
        given = self.fields[at] if at < len(self.fields) else ""
        return tuple(tag for tag in given.split(",") if tag)

    def amount(self, at: int) -> int:
        text = self.fields[at]
        if not text.isdecimal() or int(text) > _LARGEST:
            raise self.error(f"{self.names[at]}: {text!r} is not a whole number up to {_LARGEST}")
        return int(text)


def read_ganeti(text: str, source: str = "text file") -> GanetiCluster:
    """Return the cluster that a text file of htools describes, to survive the loss of one node.

    Raises:
        ValueError: the text is no such file; the message names the line and the column.
    """
    groups, nodes, instances, tags, policies = _sections(text, source)
    if not groups:
        raise ValueError(f"{source}:1: there is no node group: is it a text file of htools?")
    named = {line.text(1): line.text(0) for line in _need(groups, ("name", "uuid", "policy"))}
    prefixes = _Prefixes.of([line.text(0) for line in tags])
    ratios = _ratios(policies)
    running = _running(_need(instances, _INSTANCE))
    one_group = len(named) == 1
    hosts = {}
    for line in _need(nodes, _NODE):
        host = _host(line, named, prefixes, ratios=ratios, running=running, one_group=one_group)
        if host.name in hosts:
            raise line.error(f"name: node {host.name!r} is there already")
        hosts[host.name] = host
    if not hosts:
        raise ValueError(f"{source}: there is no node")
    vms: dict[str, Vm] = {}
    for line in _need(instances, _INSTANCE):
        vm = _vm(line, hosts, prefixes, one_group=one_group)
        if vm.name in vms:
            raise line.error(f"name: instance {vm.name!r} is there already")
        vms[vm.name] = vm
    cluster = Cluster(tuple(hosts.values()), tuple(vms.values()), Redundancy(failures=1))
    return GanetiCluster(cluster, tuple(_notes(groups, instances, tags)))


@dataclass(frozen=True, slots=True)
class _Prefixes:
    """What cluster tags make of the tags of instances and of nodes."""

    exclusion: tuple[str, ...]
    location: tuple[str, ...]

    @classmethod
    def of(cls, tags: Sequence[str]) -> "_Prefixes":
        return cls(
            tuple(f"{t[len(_EXCLUSION) :]}:" for t in tags if t.startswith(_EXCLUSION)),
            tuple(f"{t[len(_LOCATION) :]}:" for t in tags if t.startswith(_LOCATION)),
        )


def _sections(text: str, source: str) -> list[list[_Line]]:
    """Return the five sections; tags and policies may be missing at the end."""
    sections: list[list[_Line]] = [[]]
    for number, line in enumerate(text.splitlines(), start=1):
        if line:
            sections[-1].append(_Line(source, number, tuple(line.split("|"))))
        else:
            sections.append([])
    while len(sections) > 5 and not sections[-1]:
        sections.pop()
    if not 3 <= len(sections) <= 5:
        raise ValueError(
            f"{source}: has {len(sections)} sections, must have 5 (groups, nodes, instances,"
            " cluster tags, policies) with one empty line between two: an empty section is two"
            " empty lines"
        )
    return sections + [[] for _ in range(5 - len(sections))]


def _need(lines: list[_Line], names: Sequence[str]) -> Iterator[_Line]:
    """Yield the lines of a section, each with at least these columns."""
    for line in lines:
        if len(line.fields) < len(names):
            raise line.error(
                f"has {len(line.fields)} columns, must have {len(names)} or more:"
                f" {names[len(line.fields)]} is missing (or an empty line between two sections)"
            )
        yield _Line(line.source, line.number, line.fields, names)


def _ratios(policies: list[_Line]) -> dict[str, float]:
    """Return vCPUs for each physical one by node group; "" is every other group."""
    ratios = {"": _DEFAULT_RATIO}
    for line in _need(policies, ("owner", "std", "min and max", "disk templates", "vcpu ratio")):
        try:
            ratio = float(line.text(4))
        except ValueError:
            ratio = -1.0
        if not 0 < ratio <= 1000:
            raise line.error(f"vcpu ratio: {line.text(4)!r} is not a number above 0, up to 1000")
        ratios[line.text(0)] = ratio
    return ratios


def _running(instances: Iterator[_Line]) -> dict[str, int]:
    """Return MiB of the running instances by primary node."""
    running: dict[str, int] = {}
    for line in instances:
        if line.text(4) in _RUNNING:
            running[line.text(6)] = running.get(line.text(6), 0) + line.amount(1)
    return running


def _host(
    line: _Line,
    groups: dict[str, str],
    prefixes: _Prefixes,
    *,
    ratios: dict[str, float],
    running: dict[str, int],
    one_group: bool,
) -> Host:
    name, uuid = line.text(0), line.text(8)
    group = groups.get(uuid)
    if group is None:
        raise line.error(f"group: there is no node group of UUID {uuid!r}")
    if line.text(7) not in ("Y", "N", "M"):
        raise line.error(f"role: {line.text(7)!r} is not Y (offline), N or M (master)")
    # "?" is what Ganeti writes of a node that did not answer.
    silent = "?" in line.fields[1:7]
    capacity, allocated = Room(), Room()
    if not silent:
        most = line.amount(1) - line.amount(2)
        elsewhere = most - line.amount(3) - running.get(name, 0)
        # Less than nothing is taken elsewhere where guests did not touch all of their memory yet:
        # it is theirs all the same.
        capacity = Room(int(line.amount(6) * ratios.get(group, ratios[""])), max(0, most) * MIB)
        system = line.fields[_OS_VCPUS] if len(line.fields) > _OS_VCPUS else "1"
        if not system.isdecimal():
            raise line.error(f"vcpus of the node's system: {system!r} is not a whole number")
        allocated = Room(int(system), max(0, elsewhere) * MIB)
    labels = {} if one_group else {GROUP: group}
    for prefix in prefixes.location:
        for tag in line.tags(_NODE_TAGS):
            if tag.startswith(prefix):
                labels.setdefault(prefix[:-1], tag[len(prefix) :])
    offline = silent or line.text(7) == "Y"
    return Host(name, capacity, allocated, labels=labels, blocked="offline" if offline else "")


def _vm(line: _Line, hosts: dict[str, Host], prefixes: _Prefixes, *, one_group: bool) -> Vm:
    primary = line.text(6)
    if primary not in hosts:
        raise line.error(f"primary node: there is no node {primary!r}")
    if line.text(5) not in ("Y", "N"):
        raise line.error(f"auto_balance: {line.text(5)!r} is neither Y nor N")
    tags, local = line.tags(9), line.text(8) in _LOCAL
    offline = line.text(4) == _OFFLINE
    return Vm(
        line.text(0),
        Room(line.amount(3), 0 if offline else line.amount(1) * MIB),
        host=primary,
        node_selector={} if one_group else {GROUP: hosts[primary].labels[GROUP]},
        labels=dict.fromkeys(tags, "true"),
        rules=tuple(
            Rule(RuleKind.ANTI_AFFINITY, ((tag, "true"),))
            for tag in tags
            if tag.startswith(prefixes.exclusion)
        ),
        restarts=line.text(5) == "Y" and not local and not offline,
        movable=not local,
    )


def _notes(groups: list[_Line], instances: list[_Line], tags: list[_Line]) -> Iterator[str]:
    for line in groups:
        if line.text(2) == "unallocable":
            yield (
                f"group {line.text(0)} is unallocable: give --node-selector {GROUP}=NAME to keep"
                " new virtual machines out of it"
            )
    drbd = sum(line.text(8) == "drbd" for line in instances)
    if drbd:
        yield f"{drbd} instances have drbd disks: read as if every node reached them"
    local = sum(line.text(8) in _LOCAL for line in instances)
    if local:
        yield f"{local} instances have local disks: they neither move nor restart elsewhere"
    unread = sorted({line.text(0) for line in tags if line.text(0).startswith(_UNREAD)})
    if unread:
        yield f"these cluster tags do not count here: {', '.join(unread)}"
