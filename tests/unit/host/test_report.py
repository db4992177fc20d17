# SPDX-License-Identifier: Apache-2.0
"""The Host's status: complete, steady, and nothing forgotten that cannot be asked just now."""

from dataclasses import replace

import pytest

from nopal_api.conditions import Condition, condition, find
from nopal_api.host import HostNetwork, HostStatus
from nopal_node.host.preflight import HostSeen, PoolSeen
from nopal_node.host.report import host_status
from nopal_runtime.errors import TransientError
from support.hosts import FACTS, HYPERVISOR, POOL, SEEN

DOWN = TransientError("HypervisorUnreachable", "libvirt does not answer")
NOTHING = HostStatus()
LOST = TransientError("StorageUnreachable", "no monitor answers")


def report(seen: HostSeen, previous: HostStatus = NOTHING) -> HostStatus:
    return host_status(seen, previous=previous, node_uid="n1", ceph_version="16.2.15", generation=2)


def ready(status: HostStatus) -> Condition:
    found = find(status.conditions, "Ready")
    assert found is not None
    return found


def test_a_good_host() -> None:
    status = report(SEEN)
    wire = status.wire()
    assert ready(status).status == "True"
    assert ready(status).message == ""
    assert wire["nodeUID"] == "n1"
    assert wire["bootID"] == FACTS.boot_id
    assert wire["capacity"] == {"cpu": 16, "memory": "65536Mi"}, "rounded down"
    assert wire["versions"] == {
        "libvirt": "9.0.0",
        "qemu": "7.2.9",
        "ceph": "16.2.15",
        "kernel": "6.1.0-18-amd64",
    }
    assert wire["acceleration"] == "KVM"
    assert wire["cpuFeatures"] == ["avx2"]
    assert wire["cephAddresses"] == ["10.0.0.11"]
    assert "zone" not in wire, "the operator's"
    assert {c.observed_generation for c in status.conditions} == {2}


def test_the_same_seen_in_another_order_is_the_same_status() -> None:
    lan, wan = (HostNetwork(name=name, bridge=name, mtu=1500, ready="True") for name in "lw")
    pools = (POOL, replace(POOL, name="fast", addresses=("10.0.0.12", "10.0.0.11")))
    one = host_status(
        replace(SEEN, pools=pools), previous=NOTHING, node_uid="n1", networks=[lan, wan]
    )
    two = host_status(
        replace(SEEN, pools=pools[::-1]), previous=one, node_uid="n1", networks=[wan, lan]
    )
    assert one == two
    assert one.ceph_addresses == ("10.0.0.11", "10.0.0.12")


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        (replace(SEEN, zone="", pools=()), "NoZone", "kubectl label node"),
        (replace(SEEN, zone="", zone_gone="z9", pools=()), "ZoneNotFound", 'Zone "z9"'),
        (replace(SEEN, hypervisor=DOWN), "HypervisorUnreachable", "LibvirtReachable: libvirt"),
        (
            replace(SEEN, pools=(PoolSeen("main", error=LOST),)),
            "StorageUnreachable",
            "CephReachable: pool main",
        ),
        (
            replace(SEEN, pools=(replace(POOL, addresses=("192.168.1.5",)),)),
            "OutsideStorageCIDRs",
            "CephAddressInCIDR: this host",
        ),
        (
            replace(SEEN, pools=(replace(POOL, addresses=()),)),
            "CephUnreachable",
            "CephAddressInCIDR",
        ),
    ],
    ids=["no zone", "zone gone", "libvirt", "Ceph", "not fenceable", "address unknown"],
)
def test_without_what_is_required_it_is_not_ready(seen: HostSeen, reason: str, words: str) -> None:
    found = ready(report(seen))
    assert (found.status, found.reason) == ("False", reason)
    assert words in found.message


def test_without_the_rest_it_is_ready_and_says_where_to_look() -> None:
    seen = replace(
        SEEN,
        facts=replace(FACTS, bridge_filter=True, clock_synchronized=None),
        hypervisor=replace(HYPERVISOR, kvm=False),
        pools=(replace(POOL, osd_hosts=1),),
        pods=FACTS.memory,
    )
    status = report(seen)
    assert ready(status).status == "True"
    assert ready(status).message == (
        "look at KVMUsable, OSDHostsSufficient, BridgesUnfiltered, ClockSynchronized, PodsBounded"
    )
    assert status.acceleration == "Emulation"


def test_what_cannot_be_asked_keeps_its_last_known_value() -> None:
    before = report(SEEN)
    ill = replace(SEEN, hypervisor=DOWN, pools=(PoolSeen("main", error=LOST),))
    after = host_status(ill, previous=before, node_uid="n1")
    assert after.versions == before.versions
    assert after.acceleration == "KVM"
    assert after.cpu_features == ("avx2",), "nobody starts elsewhere because libvirt restarts"
    assert after.ceph_addresses == ("10.0.0.11",), "by these it is fenced"


def test_an_address_is_forgotten_only_when_every_pool_was_reached() -> None:
    before = report(replace(SEEN, pools=(replace(POOL, addresses=("10.0.0.11", "10.0.0.99")),)))
    partly = replace(SEEN, pools=(POOL, PoolSeen("fast", error=LOST)))
    assert report(partly, before).ceph_addresses == ("10.0.0.11", "10.0.0.99")
    assert report(SEEN, before).ceph_addresses == ("10.0.0.11",)


def test_no_zone_is_a_host_all_the_same() -> None:
    """The operator finds its capacity and its boot ID before it gives it a zone."""
    status = report(replace(SEEN, zone="", storage_cidrs=(), pools=()))
    assert status.capacity is not None
    assert status.boot_id == FACTS.boot_id
    assert find(status.conditions, "LibvirtReachable") is not None


def test_further_conditions_of_the_daemons_are_kept() -> None:
    held = condition("OrphansHeld", True, reason="OrphansHeld", message="vm-1")
    status = host_status(SEEN, previous=NOTHING, node_uid="n1", extra=(held,))
    assert held in status.conditions
    assert len({c.type for c in status.conditions}) == len(status.conditions)
