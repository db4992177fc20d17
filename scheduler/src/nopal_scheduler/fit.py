# SPDX-License-Identifier: Apache-2.0
"""How many more virtual machines fit with the proof kept, and what they lack first.

They are really placed, one after the other as `Scheduler` would, so the count is what one would
get and not a bound. Far from the end they are placed many at a time and proven once; near it each
is proven for itself.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .answer import NoPlacement, Placement, Refusal
from .model import Cluster, Vm
from .placing.place import place
from .proof import Impossible
from .scheduler import Scheduler
from .state import State

_VM = re.compile(r'vm "([^"]*)"')
_FEW = 4
"""So few at a time are not worth a proof of the whole: each is asked for itself."""
_MOST = 100_000
"""Nobody asks for more, and virtual machines that need nothing would fit without end."""


@dataclass(frozen=True, slots=True)
class Share:
    """One size of a mix."""

    vm: Vm
    """What each of them is like; copies are named after it, its `host` means nothing."""
    weight: int = 1
    """How many of this size come for the weights of the others."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """What still fits."""

    counts: Mapping[str, int]
    """How many of each size, by the name of its virtual machine."""
    placements: tuple[tuple[str, str], ...]
    """Each that was placed, with its host, in order."""
    limit: str
    """What the next one lacks, in few words: "memory", "cpu", "N+1 not proven", a rule; on hosts
    that it selects: "memory of hosts with rack=a"; for the proof: "memory after the loss of a"."""
    message: str
    """Why no host takes the next one, host by host, in words."""
    resource: str = ""
    """Which resource the limit is about; empty for rules and for a proof that was not found."""
    lost: tuple[str, ...] = ()
    """The failure domains after whose loss there is too little of it; none if there is now."""

    @property
    def count(self) -> int:
        """Return how many fit in all."""
        return sum(self.counts.values())


def fit(cluster: Cluster, mix: Vm | Sequence[Share], *, most: int = _MOST) -> FitResult:
    """Return how many more virtual machines of one size, or of a mix, fit.

    A mix comes in proportion to its weights, as evenly as whole numbers allow, and ends with the
    first that finds no place, even if others would still fit.

    Args:
        cluster: What is there. If it is not proven now, nothing fits.
        mix: The size, or the sizes.
        most: Where to stop.

    Raises:
        ValueError: the mix is empty or has a weight below 1.
    """
    shares = (Share(mix),) if isinstance(mix, Vm) else tuple(mix)
    if not shares or min(share.weight for share in shares) < 1:
        raise ValueError("a mix has at least one size, and weights of 1 or more")
    search = _Search(cluster, shares, most)
    if cluster.redundancy.failures:
        search.fill_in_steps()
    return search.fill_one_by_one()


class _Search:
    """The placements so far."""

    def __init__(self, cluster: Cluster, shares: tuple[Share, ...], most: int) -> None:
        self._cluster = cluster
        self._shares = shares
        self._most = most
        self._taken = {vm.name for vm in cluster.vms}
        self._coming = self._stream()
        self._queue: list[tuple[str, Vm]] = []
        self._placed: list[tuple[str, Vm]] = []
        """Each with the name of its size."""
        self._scheduler = Scheduler(cluster)

    def fill_in_steps(self) -> None:
        """Place as many as a proof of the whole allows, in steps that become smaller."""
        if not self._scheduler.is_proven:
            return
        step, halving = min(self._guess(), self._most), False
        while step >= _FEW and len(self._placed) + _FEW <= self._most:
            wanted = self._next(min(step, self._most - len(self._placed)))
            placed = self._place_all(wanted)
            if placed is not None:
                scheduler = Scheduler(self._with(placed))
                if scheduler.is_proven:
                    self._scheduler = scheduler
                    self._placed += placed
                    step = step // 2 if halving else step
                    continue
            self._queue = wanted + self._queue
            step, halving = step // 2, True

    def fill_one_by_one(self) -> FitResult:
        """Place one after the other until one finds no place."""
        while len(self._placed) < self._most:
            ((size, vm),) = self._next(1)
            answer = self._scheduler.admit(vm)
            if isinstance(answer, NoPlacement):
                limit = _limit(answer, self._scheduler.state, vm)
                return self._result(limit, self._told(answer.nameless(vm.name).message))
            self._placed.append((size, replace(vm, host=answer.host)))
        return self._result(_Limit("nothing"), f"more than {self._most} were not asked for")

    def _told(self, message: str) -> str:
        """Return words in which those placed so far are called by their size: nobody named them."""
        sizes = {vm.name: size for size, vm in self._placed}

        def called(found: re.Match[str]) -> str:
            size = sizes.get(found[1])
            return found[0] if size is None else f'another "{size}"'

        return _VM.sub(called, message)

    def _result(self, limit: "_Limit", message: str) -> FitResult:
        counts = Counter({share.vm.name: 0 for share in self._shares})
        counts.update(size for size, _ in self._placed)
        places = tuple((vm.name, vm.host or "") for _, vm in self._placed)
        return FitResult(dict(counts), places, limit.words, message, limit.resource, limit.lost)

    def _place_all(self, wanted: list[tuple[str, Vm]]) -> list[tuple[str, Vm]] | None:
        """Return them on hosts, by room and rules alone; None if one finds no place."""
        state, found = State(self._with([])), []
        for size, vm in wanted:
            answer = place(state, vm)
            if not isinstance(answer, Placement):
                return None
            state.add(vm, state.index[answer.host])
            found.append((size, replace(vm, host=answer.host)))
        return found

    def _with(self, more: list[tuple[str, Vm]]) -> Cluster:
        added = tuple(vm for _, vm in (*self._placed, *more))
        return replace(self._cluster, vms=(*self._cluster.vms, *added))

    def _guess(self) -> int:
        """Return about how many fit: the room that is left without the k largest domains."""
        state = self._scheduler.state
        free = np.where(state.takes, np.maximum(state.free, 0), 0)
        failures = state.redundancy.failures
        capacity = np.where(state.takes, state.capacity, 0)
        lost = np.array([capacity[:, mask].sum(axis=1) for mask in state.lost_with])
        reserve = np.sort(lost, axis=0)[-failures:].sum(axis=0)
        room = np.maximum(free.sum(axis=1) - reserve, 0)
        weights = sum(share.weight for share in self._shares)
        each = state.columns(share.vm.needs for share in self._shares).astype(np.float64)
        wanted = each @ [share.weight for share in self._shares] / weights
        counts = room[wanted > 0] / wanted[wanted > 0]
        return int(counts.min()) if len(counts) else self._most

    def _next(self, count: int) -> list[tuple[str, Vm]]:
        """Return who comes next; who goes back comes first."""
        while len(self._queue) < count:
            self._queue.append(next(self._coming))
        found, self._queue = self._queue[:count], self._queue[count:]
        return found

    def _stream(self) -> Iterator[tuple[str, Vm]]:
        """Yield virtual machines in the proportion of the weights, without end."""
        total = sum(share.weight for share in self._shares)
        credit = [0] * len(self._shares)
        numbers = [0] * len(self._shares)
        while True:
            for i, share in enumerate(self._shares):
                credit[i] += share.weight
            i = credit.index(max(credit))
            credit[i] -= total
            numbers[i] += 1
            vm = self._shares[i].vm
            while f"{vm.name}+{numbers[i]}" in self._taken:
                numbers[i] += 1
            yield vm.name, replace(vm, name=f"{vm.name}+{numbers[i]}", host=None)


@dataclass(frozen=True, slots=True)
class _Limit:
    words: str
    resource: str = ""
    lost: tuple[str, ...] = ()


def _limit(answer: NoPlacement, state: State, vm: Vm) -> _Limit:
    """Return the first thing that a virtual machine lacks.

    That is the proof where a host fits but for it; else what most of the hosts lack that it could
    use; else why it could use none.
    """
    able = {host.name for host in state.hosts if not state.mismatch(vm, host)}
    close = [refusal for refusal in answer.refusals if refusal.host in able]
    proof = [refusal for refusal in close if refusal.reason.startswith("N+")]
    reasons = Counter(refusal.reason for refusal in proof or close or answer.refusals)
    if not reasons:
        return _Limit("hosts")
    reason = min(reasons, key=lambda each: (-reasons[each], each))
    if proof:
        return _bound(refusal for refusal in proof if refusal.reason == reason) or _Limit(reason)
    resource = reason.removeprefix("insufficient ") if reason.startswith("insufficient ") else ""
    labels = ", ".join(f"{key}={value}" for key, value in sorted(vm.node_selector.items()))
    of = f" of hosts with {labels}" if labels and close else ""
    return _Limit(f"{resource or reason}{of}", resource)


def _bound(refusals: Iterable[Refusal]) -> _Limit | None:
    """Return of what there is too little after a loss, as most of the hosts say it; else None."""
    bounds = Counter(
        (each.against.resource, each.against.lost)
        for each in refusals
        if isinstance(each.against, Impossible) and each.against.resource
    )
    if not bounds:
        return None
    resource, lost = min(bounds, key=lambda each: (-bounds[each], each))
    return _Limit(f"{resource} after the loss of {', '.join(lost)}", resource, lost)
