# SPDX-License-Identifier: Apache-2.0
"""A virtual machine as the scheduler sees it: what it takes, and what it asks for."""

import re
from collections.abc import Callable, Iterable, Iterator

from nopal_api.placement import PlacementRule, PlacementRules, SpreadRule
from nopal_api.virtualmachine import VirtualMachine
from nopal_operator.demand import Demand
from nopal_runtime.kube.cache import Record
from nopal_scheduler.model import HOST, Rule, RuleKind, Vm, vm_cost

NAMESPACE = "@namespace"
"""A label that every virtual machine has for the scheduler: rules select in their own namespace.
It is no key that a user could give, and the scheduler does not tell keys with an @."""
_BY_UID = re.compile(r'(?:vm )?"([^"]*)"')
"""Nothing but virtual machines is in quotes in the scheduler's words."""


def candidate(
    record: Record,
    vm: VirtualMachine,
    *,
    demand: Demand,
    networks: Iterable[str],
) -> Vm:
    """Return the virtual machine for the scheduler, named by its UID.

    Args:
        record: its object.
        vm: the same, parsed: what of it counts at once.
        demand: what of it counts from one start to the next.
        networks: Networks that its host must realize.
    """
    rules = demand.rules or PlacementRules()
    selector = rules.node_selector
    return Vm(
        name=record.uid,
        needs=vm_cost(demand.cores, demand.memory, demand.resources),
        networks=tuple(sorted(set(networks))),
        cpu_features=frozenset(demand.cpu_features),
        node_selector=selector.match_labels if selector else {},
        labels={**demand.labels, NAMESPACE: record.namespace},
        rules=tuple(_rules(record.namespace, rules)),
        priority=vm.spec.availability.priority,
        # One that is to stop may be told to run again before it has stopped.
        restarts=demand.host_loss == "Restart" and not record.deleting,
        movable=vm.spec.placement.eviction == "Allowed",
    )


def with_names(message: str, name: Callable[[str], str]) -> str:
    """Return the scheduler's words with virtual machines called as people know them.

    Args:
        message: words that call a virtual machine by its UID.
        name: returns by UID what to call it.
    """
    return _BY_UID.sub(lambda found: name(found[1]), message)


def _rules(namespace: str, wanted: PlacementRules) -> Iterator[Rule]:
    for kind, rules in (
        (RuleKind.AFFINITY, wanted.affinity),
        (RuleKind.ANTI_AFFINITY, wanted.anti_affinity),
        (RuleKind.SPREAD, wanted.spread),
    ):
        yield from (_rule(namespace, kind, each) for each in rules)


def _rule(namespace: str, kind: RuleKind, wanted: PlacementRule) -> Rule:
    labels = {**wanted.match_labels, NAMESPACE: namespace}
    return Rule(
        kind=kind,
        selector=tuple(sorted(labels.items())),
        topology=wanted.topology_key or HOST,
        max_skew=wanted.max_skew if isinstance(wanted, SpreadRule) else 1,
        weight=wanted.weight,
    )
