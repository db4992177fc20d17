# SPDX-License-Identifier: Apache-2.0
"""What a virtual machine asks of its place, and of its neighbours."""

from typing import Any

import pytest

from nopal_api.kinds import NODE, VIRTUAL_MACHINE
from nopal_runtime.kube.api import Key
from support import objects
from support.operatorlab import GIB, Lab


def app(name: str, **more: Any) -> dict[str, Any]:
    return {"matchLabels": {"app": name}, **more}


def vm(lab: Lab, name: str, label: str = "", namespace: str = "default", **placement: Any) -> Key:
    body = objects.vm(name, namespace, placement=placement)
    if label:
        body["metadata"]["labels"] = {"app": label, "unique": name}
    return lab.put(VIRTUAL_MACHINE, body)


async def placed(lab: Lab, key: Key) -> str:
    await lab.act(key)
    assignment = lab.model(key).status.assignment
    return assignment.node_name if assignment else ""


def label(lab: Lab, node: str, **labels: str) -> None:
    lab.put(NODE, {"metadata": {"name": node, "labels": {"zone": "z1", **labels}}})


@pytest.fixture
async def racks() -> Lab:
    """Three hosts: two in rack a, one in rack b."""
    made = Lab()
    made.zone()
    for name, rack in (("n1", "a"), ("n2", "a"), ("n3", "b")):
        await made.host(name, memory=64 * GIB, cpu=64)
        label(made, name, rack=rack)
    await made.act_all()
    return made


async def test_a_node_selector(racks: Lab) -> None:
    wanted = {"matchLabels": {"disk": "nvme"}}
    first = vm(racks, "vm1", nodeSelector=wanted)
    assert "3 no label disk=nvme" in (await racks.refused(first))[1]
    label(racks, "n2", rack="a", disk="nvme")
    racks.dirty.clear()
    await racks.sync()
    assert first in racks.dirty
    assert await placed(racks, first) == "n2"


async def test_anti_affinity_keeps_apart_and_is_symmetric(racks: Lab) -> None:
    first = vm(racks, "one", "db", antiAffinity=[app("db", topologyKey="rack")])
    there = await placed(racks, first)
    plain = vm(racks, "two", "db")
    assert (there == "n3") != (await placed(racks, plain) == "n3"), "the first one's rule holds"
    third = vm(racks, "three", "db", antiAffinity=[app("db", topologyKey="rack")])
    reason, message = await racks.refused(third)
    assert reason == "Unschedulable"
    assert "3 anti-affinity to app=db in topology rack" in message, message
    assert "@namespace" not in message


async def test_rules_select_in_their_own_namespace(racks: Lab) -> None:
    apart = [app("db", topologyKey="zone")]
    assert await placed(racks, vm(racks, "one", "db", antiAffinity=apart))
    assert await placed(racks, vm(racks, "two", "db", namespace="other", antiAffinity=apart))
    assert not await placed(racks, vm(racks, "three", "db", antiAffinity=apart))


async def test_affinity_waits_for_company(racks: Lab) -> None:
    lonely = vm(racks, "web", "web", affinity=[app("db")])
    assert "affinity to app=db" in (await racks.refused(lonely))[1]
    other = vm(racks, "db", "db")
    racks.dirty.clear()
    there = await placed(racks, other)
    await racks.sync()
    assert lonely in racks.dirty, "it is looked at again when another one comes"
    assert await placed(racks, lonely) == there


async def test_a_preference_is_kept_where_it_can_be(racks: Lab) -> None:
    first = await placed(racks, vm(racks, "db", "db"))
    assert await placed(racks, vm(racks, "web", affinity=[app("db", weight=10)])) == first
    assert await placed(racks, vm(racks, "far", affinity=[app("none", weight=10)]))


async def test_spread(racks: Lab) -> None:
    even = [app("web", topologyKey="rack", maxSkew=1)]
    nodes = [await placed(racks, vm(racks, f"w{i}", "web", spread=even)) for i in range(4)]
    assert nodes.count("n3") == 2, nodes


async def test_what_has_a_host_keeps_it_whatever_the_rules_say_later(racks: Lab) -> None:
    first = vm(racks, "one", "db")
    there = await placed(racks, first)
    vm(racks, "one", "db", nodeSelector={"matchLabels": {"no": "where"}})
    await racks.act_all()
    assert racks.model(first).status.assignment.node_name == there
    assert racks.said(first).status == "True"


async def test_labels_and_rules_count_as_they_were_at_the_start(racks: Lab) -> None:
    first = vm(racks, "one", "db", antiAffinity=[app("web", topologyKey="zone")])
    await placed(racks, first)
    vm(racks, "one", "other")
    near = vm(racks, "two", affinity=[app("db")])
    assert await placed(racks, near) == racks.model(first).status.assignment.node_name
    assert "anti-affinity to app=web" in (await racks.refused(vm(racks, "three", "web")))[1]

    stopped = objects.vm("one", powerState="Stopped")
    racks.put(VIRTUAL_MACHINE, stopped)
    await racks.release(first)
    racks.dirty.clear()
    await racks.sync()
    third = Key("VirtualMachine", "default", "three")
    assert third in racks.dirty
    assert await placed(racks, third)


async def test_of_very_many_labels_the_first_count(racks: Lab) -> None:
    body = objects.vm("one")
    body["metadata"]["labels"] = {f"k{i:03}": "v" for i in range(100)}
    key = racks.put(VIRTUAL_MACHINE, body)
    assert await placed(racks, key)
    assert list(racks.model(key).status.assignment.labels) == [f"k{i:03}" for i in range(64)]


async def test_a_draining_host_takes_nothing(lab: Lab) -> None:
    await lab.host("n1", networks=["lan"], scheduling="Draining")
    assert await placed(lab, lab.vm()) == "n2"
    await lab.host("n2", networks=["lan"], scheduling="Draining")
    assert (await lab.refused(lab.vm("vm2")))[1] == "0/2 hosts fit: 2 draining"
