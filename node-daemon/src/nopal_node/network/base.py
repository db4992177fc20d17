# SPDX-License-Identifier: Apache-2.0
"""The host's network as the daemon sees it: bridges by name."""

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BridgeSpec:
    """A bridge that a Network asks for."""

    name: str
    owner_uid: str
    """UID of the Network; written on a bridge that we make."""
    managed: bool
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class BridgeState:
    """A bridge that exists."""

    name: str
    mtu: int
    up: bool
    owner_uid: str
    """UID of the Network that made it; empty if it is not ours."""
    ports: tuple[str, ...]


class HostNetwork(ABC):
    """Bridges of this host. Blocking: callers run it in a bounded pool of threads.

    Every method raises `TransientError` (reason NetworkUnreachable) when the kernel cannot be
    asked, and `TerminalError` (reason ModuleMissing) when it has no bridges.
    """

    @abstractmethod
    def bridge(self, name: str) -> BridgeState | None:
        """Return the bridge, None if it is known to be absent."""

    @abstractmethod
    def owned_bridges(self) -> tuple[BridgeState, ...]:
        """Return the bridges that we made."""

    @abstractmethod
    def ensure_bridge(self, spec: BridgeSpec) -> BridgeState:
        """See that the bridge is there, up, with the MTU; make it if it is managed.

        One that is not managed is never changed. Raises TerminalError: reason BridgeNotFound (not
        managed and absent, with the command that makes it), BridgeDown and MTUTooSmall (not
        managed), BridgeConflict (managed, but a bridge or link of that name is not ours; or no
        bridge at all); TransientError (reason NetworkChanged) when somebody else changed it
        meanwhile.
        """

    @abstractmethod
    def remove_bridge(self, name: str, *, owner_uid: str) -> None:
        """Remove a bridge that we made for that owner. Absent is success; not ours is left alone.

        Raises TransientError (reason BridgeInUse) while it has ports.
        """
