# SPDX-License-Identifier: Apache-2.0
"""Each check, what makes it fail, and the remedy that its message names."""

from dataclasses import replace

import pytest

from nopal_api.conditions import Condition, find
from nopal_api.quantity import MIB
from nopal_node.host.preflight import HostSeen, PoolSeen, preflight
from nopal_runtime.errors import TerminalError, TransientError
from support.hosts import FACTS, HYPERVISOR, POOL, SEEN

UNREACHABLE = TransientError("HypervisorUnreachable", "libvirt at qemu:///system does not answer.")
NO_MONITOR = TransientError("StorageUnreachable", "the monitors 10.0.0.1:6789 do not answer")
DENIED = TerminalError("AccessDenied", "client.nopal.node-1 may not use pool vms: ceph auth caps")


def check(seen: HostSeen, kind: str) -> Condition:
    found = find(preflight(seen, generation=7), kind)
    assert found is not None
    assert found.observed_generation == 7
    return found


def test_a_host_that_has_everything_passes_every_check() -> None:
    conditions = preflight(SEEN)
    assert [c.type for c in conditions] == [
        "LibvirtReachable",
        "KVMUsable",
        "CephReachable",
        "CephAddressInCIDR",
        "OSDHostsSufficient",
        "BridgesUnfiltered",
        "ClockSynchronized",
        "PodsBounded",
    ]
    assert {c.status for c in conditions} == {"True"}


@pytest.mark.parametrize(
    ("seen", "kind", "status", "reason", "remedy"),
    [
        pytest.param(
            replace(SEEN, hypervisor=UNREACHABLE),
            *("LibvirtReachable", "False", "HypervisorUnreachable"),
            "systemctl start libvirtd",
            id="libvirt down",
        ),
        pytest.param(
            replace(SEEN, hypervisor=replace(HYPERVISOR, kvm=False, kvm_message="no /dev/kvm: x")),
            *("KVMUsable", "False", "Emulation"),
            "no /dev/kvm: x",
            id="no KVM, as the hypervisor tells it",
        ),
        pytest.param(
            replace(SEEN, hypervisor=replace(HYPERVISOR, kvm=False)),
            *("KVMUsable", "False", "Emulation"),
            "modprobe kvm_intel",
            id="no KVM, and nobody says why",
        ),
        pytest.param(
            replace(SEEN, hypervisor=UNREACHABLE),
            *("KVMUsable", "Unknown", "LibvirtUnreachable"),
            "cannot be asked",
            id="KVM not asked",
        ),
        pytest.param(
            replace(SEEN, pools=(POOL, PoolSeen("fast", error=NO_MONITOR))),
            *("CephReachable", "False", "StorageUnreachable"),
            "pool fast: the monitors 10.0.0.1:6789 do not answer",
            id="one pool not reached",
        ),
        pytest.param(
            replace(SEEN, pools=(PoolSeen("a", error=DENIED), PoolSeen("b", error=NO_MONITOR))),
            *("CephReachable", "False", "AccessDenied"),
            "ceph auth caps; pool b: the monitors",
            id="every pool tells",
        ),
        pytest.param(
            replace(SEEN, zone="", pools=()),
            *("CephReachable", "Unknown", "NoZone"),
            "belongs to no Zone",
            id="no zone, no pools",
        ),
        pytest.param(
            replace(SEEN, pools=(replace(POOL, addresses=("192.168.1.5",)),)),
            *("CephAddressInCIDR", "False", "OutsideStorageCIDRs"),
            "192.168.1.5, which is in none of the zone's storageCIDRs (10.0.0.0/24, fd00::/64)",
            id="outside",
        ),
        pytest.param(
            replace(SEEN, pools=(replace(POOL, addresses=("10.0.0.11", "192.168.1.5")),)),
            *("CephAddressInCIDR", "False", "OutsideStorageCIDRs"),
            "storageCIDRs of Zone z1",
            id="a second way out",
        ),
        pytest.param(
            replace(SEEN, pools=(replace(POOL, addresses=()),)),
            *("CephAddressInCIDR", "Unknown", "CephUnreachable"),
            "when it reaches Ceph",
            id="address not known",
        ),
        pytest.param(
            replace(SEEN, zone="", pools=()),
            *("CephAddressInCIDR", "Unknown", "NoZone"),
            "belongs to no Zone",
            id="no zone, no address",
        ),
        pytest.param(
            replace(SEEN, zone="", zone_gone="z9", pools=()),
            *("CephReachable", "Unknown", "ZoneNotFound"),
            'Zone "z9" is gone',
            id="zone gone, no pools",
        ),
        pytest.param(
            replace(SEEN, zone="", zone_gone="z9", pools=()),
            *("CephAddressInCIDR", "Unknown", "ZoneNotFound"),
            'Zone "z9" is gone',
            id="zone gone, no address",
        ),
        pytest.param(
            replace(SEEN, pools=(POOL, replace(POOL, name="fast", osd_hosts=2))),
            *("OSDHostsSufficient", "False", "TooFewOSDHosts"),
            "on 2 hosts",
            id="two OSD hosts",
        ),
        pytest.param(
            replace(SEEN, facts=replace(FACTS, bridge_filter=True)),
            *("BridgesUnfiltered", "False", "BridgeNetfilter"),
            "sysctl -w net.bridge.bridge-nf-call-iptables=0",
            id="bridge filter",
        ),
        pytest.param(
            replace(SEEN, facts=replace(FACTS, bridge_filter=None)),
            *("BridgesUnfiltered", "Unknown", "Unreadable"),
            "does not say",
            id="bridge filter not known",
        ),
        pytest.param(
            replace(SEEN, facts=replace(FACTS, clock_synchronized=False)),
            *("ClockSynchronized", "False", "NotSynchronized"),
            "chrony",
            id="clock",
        ),
        pytest.param(
            replace(SEEN, facts=replace(FACTS, clock_synchronized=None)),
            *("ClockSynchronized", "Unknown", "Unreadable"),
            "does not say",
            id="clock not known",
        ),
        pytest.param(
            replace(SEEN, pods=FACTS.memory - 100 * MIB),
            *("PodsBounded", "False", "MemoryGivenTwice"),
            "Raise systemReserved of the node's kubelet by 61341Mi, or hostReserved of Zone z1 to"
            " 65437Mi",
            id="a kubelet's default",
        ),
        pytest.param(
            replace(SEEN, pods=SEEN.reserved + 1),
            *("PodsBounded", "False", "MemoryGivenTwice"),
            "hostReserved of Zone z1 to 4097Mi",
            id="a byte too much, rounded up",
        ),
    ],
)
def test_what_is_missing_is_told_with_its_remedy(
    seen: HostSeen, kind: str, status: str, reason: str, remedy: str
) -> None:
    found = check(seen, kind)
    assert (found.status, found.reason) == (status, reason)
    assert remedy in found.message
    assert ".." not in found.message


def test_ipv6_addresses_are_compared_with_ipv6_networks() -> None:
    seen = replace(SEEN, pools=(replace(POOL, addresses=("fd00::5",)),))
    assert check(seen, "CephAddressInCIDR").status == "True"
    assert seen.ceph_addresses == ("fd00::5",)


@pytest.mark.parametrize(
    "seen", [replace(SEEN, pods=None), replace(SEEN, zone="")], ids=["no kubelet", "no zone"]
)
def test_nothing_is_said_of_pods_that_nobody_knows_of(seen: HostSeen) -> None:
    assert find(preflight(seen), "PodsBounded") is None


def test_a_host_that_is_all_reserved_may_be_all_pods() -> None:
    seen = replace(SEEN, reserved=FACTS.memory + MIB, pods=FACTS.memory)
    assert check(seen, "PodsBounded").status == "True"


def test_nobody_told_the_number_of_osd_hosts() -> None:
    seen = replace(SEEN, pools=(replace(POOL, osd_hosts=None),))
    assert find(preflight(seen), "OSDHostsSufficient") is None
