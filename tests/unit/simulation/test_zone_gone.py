# SPDX-License-Identifier: Apache-2.0
"""A Zone, or a pool of it, that goes while it is in use: named, costs no guest, heals."""

import asyncio
from dataclasses import dataclass

import pytest

from nopal_api.kinds import DISK, HOST, VIRTUAL_MACHINE, ZONE
from support.simulation import Simulation, simulate, zone
from support.simulation_stories import (
    LONG,
    NAMESPACE,
    Act,
    cluster,
    condition,
    of_disk,
    of_vm,
    power,
    running,
)


@dataclass(frozen=True)
class Gone:
    """What is taken away, and how the objects say so."""

    goes: Act
    reason: str
    names: str
    """What the message names."""


def without_zone(sim: Simulation) -> None:
    sim.kube.remove(ZONE, "z1")


def without_its_pool(sim: Simulation) -> None:
    (pool,) = zone()["spec"]["pools"]
    other = {**pool, "name": "fast", "ceph": {**pool["ceph"], "pool": "fast"}}
    sim.kube.put(ZONE, zone(pools=[other]))


def with_both(sim: Simulation) -> None:
    sim.kube.put(ZONE, zone())


GONE = {
    "zone": Gone(without_zone, "ZoneNotFound", 'Zone "z1" of this host is gone: create it'),
    "pool of the zone": Gone(
        without_its_pool, "PoolNotFound", "'vms' is not among the pools of Zone z1: add it"
    ),
}


def seeds(sim: Simulation) -> list[str]:
    return [name for name in sim.cluster.pools["vms", ""].images if name.startswith("seed-")]


@pytest.mark.parametrize("what", GONE)
def test_it_goes_while_a_guest_runs(what: str) -> None:
    gone = GONE[what]

    async def play(sim: Simulation) -> None:
        await running(sim)
        starts = list(sim.history.starts)
        gone.goes(sim)
        await sim.settle()
        assert (power(sim), of_vm(sim)["status"]) == ("Running", "True")
        said = of_disk(sim, "data")
        assert (said["status"], said["reason"]) == ("False", gone.reason)
        assert gone.names in said["message"]
        with_both(sim)
        await sim.settle()
        assert (power(sim), of_vm(sim)["status"]) == ("Running", "True")
        assert of_disk(sim, "data")["status"] == "True"
        assert sim.history.starts == starts

    simulate(play)


def test_a_host_with_a_guest_names_the_zone_that_is_gone() -> None:
    async def play(sim: Simulation) -> None:
        host, other = await running(sim)
        without_zone(sim)
        await sim.settle()
        for which in ("Ready", "InZone"):
            said = condition(sim, HOST, host, which)
            assert (said["status"], said["reason"]) == ("False", "ZoneNotFound"), said
            assert 'Zone "z1"' in said["message"]
            assert "create" in said["message"]
            assert condition(sim, HOST, other, which)["reason"] == "NoZone"
        with_both(sim)
        await sim.settle()
        assert condition(sim, HOST, host)["status"] == "True"
        assert condition(sim, HOST, host, "InZone")["reason"] == "Selected"

    simulate(play)


@pytest.mark.parametrize("what", GONE)
def test_a_vm_and_its_disk_that_are_deleted_wait_for_it(what: str) -> None:
    gone = GONE[what]

    async def play(sim: Simulation) -> None:
        await running(sim)
        gone.goes(sim)
        await sim.settle()
        sim.kube.remove(VIRTUAL_MACHINE, "vm1", NAMESPACE)
        sim.kube.remove(DISK, "data", NAMESPACE)
        await asyncio.sleep(LONG)
        assert all(not host.domains for host in sim.host.values())
        assert of_vm(sim)["reason"] == gone.reason
        assert gone.names in of_vm(sim)["message"]
        assert of_disk(sim, "data", "Deleting")["reason"] == "InUse"
        assert seeds(sim)  # nothing of it was removed without the zone's word on where it lies

        with_both(sim)
        await sim.settle()
        assert sim.kube.see(VIRTUAL_MACHINE, "vm1", NAMESPACE) is None
        assert sim.kube.see(DISK, "data", NAMESPACE) is None
        assert seeds(sim) == []

    simulate(play)


def test_a_free_disk_that_is_deleted_waits_for_the_zone() -> None:
    """No host keeps the zone for it."""

    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()
        without_zone(sim)
        await sim.settle()
        sim.kube.remove(DISK, "data", NAMESPACE)
        await sim.settle()
        assert "create the Zone that has it" in of_disk(sim, "data")["message"]
        with_both(sim)
        await sim.settle()
        assert sim.kube.see(DISK, "data", NAMESPACE) is None

    simulate(play)


def test_a_vm_that_crashes_without_its_zone_starts_again_with_it() -> None:
    async def play(sim: Simulation) -> None:
        host, _ = await running(sim)
        without_zone(sim)
        await sim.settle()
        (uid,) = sim.host[host].domains
        sim.host[host].kill(uid)
        await asyncio.sleep(LONG)
        assert sim.host[host].domains == {}
        assert of_vm(sim)["reason"] == "ZoneNotFound"
        assert of_vm(sim, "DisksReady")["reason"] == "ZoneNotFound"
        with_both(sim)
        await sim.settle()
        assert power(sim) == "Running"

    simulate(play)
