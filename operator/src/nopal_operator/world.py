# SPDX-License-Identifier: Apache-2.0
"""The world as plans see it: the newest known objects, with the indexes that planning asks for.

Planning is synchronous, so nothing changes while a plan is made: the world is a snapshot that costs
nothing to take. `changed` is called once for every object that changed, and is the only way in.
Plans write down what cost them work: `schedulers`, `premises` and `assessments` keep searches and
figures, with which the same world gets the same plan for less.
Times are plain data, in seconds of one monotonic clock that the caller owns.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from nopal_api.base import ApiModel
from nopal_api.disk import Disk
from nopal_api.host import Host
from nopal_api.image import Image
from nopal_api.kinds import DISK, HOST, IMAGE, NETWORK, NODE, VIRTUAL_MACHINE, ZONE, Kind
from nopal_api.network import Network
from nopal_api.virtualmachine import VirtualMachine
from nopal_api.zone import Zone
from nopal_operator.assessment import Assessments
from nopal_operator.facts import DiskFacts, VmFacts, disk_facts, vm_facts
from nopal_operator.premises import Premises
from nopal_operator.schedulers import Schedulers
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import ObjectCache, Record
from nopal_scheduler.model import Room

M = TypeVar("M", bound=ApiModel)
T = TypeVar("T")
K = TypeVar("K")
_PARSED_LIMIT = 256
_SURROUNDINGS = frozenset({HOST.kind, NODE.kind, ZONE.kind})


@dataclass(frozen=True, slots=True)
class Known(Generic[M]):
    """One object: its record, and the same parsed."""

    record: Record
    model: M


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, in seconds, plans wait before they act on what may still change by itself."""

    settle: float = 1.0
    """For what a new virtual machine names and is not there: it may be in the same apply."""
    free_disk: float = 2.0
    """For a virtual machine that claims a new disk, before the disk is made without one."""
    executor: float = 60.0
    """For an executor's host that is down, before another one takes over."""
    zone_status: float = 10.0
    """Between two writes of a zone's figures."""
    unreachable: float = 15.0
    """Before an object that its host has spoken of is called unreachable again: a host whose Lease
    alone is late would otherwise answer each word of the operator's at once, and so on."""


@dataclass(slots=True)
class Times:
    """When things happened, in seconds of the caller's monotonic clock."""

    first_seen: dict[str, float] = field(default_factory=dict)
    """By UID: when the object was seen first."""
    down_since: dict[str, float] = field(default_factory=dict)
    """By node: since when its host is not usable."""
    unreachable_said: dict[str, float] = field(default_factory=dict)
    """By UID: when it was last said that the object's host is unreachable."""
    zone_written: dict[str, float] = field(default_factory=dict)
    """By zone: when its status was written."""


Facts = VmFacts | DiskFacts


@dataclass(frozen=True, slots=True)
class Change:
    """What others saw of an object before, and see of it now; None where it is not there."""

    before: Facts | None
    after: Facts | None
    is_news: bool = True
    """The object's version is another one than before."""


class _Index(Generic[T]):
    """Values by a key, many to many."""

    def __init__(self) -> None:
        self._values: defaultdict[object, set[T]] = defaultdict(set)

    def add(self, key: object, value: T) -> None:
        self._values[key].add(value)

    def remove(self, key: object, value: T) -> None:
        self._values[key].discard(value)
        if not self._values[key]:
            del self._values[key]

    def get(self, key: object) -> frozenset[T]:
        return frozenset(self._values.get(key, ()))


class World:
    """What is known of everything.

    Args:
        cache: the objects.
        patience: how long plans wait.
        computed: seconds of computing so far, which bound what is counted in one plan; without it
            all is counted.
    """

    def __init__(
        self,
        cache: ObjectCache,
        *,
        patience: Patience | None = None,
        computed: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._cache = cache
        self.patience = patience or Patience()
        self.times = Times()
        self.heartbeats: dict[str, bool | None] = {}
        """By node: whether the host's Lease is fresh; None while it cannot be told."""
        self.schedulers = Schedulers()
        """What holds room, by assignment or by a decision that is not seen back yet."""
        self.surroundings = 0
        """Another number whenever a host, a node or a zone has changed."""
        self.premises: dict[str, tuple[int, dict[str, bool | None], Premises]] = {}
        """By zone: its hosts as last made, with the surroundings and heartbeats of then."""
        self.assessments = Assessments(self.schedulers, computed=computed)
        self._vms: dict[Key, VmFacts] = {}
        self._disks: dict[Key, DiskFacts] = {}
        self._versions: dict[Key, str] = {}
        self._labels: dict[str, Mapping[str, str]] = {}
        """Of nodes, by name."""
        self._parsed: dict[tuple[str, str], ApiModel] = {}
        self._by: _Index[Key] = _Index()

    # What plans ask for.

    def vm(self, key: Key) -> Known[VirtualMachine] | None:
        """Return the virtual machine."""
        return self._known(key, VirtualMachine)

    def vm_by_uid(self, uid: str) -> Known[VirtualMachine] | None:
        """Return the virtual machine with that UID."""
        record = self._cache.find_uid(VIRTUAL_MACHINE, uid)
        return None if record is None else self.vm(record.key)

    def disk(self, key: Key) -> Known[Disk] | None:
        """Return the disk."""
        return self._known(key, Disk)

    def image(self, name: str) -> Known[Image] | None:
        """Return the image."""
        return self._known(Key(IMAGE.kind, "", name), Image)

    def network(self, name: str) -> Known[Network] | None:
        """Return the network."""
        return self._known(Key(NETWORK.kind, "", name), Network)

    def host(self, name: str) -> Known[Host] | None:
        """Return the host."""
        return self._known(Key(HOST.kind, "", name), Host)

    def zone(self, name: str) -> Known[Zone] | None:
        """Return the zone."""
        return self._known(Key(ZONE.kind, "", name), Zone)

    def node_labels(self, name: str) -> Mapping[str, str] | None:
        """Return the labels of a Kubernetes node; None if there is no such node."""
        record = self._cache.get(Key(NODE.kind, "", name))
        return None if record is None else record.labels

    def zones(self) -> tuple[Known[Zone], ...]:
        """Return all zones, the oldest first."""
        found = [Known(r, r.model(Zone)) for r in self._cache.all(ZONE)]
        return tuple(sorted(found, key=lambda z: (z.record.created, z.record.name)))

    def hosts(self, zone: str | None = None) -> tuple[Known[Host], ...]:
        """Return the hosts by name: all, or those that the operator has put into a zone."""
        found = [Known(r, r.model(Host)) for r in self._cache.all(HOST)]
        wanted = [h for h in found if zone is None or h.model.status.zone == zone]
        return tuple(sorted(wanted, key=lambda h: h.record.name))

    def keys(self, kind: Kind) -> tuple[Key, ...]:
        """Return the keys of all objects of a kind."""
        return tuple(record.key for record in self._cache.all(kind))

    def vm_facts(self, key: Key) -> VmFacts | None:
        """Return the facts of a virtual machine."""
        return self._vms.get(key)

    def disk_facts(self, key: Key) -> DiskFacts | None:
        """Return the facts of a disk."""
        return self._disks.get(key)

    def load(self, node: str) -> Room:
        """Return the room that is taken on a host, decisions included."""
        return self.schedulers.load(node)

    def claimed_by(self, vm_uid: str) -> tuple[Key, ...]:
        """Return the disks that the virtual machine with that UID claims."""
        return self._sorted("claim", vm_uid)

    def naming(self, disk: Key) -> tuple[Key, ...]:
        """Return the virtual machines whose spec names the disk."""
        return self._sorted("names", disk)

    def from_image(self, image: str) -> tuple[DiskFacts, ...]:
        """Return the disks whose source is the image."""
        return tuple(self._disks[key] for key in self._sorted("image", image))

    def vms_on(self, node: str) -> tuple[Key, ...]:
        """Return the virtual machines that hold room on a host."""
        return self._sorted("node", node)

    def waiting(self, zone: str) -> tuple[Key, ...]:
        """Return the virtual machines of a zone that wait for a host."""
        return self._sorted("waiting", zone)

    def looking_around(self, zone: str) -> tuple[Key, ...]:
        """Return those that wait in a zone and may get a host because others have come."""
        return self._sorted("looking around", zone)

    def using_network(self, network: str) -> tuple[Key, ...]:
        """Return the virtual machines that name the network or are connected to it."""
        return self._sorted("network", network)

    def with_mac(self, network: str, mac: str) -> tuple[VmFacts, ...]:
        """Return the virtual machines that have the MAC address in the network."""
        return tuple(self._vms[key] for key in self._sorted("mac", (network, mac)))

    def executed_by(self, node: str) -> tuple[DiskFacts, ...]:
        """Return the disks whose executor is on that node."""
        return tuple(self._disks[key] for key in self._sorted("executor", node))

    def claimed_on(self, node: str) -> tuple[DiskFacts, ...]:
        """Return the disks that are claimed for a virtual machine on that node."""
        return tuple(self._disks[key] for key in self._sorted("claim-node", node))

    def idle(self, zone: str) -> tuple[Key, ...]:
        """Return the disks of a zone that neither a virtual machine nor an executor has."""
        return self._sorted("idle", zone)

    # How it comes to know.

    def changed(self, key: Key, *, now: float = 0.0) -> Change:
        """Take in the newest version of the object; return what others saw of it before and now."""
        record = self._cache.get(key)
        version = None if record is None else record.resource_version
        if version is not None and version == self._versions.get(key):
            facts = self._vms.get(key) or self._disks.get(key)
            return Change(facts, facts, is_news=False)
        _put(self._versions, key, version)
        if key.kind == VIRTUAL_MACHINE.kind:
            vm = self.vm(key)
            about_vm = None if vm is None else vm_facts(vm.record, vm.model)
            change = Change(self._vms.get(key), about_vm)
            self._replace(key, change, now)
            _put(self._vms, key, about_vm)
            return change
        if key.kind == DISK.kind:
            disk = self.disk(key)
            about = None if disk is None else disk_facts(disk.record, disk.model)
            change = Change(self._disks.get(key), about)
            self._replace(key, change, now)
            _put(self._disks, key, about)
            return change
        if key.kind == NODE.kind:
            # Its kubelet writes it every few minutes: of all that only the labels are looked at.
            labels = None if record is None else dict(record.labels)
            if labels == self._labels.get(key.name):
                return Change(None, None, is_news=False)
            _put(self._labels, key.name, labels)
        if key.kind in _SURROUNDINGS:
            self.surroundings += 1
        if key.kind == ZONE.kind and record is None:
            self._forget_zone(key.name)
        return Change(None, None)

    def _forget_zone(self, name: str) -> None:
        self.premises.pop(name, None)
        self.times.zone_written.pop(name, None)
        self.assessments.forget(name)
        self.schedulers.forget(name)

    def _replace(self, key: Key, change: Change, now: float) -> None:
        before, after = change.before, change.after
        if before is not None:
            for entry in _entries(before):
                self._by.remove(entry, key)
            if after is None or after.uid != before.uid:
                self.schedulers.drop(before.uid)
                self.schedulers.assign(before.uid, None)
                self.times.first_seen.pop(before.uid, None)
                self.times.unreachable_said.pop(before.uid, None)
        if after is not None:
            for entry in _entries(after):
                self._by.add(entry, key)
            if isinstance(after, VmFacts):
                self.schedulers.assign(after.uid, after.hold)
                self.schedulers.seen(after.uid, after.epoch)
            self.times.first_seen.setdefault(after.uid, now)

    def _sorted(self, index: str, value: object) -> tuple[Key, ...]:
        return tuple(sorted(self._by.get((index, value))))

    def _known(self, key: Key, model: type[M]) -> Known[M] | None:
        record = self._cache.get(key)
        if record is None:
            return None
        if key.kind not in (VIRTUAL_MACHINE.kind, DISK.kind):
            return Known(record, record.model(model))
        # There are many of these: only the last few stay parsed.
        version = (record.uid, record.resource_version)
        parsed = self._parsed.get(version)
        if not isinstance(parsed, model):
            parsed = self._parsed[version] = record.parse(model)
            if len(self._parsed) > _PARSED_LIMIT:
                self._parsed.pop(next(iter(self._parsed)))
        return Known(record, parsed)


def _put(into: dict[K, T], key: K, value: T | None) -> None:
    if value is None:
        into.pop(key, None)
    else:
        into[key] = value


def _entries(facts: Facts) -> Iterator[tuple[str, object]]:
    if isinstance(facts, VmFacts):
        yield from (("names", disk) for disk in facts.disks)
        yield from (("network", network) for network in facts.networks)
        yield from (("mac", mac) for mac in facts.macs)
        if facts.node:
            yield "node", facts.node
        if facts.waiting:
            yield "waiting", facts.zone
            if facts.looks_around:
                yield "looking around", facts.zone
        return
    if facts.claim_uid:
        yield "claim", facts.claim_uid
        yield "claim-node", facts.claim_node
    if facts.executor:
        yield "executor", facts.executor
    if facts.image:
        yield "image", facts.image
    if not facts.claim_uid and not facts.executor:
        yield "idle", facts.zone
