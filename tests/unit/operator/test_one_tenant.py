# SPDX-License-Identifier: Apache-2.0
"""A zone is shared: what one tenant does to their virtual machines stops nobody else's."""

from typing import Any

import pytest

from nopal_api.kinds import VIRTUAL_MACHINE
from nopal_operator.candidates import with_names
from nopal_runtime.kube.api import Key
from support import objects
from support.operatorlab import GIB, Lab

ZONE = Key("Zone", "", "z1")
NOWHERE = {"nodeSelector": {"matchLabels": {"no": "where"}}}


def vm(lab: Lab, name: str, namespace: str = "default", app: str = "", **spec: Any) -> Key:
    body = objects.vm(name, namespace, **{"memory": {"size": "6Gi"}, **spec})
    body["metadata"]["labels"] = {"app": app} if app else {}
    return lab.put(VIRTUAL_MACHINE, body)


async def is_placed(lab: Lab, key: Key) -> bool:
    await lab.act(key)
    return bool(lab.said(key).status == "True")


async def said(lab: Lab) -> tuple[str, str]:
    """Let the zone's pause pass; return the reason and the message of its condition."""
    lab.now += lab.patience.zone_status
    await lab.act(ZONE)
    found = lab.said(ZONE, "Redundant")
    return found.reason, found.message


@pytest.fixture
async def n1() -> Lab:
    """A zone of three hosts, 14 GiB each for virtual machines, that is to survive one of them."""
    made = Lab()
    made.zone(redundancy={"failures": 1})
    for name in ("n1", "n2", "n3"):
        await made.host(name)
    await made.act_all()
    return made


@pytest.mark.parametrize(
    "edit",
    [
        {"placement": NOWHERE},
        {"placement": {"antiAffinity": [{"matchLabels": {"app": "db"}}]}},
        {"placement": {"affinity": [{"matchLabels": {"app": "none"}}]}},
        {"app": "others"},
    ],
)
async def test_an_edit_of_what_runs_stops_nobody(n1: Lab, edit: dict[str, Any]) -> None:
    near = {"affinity": [{"matchLabels": {"app": "db"}}]}
    small: dict[str, Any] = {"memory": {"size": "1Gi"}}
    for name in ("one", "two", "three", "four"):
        assert await is_placed(n1, vm(n1, name, app="db", placement=near, **small))
    for name in ("one", "two", "three", "four"):
        await n1.act(vm(n1, name, **{"app": "db", "placement": near, **small, **edit}))
    assert (await said(n1))[0] == "PoolsUnknown", "all that is asked of computing is kept"
    assert await is_placed(n1, vm(n1, "theirs", "other"))


async def test_room_elsewhere_is_given_back_at_once_and_asked_for_at_a_start(n1: Lab) -> None:
    leave: dict[str, Any] = {"availability": {"hostLoss": "Leave"}}
    keys = [vm(n1, f"vm{i}", **leave) for i in range(6)]
    assert all([await is_placed(n1, key) for key in keys])
    for i in range(6):
        await n1.act(vm(n1, f"vm{i}"))
    assert (await said(n1))[0] == "PoolsUnknown"
    assert await is_placed(n1, vm(n1, "theirs", "other", memory={"size": "1Gi"}))


async def test_one_that_is_to_stop_may_change_its_mind(n1: Lab) -> None:
    keys = [vm(n1, f"vm{i}") for i in range(4)]
    assert all([await is_placed(n1, key) for key in keys])
    await n1.act(vm(n1, "vm0", powerState="Stopped"))
    theirs = vm(n1, "theirs", "other")
    assert not await is_placed(n1, theirs), "its guest still runs"
    await n1.act(vm(n1, "vm0"))
    assert (await said(n1))[0] == "PoolsUnknown"


async def test_one_that_others_must_be_near_to_comes_back(n1: Lab) -> None:
    small: dict[str, Any] = {"memory": {"size": "1Gi"}}
    near = {"affinity": [{"matchLabels": {"app": "db"}}]}
    first = vm(n1, "db", app="db", **small)
    assert await is_placed(n1, first)
    assert await is_placed(n1, vm(n1, "web", placement=near, **small))
    vm(n1, "db", app="db", powerState="Stopped", **small)
    await n1.release(first)
    assert (await said(n1))[0] == "ComputeNotProven", "nobody is there whom web could be near to"
    assert not await is_placed(n1, vm(n1, "theirs", "other", **small))
    assert await is_placed(n1, vm(n1, "db", app="db", **small))
    assert (await said(n1))[0] == "PoolsUnknown"
    assert await is_placed(n1, vm(n1, "theirs", "other", **small))


async def test_stopped_and_started_again_in_a_zone_that_is_full(n1: Lab) -> None:
    keys = [vm(n1, f"vm{i}") for i in range(4)]
    assert all([await is_placed(n1, key) for key in keys])
    theirs = vm(n1, "theirs", "other")
    assert not await is_placed(n1, theirs)

    vm(n1, "vm0", powerState="Stopped")
    await n1.release(keys[0])
    n1.dirty.clear()
    await n1.sync()
    assert theirs in n1.dirty
    assert await is_placed(n1, theirs)

    again = vm(n1, "vm0")
    assert not await is_placed(n1, again)
    assert n1.said(again).reason == "RedundancyNotKept"
    n1.kube.remove(VIRTUAL_MACHINE, "theirs", "other")
    await n1.release(theirs)
    await n1.act(theirs)
    assert await is_placed(n1, again)


async def test_memory_that_shrinks_below_what_is_there(n1: Lab) -> None:
    keys = [vm(n1, f"vm{i}") for i in range(4)]
    assert all([await is_placed(n1, key) for key in keys])
    homes = [n1.model(key).status.assignment.node_name for key in keys]
    shrunk = min(homes, key=homes.count)
    await n1.host(shrunk, memory=8 * GIB)
    waits = vm(n1, "more", memory={"size": "1Gi"})
    assert not await is_placed(n1, waits)
    assert n1.said(waits).reason == "RedundancyNotKept"
    assert (await said(n1))[0] in ("ComputeImpossible", "ComputeNotProven")
    assert [n1.model(key).status.assignment.node_name for key in keys] == homes
    await n1.host(shrunk)
    assert await is_placed(n1, waits)


def test_every_name_in_the_schedulers_words_is_found() -> None:
    words = 'has room for vm "u1" and may take it: "u2" requires affinity by rack'
    assert with_names(words, {"u1": "it", "u2": "one"}.__getitem__) == (
        "has room for it and may take it: one requires affinity by rack"
    )


async def test_who_is_named_to_whom(n1: Lab) -> None:
    for name in ("n2", "n3"):
        await n1.host(name, memory=8 * GIB)
    n1.zone()
    large = vm(n1, "large", "other", memory={"size": "11Gi"})
    assert await is_placed(n1, large)
    n1.zone(redundancy={"failures": 1}, standardSizes=[{"name": "s", "cores": 1, "memory": "1Gi"}])
    words = "no host that is left has room for {} and may take it"

    reason, message = await said(n1)
    assert reason == "ComputeImpossible"
    assert words.format('vm "other/large"') in message
    (fit,) = n1.model(ZONE).status.fits
    assert words.format('vm "other/large"') in fit.limit
    for namespace, called in (("default", "a virtual machine"), ("other", 'vm "large"')):
        mine = vm(n1, "mine", namespace, memory={"size": "1Gi"})
        assert not await is_placed(n1, mine)
        assert words.format(called) in n1.said(mine).message
    n1.kube.remove(VIRTUAL_MACHINE, "large", "other")
    await n1.release(large)
    await n1.act(large)
    again = vm(n1, "again", memory={"size": "11Gi"})
    assert not await is_placed(n1, again)
    assert words.format("it") in n1.said(again).message
