# SPDX-License-Identifier: Apache-2.0
"""kill -9 and outages while a VM is created, runs and is deleted: nothing twice, one end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nopal_api.kinds import VIRTUAL_MACHINE
from support.simulation import OPERATOR, Simulation, simulate
from support.simulation_facts import check, difference, facts
from support.simulation_stories import cluster, of_vm, power, remove_vm, uses, vm

pytestmark = pytest.mark.slow

DELAYS = (0.0, 0.05, 0.4, 1.3)
"""Seconds after the user's deed."""
OUTAGE = 40.0


async def of_the_operator(sim: Simulation) -> None:
    await sim.restart(OPERATOR)


async def of_the_daemons(sim: Simulation) -> None:
    for name in sim.host:
        await sim.restart(name)


async def of_all_three(sim: Simulation) -> None:
    for name in (OPERATOR, *sim.host):
        await sim.kill(name)
    for name in (OPERATOR, *sim.host):
        sim.start(name)


async def of_libvirt(sim: Simulation) -> None:
    for host in sim.host.values():
        host.libvirt_goes()
    await asyncio.sleep(OUTAGE)
    for host in sim.host.values():
        host.libvirt_returns()


async def of_the_api(sim: Simulation) -> None:
    sim.api_goes()
    await asyncio.sleep(OUTAGE)
    sim.api_returns()


async def of_the_way_to_the_api(sim: Simulation) -> None:
    """The hosts are cut off, the operator is not: their Leases go stale."""
    sim.cut_off.update(sim.host)
    await asyncio.sleep(OUTAGE)
    sim.api_returns()


async def of_the_operators_way_to_the_api(sim: Simulation) -> None:
    sim.cut_off.add(OPERATOR)
    await asyncio.sleep(OUTAGE)
    sim.api_returns()


async def of_the_api_and_the_daemons(sim: Simulation) -> None:
    sim.api_goes()
    await of_the_daemons(sim)
    await asyncio.sleep(OUTAGE)
    sim.api_returns()


async def of_the_storage(sim: Simulation) -> None:
    sim.cluster.down = True
    await asyncio.sleep(OUTAGE)
    sim.cluster.down = False


async def of_the_network(sim: Simulation) -> None:
    for host in sim.host.values():
        host.links.down = True
    await asyncio.sleep(OUTAGE)
    for host in sim.host.values():
        host.links.down = False


DEATHS: list[Callable[[Simulation], Awaitable[None]]] = [
    of_the_operator,
    of_the_daemons,
    of_all_three,
    of_libvirt,
    of_the_api,
    of_the_way_to_the_api,
    of_the_operators_way_to_the_api,
    of_the_api_and_the_daemons,
    of_the_storage,
    of_the_network,
]


def pids(sim: Simulation) -> list[int]:
    return [d.pid for host in sim.host.values() for d in host.domains.values()]


@pytest.fixture(scope="module")
def ends() -> dict[str, Any]:
    """How it ends when nothing goes wrong."""

    async def play(sim: Simulation) -> dict[str, Any]:
        cluster(sim)
        await sim.settle()
        vm(sim)
        await sim.settle()
        runs = facts(sim)
        remove_vm(sim)
        await sim.settle()
        return {"runs": runs, "gone": facts(sim)}

    return simulate(play)


@pytest.mark.parametrize("death", DEATHS, ids=lambda d: str(d.__name__))
def test_while_a_vm_is_created(
    death: Callable[[Simulation], Awaitable[None]], ends: dict[str, Any]
) -> None:
    for delay in DELAYS:

        async def play(sim: Simulation, delay: float = delay) -> None:
            cluster(sim)
            await sim.settle()
            vm(sim)
            await asyncio.sleep(delay)
            await death(sim)
            await sim.settle()
            check(sim)
            assert difference(facts(sim), ends["runs"]) == [], delay
            assert len(sim.history.starts) == 1

        simulate(play)


@pytest.mark.parametrize("death", DEATHS, ids=lambda d: str(d.__name__))
def test_while_a_vm_runs(
    death: Callable[[Simulation], Awaitable[None]], ends: dict[str, Any]
) -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim)
        await sim.settle()
        before, starts = pids(sim), list(sim.history.starts)
        await death(sim)
        await sim.settle()
        check(sim)
        assert pids(sim) == before
        assert sim.history.starts == starts
        assert difference(facts(sim), ends["runs"]) == []

    simulate(play)


@pytest.mark.parametrize("death", DEATHS, ids=lambda d: str(d.__name__))
def test_while_a_vm_is_deleted(
    death: Callable[[Simulation], Awaitable[None]], ends: dict[str, Any]
) -> None:
    for delay in DELAYS:

        async def play(sim: Simulation, delay: float = delay) -> None:
            cluster(sim)
            vm(sim)
            await sim.settle()
            for host in sim.host.values():
                host.ignores_acpi.update(host.domains)  # the grace period runs out
            starts = list(sim.history.starts)
            remove_vm(sim)
            await asyncio.sleep(delay)
            await death(sim)
            await sim.settle()
            check(sim)
            assert sim.kube.see(VIRTUAL_MACHINE, "vm1", "default") is None
            assert sim.history.starts == starts
            assert difference(facts(sim), ends["gone"]) == [], delay

        simulate(play)


@pytest.mark.parametrize("who", [OPERATOR, "daemons"])
def test_a_restart_writes_nothing(who: str) -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim)
        vm(sim, "idle", disks=[], powerState="Stopped")
        await sim.settle()
        sim.effects = 0
        await (of_the_operator(sim) if who == OPERATOR else of_the_daemons(sim))
        await sim.settle()
        assert sim.effects == 0

    simulate(play)


def test_nothing_is_written_in_steady_state() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim)
        await sim.settle()
        sim.effects = 0
        await asyncio.sleep(450)
        assert sim.effects == 0

    simulate(play)


def test_a_host_whose_lease_alone_fails_is_no_reason_for_a_quarrel() -> None:
    """It tells how it is, the operator tells that it is silent: not by turns at once."""

    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim)
        await sim.settle()
        sim.refuse = lambda actor, call: actor in sim.host and call.kind == "Lease"
        await asyncio.sleep(30)
        sim.effects = 0
        await asyncio.sleep(150)
        assert 0 < sim.effects < 150
        assert not sim.history.breaches

    simulate(play)


def test_two_vms_that_want_the_same_disks_do_not_give_way_to_each_other_for_ever() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()
        vm(sim, "vm1", disks=uses("root", "data"))
        vm(sim, "vm2", disks=uses("data", "root"))
        await sim.settle()
        assert len(facts(sim)["guests"]) == 1
        waiting = [of_vm(sim, name=n) for n in ("vm1", "vm2") if power(sim, n) != "Running"]
        assert [c["reason"] for c in waiting] == ["DiskInUse"]

    simulate(play)
