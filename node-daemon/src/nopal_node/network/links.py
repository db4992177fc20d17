# SPDX-License-Identifier: Apache-2.0
"""The kernel's links, as few verbs as bridges need: the seam between our rules and netlink."""

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface of the kernel."""

    index: int
    """The kernel's own name for it: another one after it was removed and made again."""
    name: str
    kind: str
    """bridge, veth, tun...; empty for a physical one."""
    mtu: int
    up: bool
    alias: str
    """A text that the kernel keeps for its owner (IFLA_IFALIAS)."""
    master: int
    """Index of the bridge that it is a port of; 0 if it is none's."""


class Links(ABC):
    """The links of one network namespace.

    Every method raises `TransientError` (reason NetworkUnreachable) when the kernel refuses or
    cannot be asked, and `TerminalError` (reason ModuleMissing) when it has no bridges at all.
    """

    @abstractmethod
    def all(self) -> tuple[Link, ...]:
        """Return every link."""

    @abstractmethod
    def get(self, name: str) -> Link | None:
        """Return the link of that name, None if it is known to be absent."""

    @abstractmethod
    def add_bridge(self, name: str) -> None:
        """Make a bridge that is down, without spanning tree, and gives the host no address.

        Raises ConflictError (reason LinkExists) if there is a link of that name.
        """

    @abstractmethod
    def change(
        self,
        link: Link,
        *,
        name: str | None = None,
        mtu: int | None = None,
        up: bool | None = None,
        alias: str | None = None,
    ) -> None:
        """Change what is given, in one step.

        Raises ConflictError (reason LinkExists) if the new name is taken, NotFoundError (reason
        LinkNotFound) if the link is gone.
        """

    @abstractmethod
    def remove(self, link: Link) -> None:
        """Remove exactly that link. Absent is success."""
