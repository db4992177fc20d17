# SPDX-License-Identifier: Apache-2.0
"""Power states over time: stops that are taken back, guests that do not listen, crash loops."""

import asyncio
from typing import Any

from nopal_api.kinds import NETWORK
from support.simulation import Simulation, network, simulate
from support.simulation_stories import (
    cluster,
    condition,
    guest,
    of_vm,
    power,
    remove_vm,
    stopped,
    uses,
    vm,
)


def test_a_guest_that_does_not_listen_is_powered_off_after_its_grace_period() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim, shutdown={"gracePeriodSeconds": 60})
        await sim.settle()
        host, uid = guest(sim)
        host.ignores_acpi.add(uid)
        vm(sim, shutdown={"gracePeriodSeconds": 60}, powerState="Stopped")
        await asyncio.sleep(55)
        assert host.domains
        assert power(sim) == "Stopping"
        await asyncio.sleep(10)
        assert host.domains == {}
        assert power(sim) == "Stopped"

    simulate(play)


def test_a_stop_that_is_taken_back_does_not_shorten_the_next_one() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim, shutdown={"gracePeriodSeconds": 60})
        await sim.settle()
        host, uid = guest(sim)
        host.ignores_acpi.add(uid)
        for state in ("Stopped", "Running", "Stopped"):
            vm(sim, shutdown={"gracePeriodSeconds": 60}, powerState=state)
            await asyncio.sleep(40)
            assert uid in host.domains
        await asyncio.sleep(30)
        assert host.domains == {}

    simulate(play)


def test_a_guest_that_hears_of_a_stop_that_was_taken_back_is_started_again() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim, restartPolicy="OnCrash", shutdown={"gracePeriodSeconds": 60})
        await sim.settle()
        host, uid = guest(sim)
        host.ignores_acpi.add(uid)  # for now
        vm(sim, restartPolicy="OnCrash", powerState="Stopped")
        await asyncio.sleep(3)
        vm(sim, restartPolicy="OnCrash")
        await asyncio.sleep(3)
        host.guest_powers_off(uid)
        await sim.settle()
        assert power(sim) == "Running"
        assert len(sim.history.starts) == 2

    simulate(play)


def test_a_crash_loop_backs_off_and_writes_little() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim)
        await sim.settle()
        host, uid = guest(sim)
        sim.effects = 0
        loop = asyncio.get_running_loop()
        until = loop.time() + 600
        while loop.time() < until:
            if uid in host.domains:
                host.kill(uid)
            await asyncio.sleep(0.5)
        starts = len(sim.history.starts) - 1
        # At once, then after 10, 20, 40, 80, 160 and 300 seconds.
        assert starts == 6
        assert sim.effects < 60
        await sim.settle(quiet=320)
        assert power(sim) == "Running"

    simulate(play)


def test_a_vm_that_is_stopped_and_started_runs_at_a_new_epoch() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim)
        await sim.settle()
        for _ in range(3):
            stopped(sim)
            await sim.settle()
            vm(sim)
            await sim.settle()
        assert [start[2] for start in sim.history.starts] == [1, 2, 3, 4]
        assert of_vm(sim)["status"] == "True"

    simulate(play)


def test_edited_disks_and_interfaces_count_after_stopped_and_cloud_init_at_every_start() -> None:
    def attached(sim: Simulation) -> tuple[list[str], list[str]]:
        host, uid = guest(sim)
        spec = host.domains[uid].spec
        assert spec is not None
        return [disk.serial for disk in spec.disks], [i.bridge for i in spec.interfaces]

    def seed(sim: Simulation) -> bytes:
        _, uid = guest(sim)
        image = sim.cluster.pools["vms", ""].images[f"seed-{uid}"]
        return image.read(0, image.size)

    async def play(sim: Simulation) -> None:
        cluster(sim)
        sim.kube.put(NETWORK, network("lan2"))
        vm(sim)
        await sim.settle()
        before, first_seed = attached(sim), seed(sim)
        assert before == (["root", "data", "cidata"], ["br-lan"])

        edited: dict[str, Any] = {
            "disks": uses("keep"),
            "interfaces": [{"name": "eth0", "network": {"name": "lan2"}}],
            "cloudInit": {"userData": "#cloud-config\n# another"},
        }
        vm(sim, **edited)
        await sim.settle()
        assert (attached(sim), seed(sim)) == (before, first_seed)
        host, uid = guest(sim)
        host.kill(uid)
        await sim.settle()
        assert attached(sim) == before
        assert seed(sim) != first_seed
        assert b"# another" in seed(sim)

        vm(sim, **edited, powerState="Stopped")
        await sim.settle()
        vm(sim, **edited)
        await sim.settle()
        assert attached(sim) == (["keep", "cidata"], ["br-lan2"])

    simulate(play)


def test_a_network_that_is_deleted_stays_while_a_guest_may_need_it() -> None:
    """Also between a crash and the restart, when its bridge has no port."""

    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim)
        await sim.settle()
        host, uid = guest(sim)
        sim.kube.remove(NETWORK, "lan")
        for _ in range(3):
            await sim.until(lambda: uid in host.domains)
            host.kill(uid)
        await sim.settle()
        assert power(sim) == "Running"
        assert condition(sim, NETWORK, "lan", "Deleting")["reason"] == "InUse"
        remove_vm(sim)
        await sim.settle()
        assert sim.kube.see(NETWORK, "lan") is None
        assert all(link.name != "br-lan" for link in host.links._links.values())

    simulate(play)
