# SPDX-License-Identifier: Apache-2.0
"""The cluster as arrays: what it does not take, and what it knows of its hosts."""

from dataclasses import replace
from typing import Any

import pytest

from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Vm
from nopal_scheduler.state import State


def host(name: str, rack: str = "", **more: Any) -> Host:
    return replace(Host(name, Room(8, 8), labels={"rack": rack} if rack else {}), **more)


@pytest.mark.parametrize(
    ("cluster", "error"),
    [
        (Cluster((host("a"), host("a"))), "two hosts have one name"),
        (Cluster((host("a"),), (Vm("v", Room(), "a"),) * 2), 'there is a vm "v" already'),
        (Cluster((host("a"),), (Vm("v", Room(), "b"),)), 'on host "b", which is not there'),
    ],
)
def test_a_cluster_that_is_none_is_refused(cluster: Cluster, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        State(cluster)


def test_hosts_and_failure_domains_are_in_the_order_of_their_names() -> None:
    hosts = (host("c", "z"), host("b", "x"), host("d"), host("e", "x"), host("a", "y"))
    state = State(Cluster(hosts, redundancy=Redundancy(1, "rack")))
    assert [h.name for h in state.hosts] == ["a", "b", "c", "d", "e"]
    assert state.domain_names == ("[d]", "x", "y", "z")
    assert [mask.nonzero()[0].tolist() for mask in state.lost_with] == [[3], [1, 4], [0], [2]]


def test_where_one_may_go_is_asked_for_each_of_its_needs() -> None:
    lan = host("a", networks=frozenset({"lan"}))
    avx, ssd = host("b", cpu_features=frozenset({"avx"})), host("c", labels={"disk": "ssd"})
    state = State(Cluster((lan, avx, ssd)))
    plain = Vm("v", Room(1, 1))
    for vm, expected in (
        (plain, [True, True, True]),
        (replace(plain, networks=("lan",)), [True, False, False]),
        (replace(plain, cpu_features=frozenset({"avx"})), [False, True, False]),
        (replace(plain, node_selector={"disk": "ssd"}), [False, False, True]),
        (replace(plain, needs=Room(1, 1, {"gpu": 1})), [False, False, False]),
        (plain, [True, True, True]),
    ):
        assert state.eligible(vm).tolist() == expected


def test_a_resource_that_only_a_virtual_machine_has_is_over_capacity() -> None:
    state = State(Cluster((host("a"),), (Vm("v", Room(1, 1, {"gpu": 2}), "a"),)))
    assert state.resources == ("cpu", "memory", "gpu")
    assert state.free[:, 0].tolist() == [7, 7, -2]
    assert state.remove("v") == 0
    assert state.free[:, 0].tolist() == [8, 8, 0]
