# SPDX-License-Identifier: Apache-2.0
"""What would help a virtual machine that fits nowhere: one change at a time, each of them enough.

Every advice carries its change as data, so that whoever wants more than room and rules (a proof of
N+k) can try it before it is said.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..model import Host, Rule, Vm
from ..rules import Mask
from ..state import State
from ..words import joined, one_of
from .explain import rule_words
from .lacks import lacks, too_large
from .way import Advice, Way

__all__ = ["Advice", "Mover", "Way", "help_for"]

Mover = Callable[[State, Vm], Advice | None]
"""Looks for moves that make room, and says them: "fits with 2 moves: ..."."""


def help_for(
    state: State, vm: Vm, *, movers: Iterable[Mover] = (), most: int = 3
) -> tuple[Advice, ...]:
    """Return what would help, the smallest lack of room first, what movers found at the end.

    Room and rules are what is looked at: with redundancy in the cluster, try a way with a prover
    before you say it.

    Args:
        state: Where everything else is.
        vm: One that the state does not have. If it fits, only the movers are asked, because it may
            have been refused for its proof.
        movers: Asked in their order.
        most: How many advices of each kind at most.
    """
    moves = tuple(advice for mover in movers if (advice := mover(state, vm)) is not None)
    try:
        state.needs(vm)
    except ValueError:
        return moves  # A resource that no host has: nothing but another host helps.
    if state.fits(vm).any():
        return moves
    kinds = (lacks, too_large, _hosts_again, _networks, _labels, _rules)
    return (*(advice for kind in kinds for advice in [*kind(state, vm)][:most]), *moves)


def _hosts_again(state: State, vm: Vm) -> Iterator[Advice]:
    def fixed(host: Host) -> tuple[str, Host] | None:
        return (host.refusal, replace(host, blocked="", draining=False)) if host.refusal else None

    for (reason, hosts), ways in _fixes(state, vm, fixed):
        yield Advice(f"fits on {hosts} if it took virtual machines again ({reason})", ways)


def _networks(state: State, vm: Vm) -> Iterator[Advice]:
    def fixed(host: Host) -> tuple[str, Host] | None:
        missing = [name for name in dict.fromkeys(vm.networks) if name not in host.networks]
        if not missing:
            return None
        what = f"network {missing[0]}" if len(missing) == 1 else f"networks {joined(missing)}"
        return what, replace(host, networks=host.networks | {*missing})

    for (what, hosts), ways in _fixes(state, vm, fixed):
        yield Advice(f"fits on {hosts} if {what} were realized there", ways)


def _labels(state: State, vm: Vm) -> Iterator[Advice]:
    topologies = {rule.topology for rule in vm.rules} | {*state.rules.repelling(vm)}

    def fixed(host: Host) -> tuple[str, Host] | None:
        missing = {k: v for k, v in vm.node_selector.items() if host.labels.get(k) != v}
        # A label that makes a domain would move the host to another one: another question.
        if not missing or topologies & {*missing}:
            return None
        words = [f"{key}={value}" for key, value in sorted(missing.items())]
        what = f"label {words[0]}" if len(words) == 1 else f"labels {joined(words)}"
        return what, replace(host, labels={**host.labels, **missing})

    for (what, hosts), ways in _fixes(state, vm, fixed):
        yield Advice(f"fits on {hosts} if it had {what}", ways)


def _rules(state: State, vm: Vm) -> Iterator[Advice]:
    for rule in dict.fromkeys(rule for rule in vm.rules if rule.required):
        softer = replace(vm, rules=tuple(_preferred(r) if r == rule else r for r in vm.rules))
        if state.fits(softer).any():
            yield Advice(f"fits if its {rule_words(rule)} were only preferred", (Way(softer),))


def _preferred(rule: Rule) -> Rule:
    return replace(rule, weight=100)


def _fixes(
    state: State, vm: Vm, fixed: Callable[[Host], tuple[str, Host] | None]
) -> Iterator[tuple[tuple[str, str], tuple[Way, ...]]]:
    """Yield what would make hosts eligible that have room and break no rule then.

    Args:
        state: Where everything else is.
        vm: The virtual machine.
        fixed: Returns what is to change on a host in words, and the host as it is then; None where
            it is not that.

    Yields:
        The words, the hosts in words, and the ways; what helps most hosts first.
    """
    eligible = state.eligible(vm)
    room: Mask = (state.free >= state.needs(vm)[:, None]).all(axis=0) & ~eligible
    found: dict[str, list[tuple[int, Way]]] = defaultdict(list)
    for i in np.flatnonzero(room).tolist():
        change = fixed(state.hosts[i])
        if change is None or state.mismatch(vm, change[1]):
            continue
        # With the host, a domain more may count for its spread rules.
        then = eligible.copy()
        then[i] = True
        if state.rules.allowed(vm, then)[i]:
            found[change[0]].append((i, Way(vm, change[1])))
    for what, ways in sorted(found.items(), key=lambda item: (-len(item[1]), item[0])):
        hosts = [state.hosts[i].name for i, _ in ways]
        yield (what, one_of(hosts)), tuple(way for _, way in ways)
