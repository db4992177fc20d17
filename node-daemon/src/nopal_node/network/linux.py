# SPDX-License-Identifier: Apache-2.0
"""Bridges over netlink, in the network namespace of the daemon: that of the host."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nopal_runtime.errors import (
    ConflictError,
    NopalError,
    NotFoundError,
    TerminalError,
    TransientError,
)

from .bridges import Bridges
from .links import Link, Links

_IFF_UP = 1
_NO_ADDRESS = 1
"""IN6_ADDR_GEN_MODE_NONE."""


class LinuxNetwork(Bridges):
    """The bridges of this host."""

    def __init__(self) -> None:
        super().__init__(NetlinkLinks())


class NetlinkLinks(Links):
    """Links by rtnetlink. Each call opens a socket of its own: calls may come from any thread."""

    def all(self) -> tuple[Link, ...]:
        """Return every link."""
        with _netlink() as netlink:
            return tuple(_link(message) for message in netlink.get_links())

    def get(self, name: str) -> Link | None:
        """Return the link of that name, None if it is known to be absent."""
        with _netlink() as netlink:
            return _get(netlink, name)

    def add_bridge(self, name: str) -> None:
        """Make a bridge that is down, without spanning tree, and gives the host no address."""
        with _netlink() as netlink:
            netlink.link("add", ifname=name, kind="bridge", br_stp_state=0)
            made = _get(netlink, name)
            if made is not None:
                _without_address(netlink, made.index)

    def change(
        self,
        link: Link,
        *,
        name: str | None = None,
        mtu: int | None = None,
        up: bool | None = None,
        alias: str | None = None,
    ) -> None:
        """Change what is given, in one request."""
        state = None if up is None else "up" if up else "down"
        wanted = {"ifname": name, "mtu": mtu, "state": state, "ifalias": alias}
        given = {key: value for key, value in wanted.items() if value is not None}
        if given:
            with _netlink() as netlink:
                netlink.link("set", index=link.index, **given)

    def remove(self, link: Link) -> None:
        """Remove exactly that link. Absent is success."""
        try:
            with _netlink() as netlink:
                netlink.link("del", index=link.index)
        except NotFoundError:
            return


@contextmanager
def _netlink() -> Iterator[Any]:
    # Imported here: the planning and the fakes do without it.
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as netlink:
            yield netlink
    except NetlinkError as error:
        raise translated(error.code, str(error)) from error
    except OSError as error:
        raise translated(error.errno or 0, str(error)) from error


def translated(code: int, words: str) -> NopalError:
    """Return what an errno of netlink means."""
    if code == errno.EEXIST:
        return ConflictError("LinkExists", "a link of that name exists")
    if code in (errno.ENODEV, errno.ENXIO):
        return NotFoundError("LinkNotFound", "the link is gone")
    if code == errno.EOPNOTSUPP:
        return TerminalError("ModuleMissing", "this kernel has no bridges: modprobe bridge")
    if code in (errno.EPERM, errno.EACCES):
        return TransientError(
            "NetworkUnreachable",
            "the kernel refuses changes of the network: the node daemon needs CAP_NET_ADMIN",
        )
    return TransientError("NetworkUnreachable", f"netlink: {words}")


def _get(netlink: Any, name: str) -> Link | None:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        found = list(netlink.link("get", ifname=name))
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise
    return _link(found[0]) if found else None


def _without_address(netlink: Any, index: int) -> None:
    """Give the host no IPv6 address on the bridge: guests reach it only where it means to."""
    from pyroute2.netlink.exceptions import NetlinkError

    inet6 = {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _NO_ADDRESS]]}
    try:
        netlink.link("set", index=index, IFLA_AF_SPEC={"attrs": [["AF_INET6", inet6]]})
    except NetlinkError as error:
        if error.code != errno.EAFNOSUPPORT:  # a kernel without IPv6 gives none anyway
            raise


def _link(message: Any) -> Link:
    return Link(
        index=int(message["index"]),
        name=str(message.get_attr("IFLA_IFNAME")),
        kind=str(message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or ""),
        mtu=int(message.get_attr("IFLA_MTU") or 0),
        up=bool(message["flags"] & _IFF_UP),
        alias=str(message.get_attr("IFLA_IFALIAS") or ""),
        master=int(message.get_attr("IFLA_MASTER") or 0),
    )
