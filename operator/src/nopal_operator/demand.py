# SPDX-License-Identifier: Apache-2.0
"""What a virtual machine takes of its host, and what it needs there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nopal_api.quantity import whole_mib
from nopal_api.virtualmachine import Assignment, VirtualMachine


@dataclass(frozen=True, slots=True)
class Demand:
    """What changes with the next start alone: a guest keeps what it was assigned with."""

    cores: int
    memory: int
    """Guest memory in bytes, whole MiB."""
    cpu_features: tuple[str, ...] = ()
    """CPU features that it must have."""
    resources: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Further countable resources by name."""

    @classmethod
    def asked(cls, vm: VirtualMachine) -> "Demand":
        """Return what the virtual machine asks for: it gets that at its next start."""
        spec = vm.spec
        return cls(
            cores=spec.cpu.cores,
            memory=whole_mib(spec.memory.size),
            cpu_features=tuple(sorted(spec.cpu.features)),
            resources=spec.resources,
        )

    @classmethod
    def assigned(cls, assignment: Assignment) -> "Demand":
        """Return what the virtual machine was assigned with."""
        return cls(
            cores=assignment.cores,
            memory=assignment.memory,
            cpu_features=assignment.cpu_features,
            resources=assignment.resources,
        )
