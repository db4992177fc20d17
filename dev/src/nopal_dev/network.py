# SPDX-License-Identifier: Apache-2.0
"""The names and addresses of one cluster, and the bridges between its hosts.

Every cluster has a slot (0 to 254). From it follow all names, so that several clusters stand side
by side and a half-started one can be removed by name alone:

* ``npN-fabric``: a network namespace with two bridges, ``mgmt`` and ``guest``. The bridges are in
  a namespace of their own because a container engine on the machine drops what crosses a bridge
  of the root namespace (``bridge-nf-call-iptables``).
* ``npN-mgmt`` and ``npN-guest``: the machine's own legs in both, with the address ``.1``.
* ``npN-NODE``: the network namespace of a host; in it ``eth0`` on the management bridge, and
  ``br-guest``, an existing guest bridge with ``uplink0`` to the shared one.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nopal_dev.commands import run

GUEST_BRIDGE = "br-guest"
"""The guest bridge that every host has from the start."""

NETNS_DIR = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class Network:
    """Names and addresses of one cluster; everything is a function of its slot."""

    slot: int

    @property
    def prefix(self) -> str:
        """What every link in the root namespace and every network namespace begins with."""
        return f"np{self.slot}-"

    @property
    def fabric(self) -> str:
        """The network namespace with the bridges."""
        return f"{self.prefix}fabric"

    @property
    def address(self) -> str:
        """The machine's management address: API server, monitor and image server listen on it."""
        return f"10.111.{self.slot}.1"

    @property
    def loopback(self) -> str:
        """A loopback address of the cluster's own, for what no host may reach (etcd)."""
        return f"127.111.{self.slot}.1"

    @property
    def cidr(self) -> str:
        """The management network; the storage traffic runs here too."""
        return f"10.111.{self.slot}.0/24"

    @property
    def guest_cidr(self) -> str:
        """The guests' network; the machine itself is ``.1`` in it."""
        return f"10.112.{self.slot}.0/24"

    @property
    def guest_gateway(self) -> str:
        """The machine's own address among the guests."""
        return f"10.112.{self.slot}.1"

    @property
    def guest_range(self) -> tuple[str, str]:
        """The first and the last address that guests are given by DHCP."""
        return f"10.112.{self.slot}.100", f"10.112.{self.slot}.249"

    @property
    def guest_link(self) -> str:
        """The machine's own leg among the guests."""
        return f"{self.prefix}guest"

    def host_address(self, index: int) -> str:
        """The management address of the host with this index (from 0)."""
        return f"10.111.{self.slot}.{10 + index}"

    def host_namespace(self, node: str) -> str:
        """The network namespace of a host."""
        return f"{self.prefix}{node}"

    def namespace_file(self, namespace: str) -> Path:
        """The file that holds a network namespace."""
        return NETNS_DIR / namespace

    def up(self) -> None:
        """Make the fabric; what exists is kept."""
        if f"{self.fabric}" not in namespaces():
            run(["ip", "netns", "add", self.fabric])
        _quiet(self.fabric)
        for bridge, address in (("mgmt", self.address), ("guest", self.guest_gateway)):
            if not _has_link(bridge, self.fabric):
                _ip(self.fabric, "link", "add", bridge, "type", "bridge", "forward_delay", "0")
            _ip(self.fabric, "link", "set", bridge, "up")
            leg = f"{self.prefix}{bridge}"
            if not _has_link(leg):
                peer = ["peer", "name", f"{bridge}-root", "netns", self.fabric]
                run(["ip", "link", "add", leg, "type", "veth", *peer])
            _ip(self.fabric, "link", "set", f"{bridge}-root", "master", bridge, "up")
            run(["ip", "addr", "replace", f"{address}/24", "dev", leg])
            run(["ip", "link", "set", leg, "up"])

    def connect(self, node: str, index: int) -> None:
        """Make a host's network namespace with both its legs; what exists is kept."""
        namespace = self.host_namespace(node)
        if namespace not in namespaces():
            run(["ip", "netns", "add", namespace])
        _quiet(namespace)
        _ip(namespace, "link", "set", "lo", "up")
        for link, bridge in (("eth0", "mgmt"), ("uplink0", "guest")):
            port = f"{bridge}-{index}"
            if not _has_link(link, namespace):
                peer = ["peer", "name", port, "netns", self.fabric]
                _ip(namespace, "link", "add", link, "type", "veth", *peer)
            _ip(self.fabric, "link", "set", port, "master", bridge, "up")
            _ip(namespace, "link", "set", link, "up")
        _ip(namespace, "addr", "replace", f"{self.host_address(index)}/24", "dev", "eth0")
        if not _has_link(GUEST_BRIDGE, namespace):
            _ip(namespace, "link", "add", GUEST_BRIDGE, "type", "bridge", "forward_delay", "0")
        _ip(namespace, "link", "set", "uplink0", "master", GUEST_BRIDGE)
        _ip(namespace, "link", "set", GUEST_BRIDGE, "up")

    def namespaces(self) -> list[str]:
        """The network namespaces of this cluster that exist."""
        return [name for name in namespaces() if name.startswith(self.prefix)]

    def links(self) -> list[str]:
        """The links of this cluster in the root namespace that exist."""
        return [name for name in os.listdir("/sys/class/net") if name.startswith(self.prefix)]

    def down(self) -> None:
        """Remove every namespace and link of the cluster; their processes must be gone."""
        for link in self.links():
            run(["ip", "link", "del", link], check=False)
        for namespace in self.namespaces():
            run(["ip", "netns", "del", namespace], check=False)
            # A kill -9 inside `ip netns add` leaves the file without the mount.
            self.namespace_file(namespace).unlink(missing_ok=True)


def namespaces() -> Iterable[str]:
    """The named network namespaces of the machine."""
    try:
        return [path.name for path in NETNS_DIR.iterdir()]
    except FileNotFoundError:
        return []


def _ip(namespace: str, *args: str) -> None:
    run(["ip", "-n", namespace, *args])


def _has_link(link: str, namespace: str | None = None) -> bool:
    if namespace is None:
        return Path("/sys/class/net", link).exists()
    listed = run(["ip", "-n", namespace, "-o", "link", "show", "dev", link], check=False)
    return bool(listed)


def _quiet(namespace: str) -> None:
    """No IPv6 chatter and no iptables on bridged frames inside the namespace."""
    settings = ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"]
    if Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        settings.append("net.bridge.bridge-nf-call-iptables=0")
    run(["ip", "netns", "exec", namespace, "sysctl", "-qw", *settings], check=False)
