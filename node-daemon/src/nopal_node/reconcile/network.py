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
    networks: Iterable[NetworkView],
    *,
    zone: str | None,
    owned: Iterable[BridgeState],
    in_use: frozenset[str] = frozenset(),
) -> BridgePlan:
    """Return what to ensure and what to remove.

    A bridge of ours is removed only while its own Network is being deleted: a Network that is
    merely missing frees nothing, since the daemon may talk to another or a restored cluster. And
    only when no VM of this host is assigned to it (`in_use`, by name): a guest that is down for a
    moment is started again.
    """
    ensure = []
    going: set[str] = set()
    for view in sorted(networks, key=lambda n: n.name):
        bridge = view.spec.bridge
        if view.deleting and view.name not in in_use:
            going.add(view.uid)  # also one of a zone that this host has left
            continue
        if bridge is None or view.spec.zone != zone:
            continue
        managed = bridge.management == "Managed"
        spec = BridgeSpec(name=bridge.name, owner_uid=view.uid, managed=managed, mtu=bridge.mtu)
        ensure.append((view, spec))
    remove = tuple(b for b in owned if b.owner_uid in going)
    return BridgePlan(tuple(ensure), remove)
