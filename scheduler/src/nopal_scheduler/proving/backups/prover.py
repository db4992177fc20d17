# SPDX-License-Identifier: Apache-2.0
"""N+k for large zones: every virtual machine has a list of k hosts to go to."""

from collections.abc import Iterable

import numpy as np

from ...model import RuleKind, Vm
from ...proof import Case, Impossible, NotProven, Proof, Verdict
from ...rules import Mask
from ...state import Amounts, State
from .bounds import host_bound, room_bound
from .lists import BackupLists, Hosts
from .pairs import Trigger
from .rehoming import Rehoming, Stuck

_REHOMED = 8
"""How many lists one change may drop and find anew."""
_RETRIED = 4
"""How many of those without a list may drive others away when room appears; all are tried."""
_PUSHED = 32
"""The same for the first proof of a whole cluster."""
_ROUNDS = 4
"""How often a first proof is begun anew, with those first who were left without a list."""
_HARD = frozenset({RuleKind.AFFINITY, RuleKind.SPREAD})
"""Kinds of rules that a list may fail to keep where there is a way without lists."""


class BackupProver:
    """A `Prover` that gives each virtual machine a fixed list of k backups.

    One that gets no list stays unproven, and so does the whole, until room appears for it.

    Args:
        state: The cluster, owned from now on.
        like: A prover of about the same, to take over the lists that hold here as well.
    """

    def __init__(self, state: State, like: "BackupProver | None" = None) -> None:
        self._state = state
        self._failures = state.redundancy.failures
        self._names = state.domain_names
        """The failure domains; in everything below they are their index here."""
        self._domain = np.zeros(len(state.hosts), dtype=np.int64)
        """The failure domain of every host."""
        for number, lost in enumerate(state.lost_with):
            self._domain[lost] = number
        self._lists: BackupLists | None = None
        if 0 < self._failures < len(self._names):
            self._lists = BackupLists(state, self._domain)
        self._to_restart: Amounts = np.zeros(
            (len(state.resources), len(self._names)), dtype=np.int64
        )
        """By resource and failure domain the needs of what restarts."""
        self._restarting = 0
        self._unproven: dict[str, Trigger] = {}
        """Who restarts and has no list, with the loss for which no host was found."""
        self._verdict: Verdict | None = None
        for vm in state.vms.values():
            self._count(vm, 1)
        if self._lists is not None:
            if like is not None and like._lists is not None:
                self._adopt(self._lists, like._lists, like._state)
            self._begin(self._lists)

    def admit(self, vm: Vm, host: int) -> NotProven | Impossible | None:
        """Add a virtual machine if everything is proven with it; else change nothing and say why.

        Args:
            vm: One that the state does not have yet and that fits on the host.
            host: Index of the host.
        """
        standing = self._verdict if self.is_proven else self.verdict()
        if standing is not None and not isinstance(standing, Proof):
            return standing
        self._enter(vm, host)
        against: NotProven | Impossible | None = None
        if self._lists is None:
            against = self._nowhere()
        else:
            change = self._change(self._lists, vm)
            stuck = change.settle(_restarting(vm), host)
            if stuck is not None:
                against = self._against(stuck)
                change.undo()
        if against is not None:
            self._leave(vm.name)
            self._verdict = standing
        return against

    def add(self, vm: Vm, host: int) -> None:
        """Add a virtual machine that is there already, whatever follows for the proof."""
        self._enter(vm, host)
        if self._lists is None:
            return
        change = self._change(self._lists, vm)
        if change.settle(_restarting(vm), host) is None:
            # It may be what a rule of theirs was waiting for.
            helped = self._lists.keeping.book.holders_for(vm) & self._unproven.keys()
            self._retry([self._state.vms[name] for name in helped])
            return
        change.undo()
        change = self._change(self._lists, vm, limit=len(self._lists.parked[host]))
        change.relieve(host)
        self._retry([*_restarting(vm), *(self._state.vms[name] for name in change.waiting)])

    def remove(self, name: str) -> None:
        """Take a virtual machine away; raises KeyError."""
        vm = self._state.vms[name]
        lists, again = self._lists, self._unproven
        if lists is not None and name in lists:
            lists.drop(vm)
        again.pop(name, None)
        self._leave(name)
        if lists is not None:
            for each in lists.keeping.broken((vm,)):
                lists.drop(self._state.vms[each])
                again[each] = ()
        self._retry([self._state.vms[each] for each in again])

    def verdict(self) -> Verdict:
        """Return the proof of the whole, or what stands against it."""
        if self._verdict is None:
            self._verdict = self._proof() if self.is_proven else self._not_proven()
        return self._verdict

    @property
    def is_proven(self) -> bool:
        """Tell whether the whole is proven, without writing the proof down."""
        return not self._unproven and self._nowhere() is None

    @property
    def unplaced(self) -> tuple[str, ...]:
        """Return who restarts and has no list."""
        if self._nowhere() is None:
            return tuple(sorted(self._unproven))
        return tuple(sorted(name for name, vm in self._state.vms.items() if vm.restarts))

    def headroom(self, vm: Vm) -> Mask:
        """Return the hosts that can take the virtual machine with no backup driven away."""
        fits = self._state.free - self.held >= self._state.needs(vm)[:, None]
        roomy: Mask = np.all(fits, axis=0)
        return roomy

    @property
    def held(self) -> Amounts:
        """The most that may arrive on each host, by resource."""
        return np.zeros_like(self._state.free) if self._lists is None else self._lists.sums.worst

    def _proof(self) -> Proof:
        lists = self._lists.items() if self._lists is not None else ()
        names = [host.name for host in self._state.hosts]
        return Proof(
            self._state.redundancy,
            backups={name: tuple([names[h] for h in hosts]) for name, hosts in sorted(lists)},
        )

    def _not_proven(self) -> NotProven | Impossible:
        nowhere = self._nowhere()
        if nowhere is not None:
            return nowhere
        assert self._lists is not None  # noqa: S101 - only who could have a list is unproven
        order, vms = self._lists.order, self._state.vms
        first = min(self._unproven, key=lambda name: order(vms[name]))
        return self._against((first, self._unproven[first]))

    def _nowhere(self) -> Impossible | None:
        """Return that nothing is left where everything may be lost at once."""
        if self._lists is None and self._restarting and self._failures:
            return Impossible(self._names, "no host is left")
        return None

    def _against(self, stuck: Stuck) -> NotProven | Impossible:
        """Return what stands against a proof, one that got no list given."""
        state = self._state
        vm = state.vms[stuck[0]]
        bound = room_bound(state, self._domain, self._to_restart)
        bound = bound or host_bound(state, self._domain, vm)
        if bound is not None:
            return bound
        lost = np.isin(self._domain, stuck[1])
        restarts: dict[str, str] = {}
        unplaced = []
        for host in np.flatnonzero(lost):
            for name in state.on[host]:
                if not state.vms[name].restarts:
                    continue
                listed = self._lists is not None and name in self._lists
                hosts = self._lists[name] if self._lists is not None and listed else ()
                left = [h for h in hosts if not lost[h]]
                if left:
                    restarts[name] = state.hosts[left[0]].name
                else:
                    unplaced.append(name)
        hint = self._hint(vm)
        if not unplaced:  # its list leads to a host that is too full, and no other was found
            without = f'no list of {self._failures} backups was found for vm "{vm.name}"'
            hint = f"{without}: {hint}" if hint else without
        return NotProven(
            Case(
                tuple(sorted(self._names[d] for d in stuck[1])),
                dict(sorted(restarts.items())),
            ),
            tuple(sorted(unplaced)),
            hint,
        )

    @staticmethod
    def _hint(vm: Vm) -> str:
        """Return which rule of a virtual machine may be the reason that no list was found."""
        for rule in vm.rules:
            if rule.required and rule.kind in _HARD:
                return (
                    f'"{vm.name}" requires {rule.kind} by {rule.topology}, and in a zone of this'
                    " size one list of backups must keep that in every loss"
                )
        return ""

    def _change(self, lists: BackupLists, vm: Vm, limit: int = _REHOMED) -> Rehoming:
        change = Rehoming(self._state, lists, limit)
        for name in sorted(lists.conflicts(vm)):
            change.drop(name)
        return change

    def _adopt(self, lists: BackupLists, old: BackupLists, before: State) -> None:
        """Take over the lists that are some here."""
        index, found = self._state.index, list[Vm]()
        for vm in sorted(self._state.vms.values(), key=lists.order):
            if not vm.restarts or vm.name not in old:
                continue
            # The beginning of a list is one for fewer losses.
            known = old[vm.name][: self._failures]
            hosts = tuple(index.get(before.hosts[host].name, -1) for host in known)
            if -1 not in hosts and lists.takes(vm, hosts):
                lists.give(vm, hosts)
                found.append(vm)
        while broken := lists.keeping.broken(found):
            for name in broken:
                lists.drop(self._state.vms[name])

    def _begin(self, lists: BackupLists) -> None:
        """Find lists for all, anew from nothing while some are left without one; keep the best."""
        hard: set[str] = set()
        best: tuple[dict[str, Hosts], dict[str, Trigger]] | None = None
        for _ in range(_ROUNDS):
            waiting = [v for v in self._state.vms.values() if v.restarts and v.name not in lists]
            self._retry([vm for vm in waiting if vm.name in hard], _PUSHED)
            self._retry([vm for vm in waiting if vm.name not in lists], _PUSHED)
            # Who found none found others in the way that have found other hosts since.
            self._retry([self._state.vms[name] for name in self._unproven], _PUSHED)
            if not self._unproven or isinstance(self._not_proven(), Impossible):
                return
            hard |= self._unproven.keys()
            if best is None or len(self._unproven) < len(best[1]):
                best = dict(lists.items()), dict(self._unproven)
            self._drop_all(lists)
        if best is not None:
            for name, hosts in best[0].items():
                lists.give(self._state.vms[name], hosts)
            self._unproven, self._verdict = best[1], None

    def _drop_all(self, lists: BackupLists) -> None:
        for name, _ in tuple(lists.items()):
            lists.drop(self._state.vms[name])

    def _retry(self, vms: Iterable[Vm], pushing: int = _RETRIED) -> None:
        """Find lists for virtual machines that have none, the hardest first."""
        lists = self._lists
        if lists is None:
            return
        self._verdict = None
        waiting = sorted(vms, key=lists.order)
        self._unproven.update((vm.name, lists.home(vm)) for vm in waiting)
        for vm in waiting:
            if vm.name not in self._unproven:
                continue
            # Who must go where it goes gets a list at once, before others take the room.
            followers = [n for n in lists.keeping.followers(vm) if n in self._unproven]
            together = [vm, *(self._state.vms[name] for name in followers)]
            limit = _REHOMED if pushing > 0 else 0
            if self._settle(lists, together, limit) or (
                followers and self._settle(lists, [vm], limit)
            ):
                continue
            pushing -= 1

    def _settle(self, lists: BackupLists, vms: list[Vm], limit: int) -> bool:
        """Find lists for some that have none, and tell whether all have one now, or none."""
        change = Rehoming(self._state, lists, limit)
        stuck = change.settle(vms)
        if stuck is None:
            for vm in vms:
                del self._unproven[vm.name]
            return True
        change.undo()
        if stuck[0] == vms[0].name:
            self._unproven[stuck[0]] = stuck[1]
        return False

    def _enter(self, vm: Vm, host: int) -> None:
        self._state.add(vm, host)
        self._count(vm, 1)

    def _leave(self, name: str) -> None:
        self._count(self._state.vms[name], -1)
        self._state.remove(name)

    def _count(self, vm: Vm, sign: int) -> None:
        self._verdict = None
        if self._lists is not None and sign > 0:
            self._lists.keeping.add(vm)
        elif self._lists is not None:
            self._lists.keeping.remove(vm)
        if vm.restarts:
            self._restarting += sign
            home = self._domain[self._state.host_of(vm.name)]
            self._to_restart[:, home] += sign * self._state.needs(vm)


def _restarting(vm: Vm) -> list[Vm]:
    return [vm] if vm.restarts else []
