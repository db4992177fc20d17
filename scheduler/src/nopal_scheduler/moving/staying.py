# SPDX-License-Identifier: Apache-2.0
"""Why a virtual machine that would have to leave its host stays there, in words."""

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from ..answer import NoPlacement, Refusal
from ..model import Rule, Vm
from ..placing.explain import not_asked, rule_words
from ..placing.place import no_placement
from ..state import State
from .board import Board


def why_it_stays(
    board: Board, name: str, closed: Collection[int], more: Iterable[Refusal] = ()
) -> str:
    """Return why no host takes a virtual machine.

    Args:
        board: As things are now.
        name: One that may be moved.
        closed: Hosts that are being emptied, by index: they need no reason.
        more: Refusals by the proof.
    """
    state = board.state
    left = [host for host in range(len(state.hosts)) if host not in closed]
    if not left:
        return "no host is left"
    vm, home = state.vms[name], state.host_of(name)
    state.remove(name)
    against = no_placement(state, vm, more).refusals
    state.add(vm, home)
    found = [refusal for refusal in against if state.index[refusal.host] in left]
    found += _others(board, vm)
    told = {refusal.host for refusal in found}
    # What had room at no moment of the plan, or was not asked of the proof once others had moved.
    found += [not_asked(state, host) for host in left if state.hosts[host].name not in told]
    ordered = sorted(found, key=lambda refusal: (refusal.host, refusal.reason))
    return NoPlacement(len(left), tuple(ordered)).message


def _others(board: Board, vm: Vm) -> Iterator[Refusal]:
    """Yield the hosts to which it cannot go because a rule of another wants its company."""
    state, home = board.state, board.state.host_of(vm.name)
    holders = [
        (state.vms[name], rule)
        for name in sorted(state.vms)
        for rule in state.vms[name].rules
        # Others' anti-affinity is among the refusals already.
        if name != vm.name and rule.counts_on(vm.labels)
    ]
    for host in np.flatnonzero(board.measure.open).tolist() if holders else ():
        if host == home or board.measure.standing.change(vm, home, host)[0] <= 0:
            continue
        for i, (holder, rule) in enumerate(holders):
            if _breaks(state, holder, rule, vm, host):
                # Mostly it is the same one on the next host.
                holders.insert(0, holders.pop(i))
                words = f"would break {holder.name}'s {rule_words(rule)}"
                yield Refusal(state.hosts[host].name, words)
                break


def _breaks(state: State, holder: Vm, rule: Rule, vm: Vm, target: int) -> bool:
    """Tell whether a rule of one holds where it is now, and not once another has moved."""
    at, home = state.remove(holder.name), state.host_of(vm.name)
    eligible = state.eligible(holder)
    before = bool(state.rules.satisfied(rule, holder, eligible)[at])
    state.remove(vm.name)
    state.add(vm, target)
    after = bool(state.rules.satisfied(rule, holder, eligible)[at])
    state.remove(vm.name)
    state.add(vm, home)
    state.add(holder, at)
    return before and not after
