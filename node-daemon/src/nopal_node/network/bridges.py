# SPDX-License-Identifier: Apache-2.0
"""The rules about bridges: which are ours, how one is made, and what is never touched.

A bridge that we make carries its Network's UID in its alias. It is made under a name of its own,
marked, and only then given the name that was asked for: whoever is killed in between leaves no
bridge that looks like somebody else's.
"""

import hashlib

from nopal_runtime.errors import ConflictError, NotFoundError, TerminalError, TransientError

from .base import BridgeSpec, BridgeState, HostNetwork
from .links import Link, Links

OWNER = "nopal.dev/network="
"""What the alias of a bridge of ours begins with; the Network's UID follows."""


class Bridges(HostNetwork):
    """The bridges of this host, over the kernel's links or a fake of them."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def bridge(self, name: str) -> BridgeState | None:
        """Return the bridge, None if it is known to be absent."""
        link = self._links.get(name)
        return self._state(link) if link is not None and link.kind == "bridge" else None

    def owned_bridges(self) -> tuple[BridgeState, ...]:
        """Return the bridges that we made, half-made ones included."""
        links = self._links.all()
        return tuple(
            _state(link, links) for link in links if link.kind == "bridge" and _owner(link)
        )

    def ensure_bridge(self, spec: BridgeSpec) -> BridgeState:
        """See that the bridge is there, up, with the MTU; make it if it is managed."""
        try:
            link = self._managed(spec) if spec.managed else self._existing(spec)
            return self._state(link)
        except (ConflictError, NotFoundError) as error:
            # Somebody changed it between our look and our step: look again.
            raise TransientError(
                "NetworkChanged", f"bridge {spec.name} changed while it was set up: {error.message}"
            ) from error

    def remove_bridge(self, name: str, *, owner_uid: str) -> None:
        """Remove a bridge that we made for that owner. Absent is success; not ours stays."""
        draft = self._links.get(_draft(owner_uid))
        if draft is not None and _removable(draft, owner_uid):
            self._links.remove(draft)
        link = self._links.get(name)
        if link is None or link.kind != "bridge" or _owner(link) != owner_uid:
            return
        ports = self._state(link).ports
        if ports:
            raise TransientError(
                "BridgeInUse", f"bridge {name} still has the ports {', '.join(ports)}"
            )
        self._links.remove(link)

    def _existing(self, spec: BridgeSpec) -> Link:
        link = self._links.get(spec.name)
        if link is None:
            raise TerminalError(
                "BridgeNotFound",
                f"bridge {spec.name} does not exist on this host and the Network says that it is"
                f" made by hand: ip link add {spec.name} type bridge && ip link set {spec.name} up,"
                " and the same in the host's network configuration",
            )
        if link.kind != "bridge":
            raise TerminalError(
                "BridgeConflict", f"{spec.name} is no bridge on this host: {_what(link)}"
            )
        if not link.up:
            raise TerminalError(
                "BridgeDown",
                f"bridge {spec.name} is down on this host: ip link set {spec.name} up",
            )
        if spec.mtu is not None and link.mtu < spec.mtu:
            raise TerminalError(
                "MTUTooSmall",
                f"bridge {spec.name} has MTU {link.mtu}, the Network asks for {spec.mtu}:"
                f" ip link set {spec.name} mtu {spec.mtu}, and its uplink too",
            )
        return link

    def _managed(self, spec: BridgeSpec) -> Link:
        link = self._links.get(spec.name)
        if link is None:
            link = self._make(spec)
        if link.kind != "bridge":
            raise TerminalError(
                "BridgeConflict",
                f"{spec.name} exists on this host and is no bridge ({_what(link)}): choose another"
                " bridge.name",
            )
        owner = _owner(link)
        if owner != spec.owner_uid:
            whose = f"belongs to the Network with UID {owner}" if owner else "is not Nopal's"
            raise TerminalError(
                "BridgeConflict",
                f"bridge {spec.name} exists on this host and {whose}: choose another bridge.name,"
                " or management Existing to use it as it is",
            )
        mtu = spec.mtu if spec.mtu not in (None, link.mtu) else None
        if mtu is not None or not link.up:
            self._links.change(link, mtu=mtu, up=True)
        return self._found(spec.name)

    def _make(self, spec: BridgeSpec) -> Link:
        draft = _draft(spec.owner_uid)
        left = self._links.get(draft)
        if left is not None and _removable(left, spec.owner_uid):
            self._links.remove(left)
        self._links.add_bridge(draft)
        made = self._found(draft)
        self._links.change(made, alias=OWNER + spec.owner_uid)
        self._links.change(made, name=spec.name)
        return self._found(spec.name)

    def _found(self, name: str) -> Link:
        link = self._links.get(name)
        if link is None:
            raise NotFoundError("LinkNotFound", f"{name} is gone again")
        return link

    def _state(self, link: Link) -> BridgeState:
        return _state(link, self._links.all())


def _state(link: Link, links: tuple[Link, ...]) -> BridgeState:
    ports = tuple(sorted(port.name for port in links if port.master == link.index))
    return BridgeState(link.name, mtu=link.mtu, up=link.up, owner_uid=_owner(link), ports=ports)


def _owner(link: Link) -> str:
    return link.alias.removeprefix(OWNER) if link.alias.startswith(OWNER) else ""


def _removable(draft: Link, owner_uid: str) -> bool:
    """Tell whether a half-made bridge is ours: marked so, or not marked yet."""
    return draft.kind == "bridge" and _owner(draft) in ("", owner_uid)


def _draft(owner_uid: str) -> str:
    """Return the name under which a bridge is made; Linux allows 15 characters."""
    return f"np-{hashlib.sha256(owner_uid.encode()).hexdigest()[:12]}"


def _what(link: Link) -> str:
    return f"a {link.kind} link" if link.kind else "a physical link"
