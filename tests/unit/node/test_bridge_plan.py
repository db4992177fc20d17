# SPDX-License-Identifier: Apache-2.0
"""Which bridges a host makes and removes."""

from typing import Any

from nopal_api.network import NetworkSpec
from nopal_node.network.base import BridgeSpec, BridgeState
from nopal_node.reconcile.network import NetworkView, plan_bridges


def network(
    name: str = "n1", *, zone: str = "z1", deleting: bool = False, **bridge: Any
) -> NetworkView:
    spec = {"zone": zone, "type": "Bridge", "bridge": {"name": f"br-{name}", **bridge}}
    return NetworkView(
        name=name, uid=f"uid-{name}", deleting=deleting, spec=NetworkSpec.model_validate(spec)
    )


def owned(name: str = "n1") -> BridgeState:
    return BridgeState(name=f"br-{name}", mtu=1500, up=True, owner_uid=f"uid-{name}", ports=())


def test_the_networks_of_the_hosts_zone_are_ensured() -> None:
    views = [network("b", management="Managed", mtu=9000), network("a"), network("c", zone="z2")]
    made = plan_bridges(views, zone="z1", owned=())
    assert [spec for _, spec in made.ensure] == [
        BridgeSpec(name="br-a", owner_uid="uid-a", managed=False, mtu=None),
        BridgeSpec(name="br-b", owner_uid="uid-b", managed=True, mtu=9000),
    ]


def test_a_host_without_a_zone_makes_nothing() -> None:
    assert plan_bridges([network()], zone=None, owned=()).ensure == ()


def test_a_bridge_goes_with_its_own_network_only() -> None:
    bridges = [owned("n1"), owned("n2")]
    made = plan_bridges([network(deleting=True), network("n2")], zone="z1", owned=bridges)
    assert made.remove == (owned("n1"),)
    assert [view.name for view, _ in made.ensure] == ["n2"]


def test_a_bridge_whose_network_is_merely_missing_stays() -> None:
    assert plan_bridges([], zone="z1", owned=[owned()]).remove == ()


def test_a_namesake_does_not_remove_the_older_networks_bridge() -> None:
    older = BridgeState(name="br-n1", mtu=1500, up=True, owner_uid="older", ports=())
    assert plan_bridges([network(deleting=True)], zone="z1", owned=[older]).remove == ()


def test_a_bridge_goes_also_from_a_host_that_left_the_zone() -> None:
    for zone in ("z2", None):
        made = plan_bridges([network(deleting=True)], zone=zone, owned=[owned()])
        assert made.remove == (owned(),)


def test_a_network_that_a_vm_is_assigned_to_is_kept_while_it_is_being_deleted() -> None:
    """Between a guest's crash and its restart the bridge has no port."""
    made = plan_bridges(
        [network(deleting=True)], zone="z1", owned=[owned()], in_use=frozenset({"n1"})
    )
    assert made.remove == ()
    assert [view.name for view, _ in made.ensure] == ["n1"]
