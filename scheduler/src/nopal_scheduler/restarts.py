# SPDX-License-Identifier: Apache-2.0
"""The search behind a failover plan: one virtual machine after another, each where it fits then.

A promise is a place that a proof gave. It is kept while there is room for it; others go elsewhere
as long as they can.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .model import RuleKind, Vm
from .placing.place import ranking
from .rules import Mask
from .state import Amounts, State

_ATTEMPTS = ((1, False), (1, True), (-1, True))
"""Largest first onto the least loaded host, which is best for the guests; then onto the fullest one
that fits, which packs; then smallest first, which is more of them where not all find room."""
_ANCHORS = 32
"""How many anchors are tried for one virtual machine: it bounds the time where none helps."""


@dataclass(frozen=True, slots=True)
class Restart:
    """One virtual machine, started on another host."""

    vm: str
    host: str
    proven: bool
    """Whether the place is the proof's; else it was searched now."""


def search_restarts(
    state: State, vms: Sequence[Vm], promises: Mapping[str, int]
) -> tuple[Restart, ...]:
    """Restart as many as possible, of higher priority first, and add them to the state.

    Args:
        state: The survivors on the hosts that are left.
        vms: Those that are to restart; a `host` in them is not looked at.
        promises: Index of the host that a proof gives, by name, for all or some of them.
    """
    priorities = sorted({vm.priority for vm in vms}, reverse=True)
    by_name = {vm.name: vm for vm in vms}
    best: tuple[list[int], list[Restart]] | None = None
    for sign, full in _ATTEMPTS:
        made = _Attempt(state, vms, promises, sign=sign, full=full).run()
        restarted = [by_name[restart.vm].priority for restart in made]
        counts = [restarted.count(priority) for priority in priorities]
        if best is None or counts > best[0]:
            best = (counts, made)
        for restart in made:
            state.remove(restart.vm)
        if len(made) == len(vms):
            break
    chosen = best[1] if best else []
    for restart in chosen:
        state.add(by_name[restart.vm], state.index[restart.host])
    return tuple(chosen)


class _Attempt:
    """One run, in one order and with one taste in hosts."""

    def __init__(
        self, state: State, vms: Sequence[Vm], promises: Mapping[str, int], *, sign: int, full: bool
    ) -> None:
        self._state = state
        self._full = full
        self._promised: dict[str, int] = {}
        self._held: Amounts = np.zeros_like(state.free)
        """What the promises that are still to be kept will take."""
        for vm in vms:
            if vm.name in promises and state.eligible(vm)[promises[vm.name]]:
                self._promised[vm.name] = promises[vm.name]
                self._held[:, promises[vm.name]] += state.needs(vm)
        whole = np.maximum(state.capacity.sum(axis=1), 1)

        def size(vm: Vm) -> float:
            # What it needs may be something that no host has.
            known = state.eligible(vm).any()
            return float((state.needs(vm) / whole).max()) if known else 0.0

        def key(vm: Vm) -> tuple[int, bool, float, str]:
            promised = vm.name in self._promised
            return -vm.priority, not promised, 0.0 if promised else -sign * size(vm), vm.name

        self._order = sorted(vms, key=key)
        self._rank = {vm.name: i for i, vm in enumerate(self._order)}
        self._pending = set(self._rank)
        self._tried: set[str] = set()
        self._made: list[Restart] = []
        self._anchors_left = 0

    def run(self) -> list[Restart]:
        """Return the restarts in their order; the state has them."""
        while True:
            restarted = [vm for vm in self._left() if self._turn(vm)]
            if restarted:
                continue
            # Nothing fits now. What is promised waits for company that is not there yet.
            stuck = [vm for vm in self._left() if vm.name in self._promised]
            if not stuck:
                return self._made
            if not self._restart_together(stuck):
                self._give_up(stuck[0])

    def _left(self) -> list[Vm]:
        return [vm for vm in self._order if vm.name in self._pending]

    def _turn(self, vm: Vm) -> bool:
        """Restart one if it can be, then whatever waited for it; tell whether it could."""
        todo, restarted = [vm], False
        while todo:
            one = todo.pop(0)
            if one.name in self._pending:
                self._anchors_left = _ANCHORS
                self._tried.add(one.name)
                news = self._restart(one, ())
                restarted |= bool(news)
                todo = [*self._waiting_for(news), *todo]
        return restarted

    def _waiting_for(self, news: list[Vm]) -> list[Vm]:
        """Return those that had their turn before and whose rules look at what came now."""
        if not news:
            return []
        tried = [vm for vm in self._left() if vm.name in self._tried]
        labels = [new.labels for new in news]
        return [vm for vm in tried if any(r.counts_on(each) for r in vm.rules for each in labels)]

    def _restart(self, vm: Vm, chain: tuple[str, ...]) -> list[Vm]:
        """Restart one, its anchor before it where it needs one; return what was restarted."""
        host = self._choose(vm)
        if host is not None:
            self._put(vm, host)
            return [vm]
        for anchor in self._anchors(vm, chain):
            if self._anchors_left <= 0:
                break
            self._anchors_left -= 1
            promised, held = dict(self._promised), self._held.copy()
            news = self._restart(anchor, (*chain, vm.name))
            host = self._choose(vm) if news else None
            if host is not None:
                self._put(vm, host)
                return [*news, vm]
            self._undo(news)
            self._promised, self._held = promised, held
        return []

    def _anchors(self, vm: Vm, chain: tuple[str, ...]) -> Iterator[Vm]:
        """Yield those still to be restarted that an affinity of it asks for."""
        for rule in vm.rules:
            if not rule.required or rule.kind is not RuleKind.AFFINITY:
                continue
            found = [
                other
                for other in self._left()
                if other is not vm and other.name not in chain and rule.matches(other.labels)
            ]
            at = self._promised.get(vm.name)
            if at is not None:
                # With a promise, only those that are promised the same domain can help.
                domains = self._state.topologies.domains(rule.topology)
                near = {name for name, h in self._promised.items() if domains[h] == domains[at]}
                found = [other for other in found if other.name in near]
            yield from found

    def _choose(self, vm: Vm) -> int | None:
        """Return the host for one, if any fits now; gives its promise up where it is void."""
        state = self._state
        if not state.eligible(vm).any():
            return None
        needs = state.needs(vm)
        room = _has_room(state.free - self._held_before(vm), needs)
        fits: Mask = state.fits(vm) & room
        promise = self._promised.get(vm.name)
        if promise is not None:
            if fits[promise]:
                return promise
            if room[promise] and self._may_wait(vm, promise):
                return None
            self._give_up(vm)
        if not fits.any():
            return None
        spare = fits & _has_room(state.free - self._held, needs)
        among = spare if spare.any() else fits
        return next(host for host in ranking(state, vm, fullest=self._full) if among[host])

    def _held_before(self, vm: Vm) -> Amounts:
        """Return what is promised to those that come before it and still wait, by host."""
        held, rank = np.zeros_like(self._held), self._rank[vm.name]
        for name, host in self._promised.items():
            if self._rank[name] < rank:
                held[:, host] += self._state.needs(self._order[self._rank[name]])
        return held

    def _may_wait(self, vm: Vm, host: int) -> bool:
        """Tell whether its rules can come to allow the host: they only lack company."""
        book, eligible = self._state.rules, self._state.eligible(vm)
        if any(near[host] for _, _, near in book.against(vm)):
            return False
        others = [other for other in self._left() if other is not vm]
        return all(
            rule.kind is not RuleKind.ANTI_AFFINITY
            and any(rule.matches(other.labels) for other in others)
            for rule in vm.rules
            if rule.required and not book.satisfied(rule, vm, eligible)[host]
        )

    def _put(self, vm: Vm, host: int) -> None:
        proven = vm.name in self._promised
        if proven:
            self._give_up(vm)
        self._state.add(vm, host)
        self._pending.remove(vm.name)
        self._made.append(Restart(vm.name, self._state.hosts[host].name, proven))

    def _undo(self, news: list[Vm]) -> None:
        for vm in news:
            self._state.remove(vm.name)
            self._pending.add(vm.name)
        del self._made[len(self._made) - len(news) :]

    def _give_up(self, vm: Vm) -> None:
        self._held[:, self._promised.pop(vm.name)] -= self._state.needs(vm)

    def _restart_together(self, vms: list[Vm]) -> bool:
        """Restart all that wait for each other where they are promised, if it holds in the end."""
        state, places = self._state, dict(self._promised)
        for vm in vms:
            state.add(vm, places[vm.name])
        holds = True
        for vm in vms:
            state.remove(vm.name)
            holds = holds and bool(state.fits(vm)[places[vm.name]])
            state.add(vm, places[vm.name])
        for vm in vms:
            state.remove(vm.name)
        for vm in vms if holds else ():
            self._put(vm, places[vm.name])
        return holds


def _has_room(free: Amounts, needs: Amounts) -> Mask:
    room: Mask = np.all(free >= needs[:, None], axis=0)
    return room
