# SPDX-License-Identifier: Apache-2.0
"""A network in memory, for tests: it passes the same contract suite as the kernel's.

The links live in `FakeLinks`, apart from the `FakeNetwork` of one daemon: they survive its crash.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from nopal_runtime.errors import ConflictError, NotFoundError, TransientError

from .bridges import Bridges
from .links import Link, Links


@dataclass(frozen=True, slots=True)
class LinkCall:
    """One call, before or after it took effect."""

    verb: Literal["all", "get", "add_bridge", "change", "remove"]
    name: str = ""
    phase: Literal["before", "after"] = "before"


Hook = Callable[[LinkCall], None]


class FakeLinks(Links):
    """The kernel's links of one host.

    `hooks` are called before and after every call and may raise: a test's crash or failure. While
    `down` is set, the kernel cannot be asked. The methods `put`, `attach` and `detach` are other
    people's hands: they run no hooks.
    """

    def __init__(self) -> None:
        self.hooks: list[Hook] = []
        self.calls: list[LinkCall] = []
        self.down = False
        self._links: dict[int, Link] = {}
        self._indexes = itertools.count(1)

    def put(self, name: str, *, kind: str = "", mtu: int = 1500, up: bool = True) -> Link:
        """Make a link by hand."""
        link = Link(next(self._indexes), name, kind=kind, mtu=mtu, up=up, alias="", master=0)
        self._links[link.index] = link
        return link

    def attach(self, name: str, bridge: str) -> None:
        """Make the link a port of the bridge; it is made as a tap if there is none."""
        port = self._named(name) or self.put(name, kind="tun")
        master = self._named(bridge)
        if master is None:
            raise ValueError(f"no bridge {bridge}")
        self._links[port.index] = replace(port, master=master.index)

    def detach(self, name: str) -> None:
        """Remove a link, as when its guest is gone."""
        port = self._named(name)
        if port is not None:
            del self._links[port.index]

    def all(self) -> tuple[Link, ...]:
        """Return every link."""
        self._enter(LinkCall("all"))
        return tuple(self._links.values())

    def get(self, name: str) -> Link | None:
        """Return the link of that name, None if it is known to be absent."""
        self._enter(LinkCall("get", name))
        return self._named(name)

    def add_bridge(self, name: str) -> None:
        """Make a bridge that is down."""
        call = self._enter(LinkCall("add_bridge", name))
        if self._named(name) is not None:
            raise ConflictError("LinkExists", "a link of that name exists")
        self.put(name, kind="bridge", up=False)
        self._leave(call)

    def change(
        self,
        link: Link,
        *,
        name: str | None = None,
        mtu: int | None = None,
        up: bool | None = None,
        alias: str | None = None,
    ) -> None:
        """Change what is given."""
        call = self._enter(LinkCall("change", link.name))
        now = self._links.get(link.index)
        if now is None:
            raise NotFoundError("LinkNotFound", "the link is gone")
        taken = self._named(name) if name is not None else None
        if taken is not None and taken.index != link.index:
            raise ConflictError("LinkExists", "a link of that name exists")
        self._links[link.index] = replace(
            now,
            name=now.name if name is None else name,
            mtu=now.mtu if mtu is None else mtu,
            up=now.up if up is None else up,
            alias=now.alias if alias is None else alias,
        )
        self._leave(call)

    def remove(self, link: Link) -> None:
        """Remove exactly that link; its ports stay, without a master."""
        call = self._enter(LinkCall("remove", link.name))
        if self._links.pop(link.index, None) is not None:
            for index, port in self._links.items():
                if port.master == link.index:
                    self._links[index] = replace(port, master=0)
        self._leave(call)

    def _named(self, name: str) -> Link | None:
        return next((link for link in self._links.values() if link.name == name), None)

    def _enter(self, call: LinkCall) -> LinkCall:
        self.calls.append(call)
        for hook in self.hooks:
            hook(call)
        if self.down:
            raise TransientError("NetworkUnreachable", "netlink: the fake network is down")
        return call

    def _leave(self, call: LinkCall) -> None:
        for hook in self.hooks:
            hook(replace(call, phase="after"))


class FakeNetwork(Bridges):
    """The network of one daemon's life, on links that outlive it."""

    def __init__(self, links: FakeLinks | None = None) -> None:
        self.links = links if links is not None else FakeLinks()
        super().__init__(self.links)
