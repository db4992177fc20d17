# SPDX-License-Identifier: Apache-2.0
"""One scheduler for each zone, kept up to date one virtual machine at a time.

A decision in a zone of 50,000 virtual machines must not begin with all of them. So a scheduler is
built when it is first asked, and again when the zone's hosts or its redundancy have changed; in
between virtual machines are put in and taken out as they come and go.

A scheduler that is to prove something takes its time to build, many seconds in a large or nearly
full zone. It is then built aside, from data that do not change; what changes meanwhile is caught up
with when it is there, and until then the zone has no scheduler.
"""

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from nopal_operator.premises import Asked, Premises
from nopal_scheduler.answer import NoPlacement, Placement
from nopal_scheduler.model import Cluster, Host, Room, Vm
from nopal_scheduler.scheduler import Scheduler
from nopal_scheduler.state import State

_REMEMBERED = 256
"""Keys of labels that are kept although nothing in the zone asks by them any more."""
_FEW = 64
"""Virtual machines that are put in again one by one in a zone of any size."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Room that a virtual machine has on a host: assigned, or decided and not yet seen back."""

    vm: Vm
    """Its name is the UID."""
    host: str
    epoch: int
    """Of the assignment."""


@dataclass(slots=True)
class _Zone:
    name: str
    premises: Premises
    scheduler: Scheduler
    changes: int


@dataclass(frozen=True, slots=True)
class _Search:
    premises: Premises
    result: Future[Scheduler]


class SearchingError(Exception):
    """The zone's scheduler is being built: nothing can be said until it is there."""


Aside = Callable[[str, Cluster, Scheduler | None], Future[Scheduler]]
"""Builds the scheduler of a zone somewhere else; from one that nobody changes any more, if any."""


@dataclass(slots=True)
class Schedulers:
    """What holds room everywhere, and who decides where there is more.

    `place`, `scheduler` and `changes` raise SearchingError while a zone's scheduler is built aside.
    """

    aside: Aside | None = None
    """For zones in which there is much to prove; None: all are built when they are asked."""
    _assigned: dict[str, Hold] = field(default_factory=dict)
    _assumed: dict[str, Hold] = field(default_factory=dict)
    _there: dict[str, Hold] = field(default_factory=dict)
    """What counts of the two: an assignment that was seen is the truth."""
    _on: defaultdict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    _load: defaultdict[str, Room] = field(default_factory=lambda: defaultdict(Room))
    _zones: dict[str, _Zone] = field(default_factory=dict)
    _zone_of: dict[str, str] = field(default_factory=dict)
    _asked: dict[str, Asked] = field(default_factory=dict)
    """By zone; kept while its scheduler is built anew."""
    _searches: dict[str, _Search] = field(default_factory=dict)
    _last: dict[str, Scheduler] = field(default_factory=dict)
    """By zone: what was found before, with a proof if there was one, until one is found again. Kept
    up to date for long, it may have a proof that no search from nothing finds."""
    _given_back: set[str] = field(default_factory=set)
    _ticks: int = 0

    # What holds room.

    def assign(self, uid: str, hold: Hold | None) -> None:
        """Take note of the room that a virtual machine holds by its assignment; None: of none.

        What was assumed of it ends with the assignment of that epoch, or a later one.
        """
        if hold is None:
            self._assigned.pop(uid, None)
        else:
            self._assigned[uid] = hold
        self._settle(uid)

    def seen(self, uid: str, epoch: int) -> None:
        """End an assumption of that epoch or an earlier one: it is seen how it ended."""
        assumed = self._assumed.get(uid)
        if assumed is not None and assumed.epoch <= epoch:
            self.drop(uid)

    def assume(self, hold: Hold) -> None:
        """Hold room from now on, until the assignment is seen or known not to be written."""
        before = self._assumed.get(hold.vm.name)
        self._assumed[hold.vm.name] = hold
        self._settle(hold.vm.name)
        self._ended(before)

    def drop(self, uid: str) -> None:
        """Give back what was assumed: the assignment was not written, or its machine is gone."""
        before = self._assumed.pop(uid, None)
        self._settle(uid)
        self._ended(before)

    def _ended(self, assumed: Hold | None) -> None:
        """Take note of the room that a decision has given back."""
        if assumed is not None:
            there = self._there.get(assumed.vm.name)
            if there is None or there.host != assumed.host:
                self._given_back.add(assumed.host)

    def given_back(self) -> frozenset[str]:
        """Return, once, the hosts on which room was given back that was only assumed."""
        found = frozenset(self._given_back)
        self._given_back.clear()
        return found

    def assumed(self) -> int:
        """Return how many decisions have not been seen back yet."""
        return len(self._assumed)

    def load(self, host: str) -> Room:
        """Return the room that is taken on a host."""
        return self._load[host]

    def differ(self, before: Hold, after: Hold) -> bool:
        """Tell whether two holds of one virtual machine are different for anybody else."""
        asked = self._asked.get(self._zone_of.get(after.host, ""))
        if asked is None or before.host != after.host:
            return before.host != after.host or before.vm != after.vm
        return asked.of(before.vm) != asked.of(after.vm)

    # Who decides.

    def place(self, zone: str, premises: Premises, vm: Vm) -> Placement | NoPlacement:
        """Return where a virtual machine goes; what was assumed of itself is not in its way."""
        found = self._zone(zone, premises)
        if not self._learn(found, vm):
            found = self._build(zone, premises, vm)
        mine = self._there.get(vm.name)
        if mine is not None:
            self._leave(mine)
        try:
            return found.scheduler.place(self._asked[zone].of(vm))
        finally:
            if mine is not None:
                self._enter(mine)

    def scheduler(self, zone: str, premises: Premises) -> Scheduler:
        """Return the zone's scheduler, to read."""
        return self._zone(zone, premises).scheduler

    def changes(self, zone: str, premises: Premises) -> int:
        """Return a number that is another one whenever anything in the zone has changed."""
        return self._zone(zone, premises).changes

    def cluster(self, premises: Premises) -> Cluster:
        """Return the zone with all that holds room there."""
        vms = tuple(
            replace(self._there[uid].vm, host=host.name)
            for host in premises.hosts
            for uid in self._on.get(host.name, ())
        )
        return Cluster(hosts=premises.hosts, vms=vms, redundancy=premises.redundancy)

    def search(self, zone: str, premises: Premises, failures: int) -> Future[Scheduler]:
        """Build a scheduler of the zone as it is now, to survive so many failures: to be read."""
        cluster = self.cluster(premises)
        wanted = replace(premises.redundancy, failures=failures)
        return self._search(zone, replace(cluster, redundancy=wanted))

    def forget(self, zone: str) -> None:
        """Forget a zone that is gone; what holds room on its hosts still does."""
        self._forget(zone)
        self._searches.pop(zone, None)
        self._last.pop(zone, None)
        self._asked.pop(zone, None)

    def _zone(self, name: str, premises: Premises) -> _Zone:
        search = self._searches.get(name)
        if search is not None:
            if not search.result.done():
                raise SearchingError(name)
            del self._searches[name]
            asked = self._asked[name]
            # Else it is of no use by now: what it was built for are other hosts.
            if asked.essence(search.premises) == asked.essence(premises):
                self._install(name, search.premises, search.result.result())
        known = self._zones.get(name)
        if known is None or not self._takes(known, premises):
            known = self._build(name, premises)
        return known

    def _takes(self, zone: _Zone, premises: Premises) -> bool:
        """Take over what is told of the same hosts; tell whether nothing is to be searched for."""
        if zone.premises == premises:
            return True
        asked = self._asked[zone.name]
        if asked.essence(zone.premises) != asked.essence(premises):
            return False
        zone.scheduler.state.describe(self._with_what_is_taken(host) for host in premises.hosts)
        pairs = zip(zone.premises.hosts, premises.hosts, strict=True)
        if any(before.blocked != after.blocked for before, after in pairs):
            zone.changes = self._tick()
        zone.premises = premises
        return True

    def _build(self, name: str, premises: Premises, newcomer: Vm | None = None) -> _Zone:
        cluster = self.cluster(premises)
        asked = Asked.by((*cluster.vms, *filter(None, (newcomer,))))
        # Those who wait have asked, too, and do so again.
        before = self._asked.get(name, asked)
        if len(before) <= len(asked) + _REMEMBERED:
            asked |= before
        self._asked[name] = asked
        self._forget(name)
        hosts = tuple(self._with_what_is_taken(host) for host in premises.hosts)
        vms = tuple(asked.of(vm) for vm in cluster.vms)
        cluster = replace(cluster, hosts=hosts, vms=vms)
        search = self._search(name, cluster, self._last.get(name))
        if not search.done():
            self._searches[name] = _Search(premises, search)
            raise SearchingError(name)
        self._install(name, premises, search.result())
        return self._zones[name]

    def _search(
        self, zone: str, cluster: Cluster, like: Scheduler | None = None
    ) -> Future[Scheduler]:
        """Build a scheduler: at once where there is little to prove, or nobody to do it aside."""
        if self.aside is not None and cluster.redundancy.failures and len(cluster.vms) > _FEW:
            return self.aside(zone, cluster, like)
        result: Future[Scheduler] = Future()
        result.set_result(Scheduler(cluster, like=like))
        return result

    def _install(self, name: str, premises: Premises, scheduler: Scheduler) -> None:
        """Have a scheduler decide from now on, and tell it what has changed since it was begun."""
        names = [host.name for host in premises.hosts]
        self._zone_of.update((each, name) for each in names)
        self._zones[name] = _Zone(name, premises, scheduler, self._tick())
        if scheduler.is_proven:
            self._last.pop(name, None)
        asked, state = self._asked[name], scheduler.state
        there = {uid: self._there[uid] for each in names for uid in self._on.get(each, ())}
        for uid, vm in tuple(state.vms.items()):
            hold = there.get(uid)
            if hold is not None:
                at = state.hosts[state.host_of(uid)].name
                if replace(asked.of(hold.vm), host=vm.host) == vm and hold.host == at:
                    del there[uid]
                    continue
            scheduler.remove(uid)
        for hold in there.values():
            self._enter(hold)

    def _learn(self, zone: _Zone, vm: Vm) -> bool:
        """Have a zone's scheduler hear of the labels by which a virtual machine asks.

        Those that have such a label are put in again: mostly few, for most new keys are somebody's
        own. Where they are many the scheduler is built anew, and it is told so.
        """
        before = self._asked[zone.name]
        self._asked[zone.name] = before | Asked.by((vm,))
        new = self._asked[zone.name].labels - before.labels
        if not new:
            return True
        vms = zone.scheduler.state.vms
        holds = (
            self._there[uid] for host in zone.premises.hosts for uid in self._on.get(host.name, ())
        )
        again = [h for h in holds if h.vm.name in vms and not new.isdisjoint(h.vm.labels)]
        if len(again) > max(_FEW, len(vms) // 8):
            self._forget(zone.name)
            return False
        for hold in again:
            self._leave(hold)
            self._enter(hold)
        return True

    def _with_what_is_taken(self, host: Host) -> Host:
        """Return the host with at least as much of each further resource as is taken of it.

        A person may lower a number below what is there already. That stays, and must not be in the
        way of those who need none of it, as an amount below nothing would be.
        """
        taken, there = self._load[host.name].more, host.capacity.more
        over = {name: count for name, count in taken.items() if count > there.get(name, 0)}
        if not over:
            return host
        return replace(host, capacity=replace(host.capacity, more={**there, **over}))

    def _count_anew(self, host: str) -> None:
        """Have the scheduler built anew where it was told more of the host than there is."""
        zone = self._zones.get(self._zone_of.get(host, ""))
        if zone is None:
            return
        told = zone.scheduler.state.hosts[zone.scheduler.state.index[host]]
        if told not in zone.premises.hosts:
            self._forget(zone.name)

    def _tick(self) -> int:
        self._ticks += 1
        return self._ticks

    def _settle(self, uid: str) -> None:
        """Make what counts follow from what is assigned and what is assumed."""
        before = self._there.get(uid)
        after = self._assigned.get(uid) or self._assumed.get(uid)
        if before == after:
            return
        if before is not None and after is not None and not self.differ(before, after):
            self._there[uid] = after
            return
        if before is not None:
            del self._there[uid]
            del self._on[before.host][uid]
            self._load[before.host] -= before.vm.needs
            self._leave(before)
            if before.vm.needs.more:
                self._count_anew(before.host)
        if after is not None:
            self._there[uid] = after
            self._on[after.host][uid] = None
            self._load[after.host] += after.vm.needs
            self._enter(after)

    def _enter(self, hold: Hold) -> None:
        zone = self._zones.get(self._zone_of.get(hold.host, ""))
        if zone is None:
            return
        state = zone.scheduler.state
        if hold.vm.name in state.vms or _lacks(state, hold):
            self._forget(zone.name)
            return
        if not self._learn(zone, hold.vm):
            return
        zone.changes = self._tick()
        zone.scheduler.add(self._asked[zone.name].of(hold.vm), hold.host)

    def _leave(self, hold: Hold) -> None:
        zone = self._zones.get(self._zone_of.get(hold.host, ""))
        if zone is not None and hold.vm.name in zone.scheduler.state.vms:
            zone.changes = self._tick()
            zone.scheduler.remove(hold.vm.name)

    def _forget(self, name: str) -> None:
        """Have a zone's scheduler built anew when it is asked again.

        Its hosts are nobody's until then, but for those that another zone was told of since.
        """
        zone = self._zones.pop(name, None)
        if zone is not None and (zone.scheduler.is_proven or name not in self._last):
            self._last[name] = zone.scheduler
        for host in zone.premises.hosts if zone is not None else ():
            if self._zone_of.get(host.name) == name:
                del self._zone_of[host.name]


def _lacks(state: State, hold: Hold) -> bool:
    """Tell whether the host has not so much of a further resource, as far as the state knows."""
    more = hold.vm.needs.more
    if not more:
        return False
    free = dict(zip(state.resources, state.free[:, state.index[hold.host]].tolist(), strict=True))
    return any(free.get(name, -1) < count for name, count in more.items())
