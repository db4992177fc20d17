# SPDX-License-Identifier: Apache-2.0
"""What only the kernel can tell of a bridge that Nopal made."""

import json
import threading

import pytest

from nopal_node.network.base import BridgeSpec
from nopal_node.network.linux import LinuxNetwork
from support.netns import network_namespace

pytestmark = pytest.mark.real

SPEC = BridgeSpec("lan", owner_uid="6f2d4b0e-0000-4000-8000-000000000001", managed=True)


def test_no_spanning_tree_and_no_address_of_the_hosts() -> None:
    with network_namespace() as namespace:
        namespace.run(LinuxNetwork().ensure_bridge, SPEC)
        (link,) = json.loads(namespace.ip("-d", "-j", "link", "show", "lan"))
        assert link["linkinfo"]["info_data"]["stp_state"] == 0
        assert link["ifalias"] == f"nopal.dev/network={SPEC.owner_uid}"
        assert link["inet6_addr_gen_mode"] == "none"


def test_it_sees_the_network_namespace_of_its_thread_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with network_namespace() as namespace:
        names = namespace.run(lambda: LinuxNetwork().owned_bridges())
        assert names == ()
        assert json.loads(namespace.ip("-j", "link", "show"))[0]["ifname"] == "lo"
    assert set(threading.enumerate()) <= before
