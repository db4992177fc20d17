# SPDX-License-Identifier: Apache-2.0
"""Place several virtual machines together, where not all would fit one after the other.

The large and the constrained come first, what failed comes earlier in the next round, and then a
limited discrepancy search (Harvey and Ginsberg, IJCAI 1995) leaves the best host for the next best
in a few places at a time. It is bounded by a count, not by time, so that the answer is always the
same; that nothing was found does not prove that there is nothing.

Where not all fit, the higher priority goes first: of two attempts the one that has more of the
highest priority wins, of equal ones the one that has more of the next. So priority decides who is
left out, and costs no room where nobody is.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..answer import NoPlacement
from ..model import RuleKind, Vm
from ..proving.prover import Prover
from ..proving.unproven import PlainProver
from ..rules import Mask
from ..state import State
from ..words import counted
from .batch_search import BatchSearch, Placed

_ROUNDS = 4
"""Greedy rounds, alternately least loaded and fullest first."""
_DEEPEST = 200
"""Virtual machines in a batch that is searched; of larger ones the best round is the answer."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of a batch."""

    placements: Mapping[str, str]
    """Host by virtual machine, in the order in which they are to be added: a rule counts for the
    one that comes, so that another order may break it."""
    refused: Mapping[str, NoPlacement]
    """Why the others fit nowhere once the placements are made."""

    @property
    def complete(self) -> bool:
        """Tell whether every virtual machine has a host."""
        return not self.refused

    @property
    def message(self) -> str:
        """Return the sentence for people."""
        count = len(self.placements)
        why = "".join(f"; {name}: {no.message}" for name, no in self.refused.items())
        of = counted(count + len(self.refused), "virtual machine")
        return f"{count} of {of} fit together{why}"


def place_batch(
    state: State,
    vms: Iterable[Vm],
    *,
    prover: Prover | None = None,
    first: Callable[[Vm], Mask] | None = None,
    budget: int = 2_000,
    keep: bool = False,
    partial: bool = False,
) -> Batch:
    """Return hosts for all virtual machines; or for the most of the highest priority, and so on.

    Of each priority, once those above have as many, never fewer than `place` finds room for one by
    one: the highest priority first, and by name.

    Args:
        state: Where everything else is; as before when this returns, but for `keep`.
        vms: None of them is in the state. Their order decides nothing.
        prover: Owner of the state, asked for every placement; None for room and rules alone.
        first: Hosts to try before others, such as `CaseProver.headroom`.
        budget: How many placements the prover may refuse or the search may try before the best
            is taken, and once more so many where priorities decide who is left out; what is left
            then is asked for once more, to say why it is refused.
        keep: Leave them in the state if all of them are placed: all or nothing.
        partial: With `keep`, leave what is placed even where something is refused.

    Raises:
        ValueError: two virtual machines have one name, or the state has one of that name.
    """
    wanted = sorted(vms, key=lambda vm: vm.name)
    for before, vm in zip((None, *wanted), wanted, strict=False):
        if vm.name in state.vms or (before and before.name == vm.name):
            raise ValueError(f'there is a vm "{vm.name}" already')
    prover = PlainProver(state) if prover is None else prover
    search = BatchSearch(state, wanted, prover=prover, budget=budget, first=first)
    best = _best(search, state, wanted)
    refused = search.settle(best, _by_priority(wanted))
    batch = Batch({vm.name: state.hosts[host].name for vm, host in search.placed}, refused)
    if not (keep and (batch.complete or partial)):
        search.back(0)
    return batch


def _best(search: BatchSearch, state: State, wanted: Sequence[Vm]) -> tuple[Placed, ...]:
    """Return the best that was placed in any attempt; the state is as before."""
    able = [vm for vm in wanted if not _hopeless(state, vm)]
    best = _rounds(search, _order(state, able), plain=able)
    if len(best) < len(able):
        best = _together(search, state, able) or best
    if len(best) == len(able) or len({vm.priority for vm in able}) == 1:
        return best
    search.renew()
    order = _by_priority(_order(state, able))
    best = _better(best, _rounds(search, order, plain=_by_priority(able), important=True))
    # What is left out first, from above: perhaps it fits with those above it, as a whole.
    for priority in sorted({vm.priority for vm in able}, reverse=True):
        above = [vm for vm in able if vm.priority >= priority]
        if {vm.name for vm in above} <= {vm.name for vm, _ in best}:
            continue
        base = _together(search, state, above)
        if base:
            rest = [vm for vm in order if vm.priority < priority]
            best = _better(best, search.greedy(rest, fullest=True, base=base))
    return best


def _rounds(
    search: BatchSearch, order: Sequence[Vm], *, plain: Sequence[Vm], important: bool = False
) -> tuple[Placed, ...]:
    """Return the best of a few greedy rounds; what failed comes earlier in the next one.

    Args:
        search: The search.
        order: Who comes first in the first round.
        plain: The order of the last one, for the promise that the batch never does worse.
        important: Whether the higher priority stays in front.
    """
    best: tuple[Placed, ...] = ()
    for number in range(_ROUNDS + 1):
        last = number == _ROUNDS
        found = search.greedy(plain if last else order, fullest=not last and number % 2 == 1)
        best = _better(best, found)
        if len(best) == len(order):
            break
        placed = {vm.name for vm, _ in found}
        order = sorted(order, key=lambda vm: vm.name in placed)
        order = _by_priority(order) if important else order
    return best


def _together(search: BatchSearch, state: State, vms: Sequence[Vm]) -> tuple[Placed, ...]:
    """Return hosts for all of them; nothing if none were found."""
    if len(vms) > _DEEPEST or not _enough(state, vms):
        return ()
    return search.limited(_order(state, vms))


def _by_priority(vms: Sequence[Vm]) -> list[Vm]:
    """Return them with the highest priority first, otherwise in their order."""
    return sorted(vms, key=lambda vm: -vm.priority)


def _better(one: tuple[Placed, ...], other: tuple[Placed, ...]) -> tuple[Placed, ...]:
    """Return the attempt with more of the highest priority that they differ in; else the first."""
    more = Counter(vm.priority for vm, _ in other)
    more.subtract(vm.priority for vm, _ in one)
    differ = [priority for priority, count in more.items() if count]
    return other if differ and more[max(differ)] > 0 else one


def _hopeless(state: State, vm: Vm) -> bool:
    """Tell whether nothing that is placed before it can give it a host."""
    helped = (RuleKind.AFFINITY, RuleKind.SPREAD)
    if any(rule.required and rule.kind in helped for rule in vm.rules):
        return not state.eligible(vm).any()
    return not state.fits(vm).any()


def _enough(state: State, vms: Sequence[Vm]) -> bool:
    """Tell whether there is room for all of them if they could be cut in pieces."""
    free = np.where(state.takes, np.maximum(state.free, 0), 0).sum(axis=1)
    return bool((sum((state.needs(vm) for vm in vms), np.zeros_like(free)) <= free).all())


def _order(state: State, vms: Sequence[Vm]) -> list[Vm]:
    """Return them by their dominant share of the hosts that they may use, the largest first.

    Few hosts make a large share. Who has to be near another comes after it.
    """

    def share(vm: Vm) -> float:
        capacity = np.where(state.eligible(vm), state.capacity, 0).sum(axis=1)
        return float((state.needs(vm) / np.maximum(capacity, 1)).max())

    waiting = sorted(vms, key=lambda vm: (-share(vm), vm.name))
    if not any(rule.kind is RuleKind.AFFINITY for vm in vms for rule in vm.rules):
        return waiting
    order: list[Vm] = []
    while waiting:
        free = (vm for vm in waiting if not _follows(vm, waiting))
        order.append(next(free, waiting[0]))
        waiting.remove(order[-1])
    return order


def _follows(vm: Vm, others: Iterable[Vm]) -> bool:
    return any(
        rule.matches(other.labels)
        for rule in vm.rules
        if rule.required and rule.kind is RuleKind.AFFINITY and not rule.matches(vm.labels)
        for other in others
        if other is not vm
    )
