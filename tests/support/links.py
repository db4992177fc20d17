# SPDX-License-Identifier: Apache-2.0
"""A host's links for the network's contract suite: the kernel's, or the fake ones."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from nopal_node.network.fake import FakeLinks
from nopal_node.network.links import Link, Links
from nopal_node.network.linux import NetlinkLinks
from support.netns import NetworkNamespace


class Crash(BaseException):
    """kill -9: no handler of the code under test may catch it."""


class Bench(ABC):
    """Links, and other people's hands on them."""

    links: Links

    @abstractmethod
    def add(self, name: str, kind: str, *, mtu: int = 1500, up: bool = True) -> None:
        """Make a link that is not ours: a bridge or a veth."""

    @abstractmethod
    def attach(self, name: str, bridge: str) -> None:
        """Make a tap as a port of the bridge."""

    @abstractmethod
    def detach(self, name: str) -> None:
        """Remove the tap."""

    def crashing(self, step: int, *, after: bool) -> "CrashingLinks":
        """The same links, on which the n-th change (from 0) kills the daemon."""
        return CrashingLinks(self.links, step, after)


class FakeBench(Bench):
    def __init__(self) -> None:
        self._fake = FakeLinks()
        self.links = self._fake

    def add(self, name: str, kind: str, *, mtu: int = 1500, up: bool = True) -> None:
        self._fake.put(name, kind=kind, mtu=mtu, up=up)

    def attach(self, name: str, bridge: str) -> None:
        self._fake.attach(name, bridge)

    def detach(self, name: str) -> None:
        self._fake.detach(name)


class KernelBench(Bench):
    def __init__(self, namespace: NetworkNamespace) -> None:
        self._namespace = namespace
        self.links = _InNamespace(NetlinkLinks(), namespace)

    def add(self, name: str, kind: str, *, mtu: int = 1500, up: bool = True) -> None:
        peer = ["peer", "name", f"{name}-peer"] if kind == "veth" else []
        self._namespace.ip("link", "add", name, "mtu", str(mtu), "type", kind, *peer)
        if up:
            self._namespace.ip("link", "set", name, "up")

    def attach(self, name: str, bridge: str) -> None:
        self._namespace.ip("tuntap", "add", name, "mode", "tap")
        self._namespace.ip("link", "set", name, "master", bridge, "up")

    def detach(self, name: str) -> None:
        self._namespace.ip("link", "del", name)


class _Forwarding(Links):
    """Links that hand every call on through `_call`."""

    def __init__(self, inner: Links) -> None:
        self._inner = inner

    def _call(self, verb: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return verb(*args, **kwargs)

    def all(self) -> tuple[Link, ...]:
        return tuple(self._call(self._inner.all))

    def get(self, name: str) -> Link | None:
        found: Link | None = self._call(self._inner.get, name)
        return found

    def add_bridge(self, name: str) -> None:
        self._call(self._inner.add_bridge, name)

    def change(
        self,
        link: Link,
        *,
        name: str | None = None,
        mtu: int | None = None,
        up: bool | None = None,
        alias: str | None = None,
    ) -> None:
        self._call(self._inner.change, link, name=name, mtu=mtu, up=up, alias=alias)

    def remove(self, link: Link) -> None:
        self._call(self._inner.remove, link)


class _InNamespace(_Forwarding):
    """The calls run in the namespace's thread."""

    def __init__(self, inner: Links, namespace: NetworkNamespace) -> None:
        super().__init__(inner)
        self._namespace = namespace

    def _call(self, verb: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._namespace.run(verb, *args, **kwargs)


class CrashingLinks(_Forwarding):
    """Links on which one change kills the daemon, before or after it took effect."""

    def __init__(self, inner: Links, step: int, after: bool) -> None:
        super().__init__(inner)
        self.crashed = False
        self._left = step
        self._after = after

    def _call(self, verb: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        changes = verb.__name__ in ("add_bridge", "change", "remove")
        if not changes:
            return verb(*args, **kwargs)
        due = self._left == 0
        self._left -= 1
        if due and not self._after:
            self.crashed = True
            raise Crash
        result = verb(*args, **kwargs)
        if due:
            self.crashed = True
            raise Crash
        return result
