# SPDX-License-Identifier: Apache-2.0
"""A virtual machine as the scheduler sees it: what it takes, and what it asks for."""

from collections.abc import Iterable, Iterator

from nopal_api.placement import PlacementRule, SpreadRule
from nopal_api.virtualmachine import VirtualMachine
from nopal_operator.demand import Demand
from nopal_runtime.kube.cache import Record
from nopal_scheduler.model import HOST, Rule, RuleKind, Vm, vm_cost

NAMESPACE = "@namespace"
"""A label that every virtual machine has for the scheduler: rules select in their own namespace.
It is no key that a user could give."""


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
        vm: the same, parsed.
        demand: what it takes, and needs of a host.
        networks: Networks that its host must realize.
    """
    spec = vm.spec
    selector = spec.placement.node_selector
    stays_up = spec.power_state == "Running" and not record.deleting
    return Vm(
        name=record.uid,
        needs=vm_cost(demand.cores, demand.memory, demand.resources),
        networks=tuple(sorted(set(networks))),
        cpu_features=frozenset(demand.cpu_features),
        node_selector=selector.match_labels if selector else {},
        labels={**record.labels, NAMESPACE: record.namespace},
        rules=tuple(_rules(record.namespace, vm)),
        priority=spec.availability.priority,
        restarts=stays_up and spec.availability.host_loss == "Restart",
        movable=spec.placement.eviction == "Allowed",
    )


def without_namespace(message: str, namespace: str) -> str:
    """Return the scheduler's words without the label that only the scheduler knows."""
    return message.replace(f"{NAMESPACE}={namespace},", "")


def _rules(namespace: str, vm: VirtualMachine) -> Iterator[Rule]:
    placement = vm.spec.placement
    for kind, wanted in (
        (RuleKind.AFFINITY, placement.affinity),
        (RuleKind.ANTI_AFFINITY, placement.anti_affinity),
        (RuleKind.SPREAD, placement.spread),
    ):
        yield from (_rule(namespace, kind, each) for each in wanted)


def _rule(namespace: str, kind: RuleKind, wanted: PlacementRule) -> Rule:
    labels = {**wanted.match_labels, NAMESPACE: namespace}
    return Rule(
        kind=kind,
        selector=tuple(sorted(labels.items())),
        topology=wanted.topology_key or HOST,
        max_skew=wanted.max_skew if isinstance(wanted, SpreadRule) else 1,
        weight=wanted.weight,
    )
