# SPDX-License-Identifier: Apache-2.0
"""Where virtual machines go. Pure: no Kubernetes, no clock, no I/O.

`place` is the one door: a request and the hosts in, a host or the reasons out.
"""

from .model import Host, Room, host_capacity, vm_cost, vm_memory_cost
from .place import NoPlacement, Placement, Refusal
from .reservations import Reservation, Reservations
from .simple import VmRequest, place

__all__ = [
    "Host",
    "NoPlacement",
    "Placement",
    "Refusal",
    "Reservation",
    "Reservations",
    "Room",
    "VmRequest",
    "host_capacity",
    "place",
    "vm_cost",
    "vm_memory_cost",
]
