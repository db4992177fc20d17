# SPDX-License-Identifier: Apache-2.0
"""Objects that vanish, or are others than they were: guests and data stay.

The referee of the simulation (`History`) watches every start: no image with two writers, no epoch
below another one, none that was released. `settle` fails if it found anything.
"""

import asyncio

from nopal_api.kinds import DISK, HOST, KINDS, NODE, SECRET, VIRTUAL_MACHINE, ZONE
from nopal_runtime.kube.fake import FakeKube
from support.simulation import OPERATOR, RESYNC_SECONDS, Simulation, secret, simulate, zone
from support.simulation_facts import check
from support.simulation_stories import (
    LONG,
    NAMESPACE,
    cluster,
    condition,
    deaf,
    disk,
    guest,
    of_vm,
    power,
    running,
    uid_of,
    vm,
)


def test_the_disks_of_a_vm_that_is_gone_stay_claimed_until_its_guest_is() -> None:
    async def play(sim: Simulation) -> None:
        here, _ = await running(sim)
        vm(sim, "vm2", interfaces=[])
        await asyncio.sleep(5)
        old = uid_of(sim, "vm1", VIRTUAL_MACHINE)
        gone_at = asyncio.get_running_loop().time()
        sim.kube.strip_finalizers(VIRTUAL_MACHINE, "vm1", NAMESPACE)
        sim.kube.remove(VIRTUAL_MACHINE, "vm1", NAMESPACE)
        await asyncio.sleep(30)
        assert list(sim.host[here].domains) == [old]
        assert of_vm(sim, "Scheduled", "vm2")["reason"] == "DiskInUse"
        await sim.until(lambda: not sim.host[here].domains)
        assert asyncio.get_running_loop().time() - gone_at >= 60
        await sim.settle()
        assert power(sim, "vm2") == "Running"
        assert not [i for i in sim.cluster.pools["vms", ""].images if old in i]
        check(sim)

    simulate(play)


def test_a_namesake_does_not_inherit_the_guest_nor_its_disks() -> None:
    async def play(sim: Simulation) -> None:
        await running(sim)
        _, old = guest(sim)
        for name in (OPERATOR, *sim.host):
            sim.deliver[name] = deaf  # nobody hears of the deletion
        sim.kube.strip_finalizers(VIRTUAL_MACHINE, "vm1", NAMESPACE)
        sim.kube.remove(VIRTUAL_MACHINE, "vm1", NAMESPACE)
        vm(sim)
        await sim.settle(quiet=RESYNC_SECONDS + 45)
        _, new = guest(sim)
        assert new == uid_of(sim, "vm1", VIRTUAL_MACHINE) != old
        assert power(sim) == "Running"
        check(sim)

    simulate(play)


def test_a_new_disk_of_an_old_name_has_an_image_of_its_own() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()
        old = uid_of(sim, "data")
        for name in (OPERATOR, *sim.host):
            sim.deliver[name] = deaf
        sim.kube.strip_finalizers(DISK, "data", NAMESPACE)
        sim.kube.remove(DISK, "data", NAMESPACE)
        disk(sim, "data")
        vm(sim)
        await sim.settle(quiet=RESYNC_SECONDS + 45)
        new = uid_of(sim, "data")
        images = sim.cluster.pools["vms", ""].images
        assert {f"disk-{old}", f"disk-{new}"} <= set(images)
        assert images[f"disk-{old}"].watchers == {}
        assert len(images[f"disk-{new}"].watchers) == 1

    simulate(play)


def test_crds_that_are_deleted_and_made_again_cost_no_guest() -> None:
    async def play(sim: Simulation) -> None:
        here, _ = await running(sim)
        host, uid = guest(sim)
        pid = host.domains[uid].pid
        for key in list(sim.kube._objects):
            kind = next((k for k in KINDS if k.kind == key.kind), None)
            if kind is not None:
                sim.kube.strip_finalizers(kind, key.name, key.namespace)
                if sim.kube.see(kind, key.name, key.namespace):
                    sim.kube.remove(kind, key.name, key.namespace)
        await asyncio.sleep(LONG)
        cluster(sim)
        vm(sim)
        await asyncio.sleep(LONG)
        assert host.domains[uid].pid == pid
        held = condition(sim, HOST, here, "OrphansHeld")
        assert held["status"] == "True"
        assert "CRDs" in held["message"]

    simulate(play)


def test_the_kubeconfig_of_another_cluster_costs_no_guest() -> None:
    async def play(sim: Simulation) -> None:
        here, _ = await running(sim)
        host, uid = guest(sim)
        pid = host.domains[uid].pid
        await sim.kill(here)
        await sim.kill(OPERATOR)
        sim.use(FakeKube(seed=7))
        for number in sim.host:
            sim.kube.put(NODE, {"metadata": {"name": number, "labels": {"zone": "z1"}}})
        sim.kube.put(SECRET, secret(list(sim.host)))
        sim.kube.put(ZONE, zone())
        sim.start(here)
        sim.start(OPERATOR)
        await asyncio.sleep(LONG)
        assert host.domains[uid].pid == pid
        held = condition(sim, HOST, here, "OrphansHeld")
        assert held["status"] == "True"
        assert "kubeconfig" in held["message"]

    simulate(play)


def test_many_orphans_at_once_are_held() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        for name in ("vm1", "vm2"):
            vm(sim, name, disks=[], interfaces=[])
        await sim.settle()
        (here,) = [name for name, host in sim.host.items() if host.domains]
        for name in ("vm1", "vm2"):
            sim.kube.strip_finalizers(VIRTUAL_MACHINE, name, NAMESPACE)
            sim.kube.remove(VIRTUAL_MACHINE, name, NAMESPACE)
        await asyncio.sleep(LONG)
        assert len(sim.host[here].domains) == 2
        assert condition(sim, HOST, here, "OrphansHeld")["status"] == "True"
        first = min(sim.host[here].domains)
        sim.host[here].kill(first)  # the way out that the condition names
        await asyncio.sleep(LONG)
        assert sim.host[here].domains == {}
        assert condition(sim, HOST, here, "OrphansHeld") == {}

    simulate(play, hosts=1)


def test_a_host_object_that_is_made_anew_marks_the_guests_that_start_from_then_on() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()
        for name in sim.host:
            sim.kube.strip_finalizers(HOST, name)
            sim.kube.remove(HOST, name)
        await sim.settle()
        vm(sim)
        await sim.settle()
        sim.kube.strip_finalizers(VIRTUAL_MACHINE, "vm1", NAMESPACE)
        sim.kube.remove(VIRTUAL_MACHINE, "vm1", NAMESPACE)
        await asyncio.sleep(LONG)
        assert all(host.domains == {} for host in sim.host.values())

    simulate(play)
