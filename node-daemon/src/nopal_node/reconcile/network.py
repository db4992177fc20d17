# SPDX-License-Identifier: Apache-2.0
"""Which bridges this host is to have, and which of ours are to go. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from nopal_api.network import NetworkSpec

from ..network.base import BridgeSpec, BridgeState


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A Network as the API has it."""

    name: str
    uid: str
    deleting: bool
    spec: NetworkSpec


@dataclass(frozen=True, slots=True)
class BridgePlan:
    """The bridges to have, by Network, and those of ours to remove."""

    ensure: tuple[tuple[NetworkView, BridgeSpec], ...]
    remove: tuple[BridgeState, ...]


def plan_bridges(
    networks: Iterable[NetworkView], *, zone: str | None, owned: Iterable[BridgeState]
) -> BridgePlan:
    """Return what to ensure and what to remove.

    A bridge of ours is removed only while its own Network is being deleted: a Network that is
    merely missing frees nothing, since the daemon may talk to another or a restored cluster.
    """
    ensure = []
    going: set[str] = set()
    for view in sorted(networks, key=lambda n: n.name):
        bridge = view.spec.bridge
        if bridge is None or view.spec.zone != zone:
            continue
        if view.deleting:
            going.add(view.uid)
            continue
        managed = bridge.management == "Managed"
        spec = BridgeSpec(name=bridge.name, owner_uid=view.uid, managed=managed, mtu=bridge.mtu)
        ensure.append((view, spec))
    remove = tuple(b for b in owned if b.owner_uid in going)
    return BridgePlan(tuple(ensure), remove)
