# SPDX-License-Identifier: Apache-2.0
"""A change of backup lists that can be taken back: one in, a few others somewhere else."""

from collections.abc import Iterable

from ...model import Vm
from ...state import State
from .lists import BackupLists, Hosts
from .pairs import Trigger

Stuck = tuple[str, Trigger]
"""A virtual machine without a list, and the loss for which no host was found."""


class Rehoming:
    """One change of the lists, whole or not at all.

    Args:
        state: Where everything is.
        lists: What is changed.
        limit: How many lists may be dropped to be found anew.
    """

    def __init__(self, state: State, lists: BackupLists, limit: int) -> None:
        self._state = state
        self._lists = lists
        self._left = limit
        self._before: dict[str, Hosts | None] = {}
        self._waiting: dict[str, None] = {}
        self._kept: set[str] = set()
        """Who drove others away and is not to be driven away for them."""

    @property
    def waiting(self) -> tuple[str, ...]:
        """Who has no list now."""
        return tuple(self._waiting)

    def settle(self, vms: Iterable[Vm], host: int | None = None) -> Stuck | None:
        """Find lists for virtual machines, and others for those that are in the way.

        Args:
            vms: They are on their hosts and have no list.
            host: One that has less room than before.

        Returns:
            None, or one that got none: then `undo` is due.
        """
        there = self._state.vms
        self._waiting.update((vm.name, None) for vm in vms)
        crowded: Hosts = () if host is None else (host,)
        while True:
            for each in sorted(crowded):
                stuck = self.relieve(each)
                if stuck is not None:
                    return stuck
            if not self._waiting:
                broken = self._lists.keeping.broken(there[each] for each in self._before)
                if not broken:
                    return None
                # Their rules hold no more: another list for each, or this change is none.
                if len(broken) > self._left:
                    return broken[0], self._lists.home(there[broken[0]])
                self._left -= len(broken)
                for name in broken:
                    self.drop(name)
            name = min(self._waiting, key=lambda each: self._lists.order(there[each]))
            vm = there[name]
            hosts, reached = self._lists.find(vm)
            if hosts is None and self._left > 0:
                hosts, reached = self._lists.find(vm, push=True)
                self._kept.add(name)
            if hosts is None:
                return name, reached
            del self._waiting[name]
            self._before.setdefault(name, None)
            self._lists.give(vm, hosts)
            crowded = hosts

    def drop(self, name: str) -> None:
        """Drop a list, to be found anew."""
        hosts = self._lists.drop(self._state.vms[name])
        self._before.setdefault(name, hosts)
        self._waiting[name] = None

    def relieve(self, host: int) -> Stuck | None:
        """Drop lists until everything that may arrive on a host fits, or the limit is reached."""
        while (short := self._lists.overfull(host)).size:
            name = self._in_the_way(host, int(short[0]))
            if name is None or self._left <= 0:
                blamed = name or min(self._lists.parked[host])
                return blamed, self._lists.parked[host][blamed][0]
            self._left -= 1
            self.drop(name)
        return None

    def undo(self) -> None:
        """Put every list back as it was."""
        for name in self._before:
            if name in self._lists:
                self._lists.drop(self._state.vms[name])
        for name, hosts in self._before.items():
            if hosts is not None:
                self._lists.give(self._state.vms[name], hosts)

    def _in_the_way(self, host: int, resource: int) -> str | None:
        """Return whose list to drop: the smallest that is enough, or else the largest."""
        lost = self._lists.sums.in_worst(host, resource).tolist()
        excess = self._lists.sums.worst_of(host)[resource] - self._state.free[resource, host]
        found = [
            (needs[resource], name)
            for name, (trigger, needs) in self._lists.parked[host].items()
            if all(lost[d] for d in trigger) and name not in self._kept
        ]
        enough = [each for each in found if each[0] >= excess]
        if enough:
            return min(enough)[1]
        return max(found)[1] if found else None
