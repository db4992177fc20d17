# SPDX-License-Identifier: Apache-2.0
"""A zone that is to survive failures: who is refused for it, and what the zone says of itself."""

from typing import Any

import pytest

from nopal_api.conditions import condition
from nopal_api.kinds import HOST, VIRTUAL_MACHINE
from nopal_api.names import MANAGER_NODE
from nopal_api.zone import ZoneStatus
from nopal_operator.reconcile.plan import Reserve
from nopal_runtime.kube.api import Key
from support.operatorlab import GIB, Lab

ZONE = Key("Zone", "", "z1")
POOL = {
    "name": "main",
    "size": 3,
    "minSize": 2,
    "failureDomain": "host",
    "domains": 3,
    "copiesTogether": 1,
    "rawTotal": "3Ti",
    "rawUsedPercent": 35,
    "rawSpace": 2,
}


async def pool(lab: Lab, host: str, **figures: Any) -> None:
    """Have a host report on the zone's pool."""
    ready = condition("Ready", True, reason="Ready").wire()
    status = {
        "capacity": {"cpu": 4, "memory": str(16 * GIB)},
        "pools": [POOL | figures],
        "conditions": [ready],
    }
    await lab.tell(Key("Host", "", host), MANAGER_NODE, status)


@pytest.fixture
async def n1() -> Lab:
    """A zone of three hosts, 14 GiB each for virtual machines, that is to survive one of them."""
    made = Lab()
    made.zone(redundancy={"failures": 1})
    for name in ("n1", "n2", "n3"):
        await made.host(name)
        await pool(made, name)
    await made.act_all()
    return made


async def told(lab: Lab) -> tuple[ZoneStatus, str, str]:
    """Let the zone's pause pass; return its status, the condition's reason and its message."""
    lab.now += lab.patience.zone_status
    await lab.act(ZONE)
    said = lab.said(ZONE, "Redundant")
    return lab.model(ZONE).status, f"{said.status}: {said.reason}", said.message


async def fill(lab: Lab, count: int, memory: str = "6Gi") -> list[Key]:
    keys = [lab.vm(f"vm{i}", memory={"size": memory}) for i in range(count)]
    for key in keys:
        await lab.act(key)
    return keys


async def test_room_is_kept_for_what_a_lost_host_had(n1: Lab) -> None:
    keys = await fill(n1, 5)
    homes = [n1.model(key).status.assignment for key in keys]
    assert [home is not None for home in homes] == [True] * 4 + [False]
    said = n1.said(keys[4])
    assert said.reason == "RedundancyNotKept"
    assert said.message.startswith("0/3 hosts fit: "), said.message
    assert "N+1" in said.message
    assert "hostLoss" in said.message


async def test_who_was_refused_is_placed_when_it_becomes_possible(n1: Lab) -> None:
    keys = await fill(n1, 5)
    n1.dirty.clear()
    for i in range(4):
        await n1.act(n1.vm(f"vm{i}", memory={"size": "6Gi"}, availability={"hostLoss": "Leave"}))
    await n1.sync()
    assert keys[4] in n1.dirty
    await n1.act(keys[4])
    assert n1.said(keys[4]).status == "True", "no room is kept for who does not restart"


async def test_a_host_that_comes_makes_room(n1: Lab) -> None:
    keys = await fill(n1, 5)
    await n1.host("n4")
    await pool(n1, "n4")
    await n1.act_all()
    assert n1.said(keys[4]).status == "True"


async def test_two_at_once_never_take_the_same_spare_room(n1: Lab) -> None:
    keys = [n1.vm(f"vm{i}", memory={"size": "6Gi"}) for i in range(6)]
    for key in keys:  # the writes of none of them are seen yet
        plan = await n1.plan(key)
        for step in plan.steps:
            if isinstance(step, Reserve):
                n1.world.schedulers.assume(step.hold)
    assert n1.world.schedulers.assumed() == 4


async def test_decisions_that_are_reserved_count_for_the_proof(n1: Lab) -> None:
    for i in range(6):
        await n1.act(n1.vm(f"vm{i}", memory={"size": "6Gi"}))
    assert (await told(n1))[1] == "True: Survives"


async def test_a_zone_that_survives_says_of_what_it_is_made(n1: Lab) -> None:
    await fill(n1, 3)
    status, word, _ = await told(n1)
    assert word == "True: Survives"
    assert status.redundancy is not None
    assert status.redundancy.wire() == {
        "failures": 1,
        "compute": 1,
        "pools": [{"name": "main", "size": 3, "minSize": 2, "copies": 1, "rawSpace": 2}],
    }


@pytest.mark.parametrize(
    ("figures", "word", "words"),
    [
        ({"size": 2}, "TooFewCopies", "ceph osd pool set"),
        ({"domains": 2}, "TooFewCopies", "CRUSH rule"),
        ({"failureDomain": "osd", "copiesTogether": 2, "domains": 6}, "TooFewCopies", "CRUSH"),
        ({"rawSpace": 0}, "TooLittleSpace", "add OSDs"),
    ],
)
async def test_storage_that_does_not_survive(
    n1: Lab, figures: dict[str, Any], word: str, words: str
) -> None:
    await pool(n1, "n2", **figures)  # the least of what hosts report
    status, said, message = await told(n1)
    assert said == f"False: {word}"
    assert words in message
    assert status.redundancy is not None
    assert status.redundancy.failures == 0
    assert status.redundancy.compute == 1


async def test_hosts_in_racks_need_copies_in_racks(n1: Lab) -> None:
    n1.zone(redundancy={"failures": 1, "topologyKey": "rack"})
    assert (await told(n1))[1] == "False: TooFewCopies"
    for name in ("n1", "n2", "n3"):
        await pool(n1, name, failureDomain="rack")
    assert (await told(n1))[1] == "True: Survives"


async def test_a_pool_that_nobody_reports(n1: Lab) -> None:
    for name in ("n1", "n2", "n3"):
        await n1.host(name)
    status, word, message = await told(n1)
    assert word == "Unknown: PoolsUnknown"
    assert "main" in message
    assert status.redundancy is not None
    assert status.redundancy.failures is None


async def test_a_redundancy_that_comes_late_is_told_at_once(n1: Lab) -> None:
    n1.zone()
    await n1.act_all()
    assert n1.model(ZONE).status.redundancy is None
    assert [c.type for c in n1.model(ZONE).status.conditions] == ["Ready"]
    keys = await fill(n1, 6)
    assert all(n1.model(key).status.assignment for key in keys)
    n1.zone(redundancy={"failures": 2})
    await n1.act(ZONE)
    assert n1.said(ZONE, "Redundant").reason == "ComputeImpossible"
    assert all(n1.model(key).status.assignment for key in keys), "who has a host keeps it"


async def test_fewer_failures_than_asked_for(n1: Lab) -> None:
    await fill(n1, 3)
    n1.zone(redundancy={"failures": 2})
    status, word, _ = await told(n1)
    assert word == "False: ComputeImpossible"
    assert status.redundancy is not None
    assert status.redundancy.compute == 1


async def test_a_host_that_is_down_is_lost_already(n1: Lab) -> None:
    keys = await fill(n1, 1)
    down = n1.model(keys[0]).status.assignment.node_name
    n1.heartbeats[down] = n1.world.heartbeats[down] = False
    status, word, message = await told(n1)
    assert word == "False: HostsDown"
    assert down in message
    assert status.redundancy is not None
    assert status.redundancy.failures == 0


async def test_a_host_that_is_not_there_any_more_is_lost_already(n1: Lab) -> None:
    keys = await fill(n1, 1)
    gone = n1.model(keys[0]).status.assignment.node_name
    n1.kube.strip_finalizers(HOST, gone)
    n1.kube.remove(HOST, gone)
    status, word, message = await told(n1)
    assert word == "False: HostsDown"
    assert gone in message
    assert status.redundancy is not None
    assert status.redundancy.compute == 0


async def test_nothing_new_is_said_while_hosts_are_unclear(n1: Lab) -> None:
    keys = await fill(n1, 5)
    before, word, _ = await told(n1)
    n1.heartbeats.update(dict.fromkeys(n1.world.heartbeats))
    n1.restart()
    n1.kube.calls.clear()
    await n1.sync()
    for key in (ZONE, *keys):
        await n1.act(key)
    assert n1.writes() == 0
    after, again, _ = await told(n1)
    assert (after, again) == (before, word)


async def test_a_new_spec_is_not_answered_with_an_old_word(n1: Lab) -> None:
    assert (await told(n1))[1] == "True: Survives"
    n1.heartbeats.update(dict.fromkeys(n1.world.heartbeats))
    n1.zone(redundancy={"failures": 2})
    status, word, _ = await told(n1)
    assert (status.redundancy, word) == (None, "Unknown: HostsUnclear")


async def test_unclear_from_the_start() -> None:
    lab = Lab()
    lab.zone()
    await lab.host("n1", heartbeat=None)
    await lab.act_all()
    lab.zone(redundancy={"failures": 1})
    await lab.act(ZONE)
    said = lab.said(ZONE, "Redundant")
    assert (said.status, said.reason) == ("Unknown", "HostsUnclear")


async def test_what_more_fits(n1: Lab) -> None:
    sizes = [
        {"name": "large", "cores": 1, "memory": "6Gi"},
        {"name": "tiny", "cores": 1, "memory": "16Mi"},
        {"name": "vast", "cores": 1, "memory": "1Ti"},
    ]
    n1.zone(redundancy={"failures": 1}, standardSizes=sizes, cpuOvercommitPercent=3200)
    fits = {fit.name: fit for fit in (await told(n1))[0].fits}
    assert fits["large"].count == 4
    assert "N+1" in fits["large"].limit
    assert (fits["tiny"].count, fits["tiny"].limit) == (100, "")
    assert fits["vast"].count == 0
    assert "insufficient memory" in fits["vast"].limit
    placed = await fill(n1, 2)
    fits = {fit.name: fit for fit in (await told(n1))[0].fits}
    assert fits["large"].count == 2
    for key in placed:
        n1.kube.remove(VIRTUAL_MACHINE, key.name, "default")
        await n1.release(key)
        await n1.act(key)
    fits = {fit.name: fit for fit in (await told(n1))[0].fits}
    assert fits["large"].count == 4, "trials leave nothing behind"


async def test_figures_are_written_now_and_then(n1: Lab) -> None:
    n1.zone(redundancy={"failures": 1}, standardSizes=[{"name": "s", "cores": 1, "memory": "1Gi"}])
    await told(n1)
    n1.kube.calls.clear()
    for i in range(5):
        n1.now += 0.5
        await n1.act(n1.vm(f"vm{i}"))
        assert await n1.act(ZONE) == pytest.approx(n1.patience.zone_status - 0.5 * (i + 1))
    assert n1.writes_of("Zone") == []
    await told(n1)
    assert n1.writes_of("Zone") == ["apply_status"]
    assert await n1.act(ZONE) is not None
    n1.now += 100
    assert await n1.act(ZONE) is None
    assert n1.writes_of("Zone") == ["apply_status"]
