# SPDX-License-Identifier: Apache-2.0
"""Where virtual machines go. Pure: no Kubernetes, no clock, no I/O but in the command line.

`Scheduler` is the one door: a cluster in, and where each further virtual machine goes, or why
nowhere.
"""

from .answer import NoPlacement, Placement, Refusal
from .model import (
    HOST,
    Cluster,
    Host,
    Redundancy,
    Room,
    Rule,
    RuleKind,
    Vm,
    host_capacity,
    vm_cost,
    vm_memory_cost,
)
from .proof import Case, Impossible, NotProven, Proof, Verdict
from .scheduler import Scheduler

__all__ = [
    "HOST",
    "Case",
    "Cluster",
    "Host",
    "Impossible",
    "NoPlacement",
    "NotProven",
    "Placement",
    "Proof",
    "Redundancy",
    "Refusal",
    "Room",
    "Rule",
    "RuleKind",
    "Scheduler",
    "Verdict",
    "Vm",
    "host_capacity",
    "vm_cost",
    "vm_memory_cost",
]
