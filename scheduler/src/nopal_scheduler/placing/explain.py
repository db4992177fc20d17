# SPDX-License-Identifier: Apache-2.0
"""Why each host does not take a virtual machine, in the words that people read.

A host that takes none at all has that one reason. Every other is asked everything: a reason that
hides behind another would come up only after the first was made good.
"""

from collections.abc import Iterator

import numpy as np

from ..answer import Refusal
from ..model import Room, Rule, RuleKind, Vm
from ..proof import Impossible, NotProven
from ..rules import Mask
from ..selectors import Selector
from ..state import State

UNTOLD = "@"
"""What keys of labels begin with that are the caller's own, and no words for people."""
_KINDS = {
    RuleKind.AFFINITY: "affinity to",
    RuleKind.ANTI_AFFINITY: "anti-affinity to",
    RuleKind.SPREAD: "spread of",
}


def refusals(state: State, vm: Vm) -> tuple[Refusal, ...]:
    """Return every reason why a host does not fit, by host; none for a host that does.

    Args:
        state: Where everything else is.
        vm: One that the state does not have.
    """
    broken = list(broken_rules(state, vm))
    # A resource that no host has is a mismatch, and has no row.
    short = [
        (r, name, needs) for r, name in enumerate(state.resources) if (needs := amount(vm, name))
    ]
    lacking = [(r, name, needs, state.free[r] < needs) for r, name, needs in short]
    found: list[Refusal] = []
    for i, host in enumerate(state.hosts):
        reasons = state.mismatch(vm, host)
        if state.takes[i]:
            reasons += tuple(reason for reason, hosts in broken if hosts[i])
            found += (
                Refusal(host.name, f"insufficient {name}", needs, max(0, int(state.free[r, i])))
                for r, name, needs, lacks in lacking
                if lacks[i]
            )
        found += (Refusal(host.name, reason) for reason in dict.fromkeys(reasons))
    return tuple(sorted(found, key=lambda refusal: (refusal.host, refusal.reason)))


def not_admitted(state: State, host: int, why: NotProven | Impossible) -> Refusal:
    """Return the refusal of a host that fits, but not with the redundancy of the cluster."""
    verdict = "impossible" if isinstance(why, Impossible) else "not proven"
    reason = f"N+{state.redundancy.failures} {verdict}"
    return Refusal(state.hosts[host].name, reason, detail=why.explanation, against=why)


def not_asked(state: State, host: int) -> Refusal:
    """Return the refusal of a host that has room and was not asked whether the redundancy stays."""
    return Refusal(state.hosts[host].name, "with room not tried")


def rule_words(rule: Rule) -> str:
    """Return a rule in words: "anti-affinity to app=web in topology rack"."""
    apart = f" (at most {rule.max_skew} apart)" if rule.kind is RuleKind.SPREAD else ""
    return f"{_KINDS[rule.kind]} {_selector(rule.selector)} in topology {rule.topology}{apart}"


def amount(vm: Vm, resource: str) -> int:
    """Return what a virtual machine needs of a resource, 0 where it does not name it."""
    room: Room = vm.needs
    if resource == "cpu":
        return room.cpu
    return room.memory if resource == "memory" else room.more.get(resource, 0)


def broken_rules(state: State, vm: Vm) -> Iterator[tuple[str, Mask]]:
    """Yield every required rule that is against the virtual machine, and on which hosts."""
    eligible, own = state.eligible(vm), set[tuple[Selector, str]]()
    for rule in vm.rules:
        if not rule.required or (rule.kind is RuleKind.SPREAD and not eligible.any()):
            continue
        if rule.kind is RuleKind.ANTI_AFFINITY:
            own.add((rule.selector, rule.topology))
        broken = ~state.rules.satisfied(rule, vm, eligible)
        outside = state.topologies.domains(rule.topology) < 0
        yield f"no label {rule.topology} for its {rule_words(rule)}", broken & outside
        yield rule_words(rule), broken & ~outside
    for selector, topology, near in state.rules.against(vm):
        if (selector, topology) in own:
            # Most of those are its own kind, and its own rule has said it; a holder that its own
            # selector does not match is the exception, and is one more host to name.
            rule = Rule(RuleKind.ANTI_AFFINITY, selector, topology)
            near = near & state.rules.satisfied(rule, vm, eligible)
        if np.any(near):
            yield f"others' anti-affinity to {_selector(selector)} in topology {topology}", near


def _selector(selector: Selector) -> str:
    told = (f"{key}={value}" for key, value in selector if not key.startswith(UNTOLD))
    return ",".join(told) or "every VM"
