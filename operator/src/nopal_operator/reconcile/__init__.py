# SPDX-License-Identifier: Apache-2.0
"""What to do next about one object: pure functions from the world to a plan. No I/O, no clock."""

from collections.abc import Callable

from nopal_api.kinds import DISK, HOST, IMAGE, NETWORK, VIRTUAL_MACHINE, ZONE
from nopal_operator.reconcile import disk, host, image, network, virtual_machine, zone
from nopal_operator.reconcile.plan import Plan
from nopal_operator.world import World
from nopal_runtime.kube.api import Key

_PLANS: dict[str, Callable[..., Plan]] = {
    ZONE.kind: zone.plan,
    HOST.kind: host.plan,
    NETWORK.kind: network.plan,
    IMAGE.kind: image.plan,
    DISK.kind: disk.plan,
    VIRTUAL_MACHINE.kind: virtual_machine.plan,
}


def plan(world: World, key: Key, *, now: float) -> Plan:
    """Return the next steps for the object with that key, whatever its kind."""
    return _PLANS[key.kind](world, key, now=now)
