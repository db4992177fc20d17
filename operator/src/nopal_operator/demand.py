# SPDX-License-Identifier: Apache-2.0
"""What a virtual machine takes of its host, and what it needs there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nopal_api.placement import HostLoss, PlacementRules
from nopal_api.quantity import whole_mib
from nopal_api.virtualmachine import LABEL_LIMIT, Assignment, VirtualMachine


@dataclass(frozen=True, slots=True)
class Demand:
    """What changes with the next start alone: a guest keeps what it was assigned with.

    That goes for its rules and labels, too. A zone's proof stands on them, and so no edit of a
    virtual machine that runs can take the proof away and stop everybody's placements.
    """

    cores: int
    memory: int
    """Guest memory in bytes, whole MiB."""
    cpu_features: tuple[str, ...] = ()
    """CPU features that it must have."""
    resources: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Further countable resources by name."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """By which rules of others select."""
    rules: PlacementRules | None = None
    """What its host must be, or is best; None: nothing."""
    host_loss: HostLoss = "Restart"

    @classmethod
    def asked(cls, vm: VirtualMachine, labels: Mapping[str, str]) -> "Demand":
        """Return what the virtual machine asks for: it gets that at its next start.

        Args:
            vm: the virtual machine.
            labels: those of its object; of more than LABEL_LIMIT the first by key count.
        """
        spec = vm.spec
        rules = PlacementRules(
            node_selector=spec.placement.node_selector,
            affinity=spec.placement.affinity,
            anti_affinity=spec.placement.anti_affinity,
            spread=spec.placement.spread,
        )
        return cls(
            cores=spec.cpu.cores,
            memory=whole_mib(spec.memory.size),
            cpu_features=tuple(sorted(spec.cpu.features)),
            resources=spec.resources,
            labels=dict(sorted(labels.items())[:LABEL_LIMIT]),
            rules=rules if rules != PlacementRules() else None,
            host_loss=spec.availability.host_loss,
        )

    @classmethod
    def assigned(cls, assignment: Assignment) -> "Demand":
        """Return what the virtual machine was assigned with."""
        return cls(
            cores=assignment.cores,
            memory=assignment.memory,
            cpu_features=assignment.cpu_features,
            resources=assignment.resources,
            labels=assignment.labels,
            rules=assignment.rules,
            host_loss=assignment.host_loss,
        )
