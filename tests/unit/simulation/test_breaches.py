# SPDX-License-Identifier: Apache-2.0
"""The rules that keep a VM from running twice, each against its breach.

The referee of the simulation (`History`) watches every start: no image with two writers, no epoch
below another one, none that was released. `settle` fails if it found anything.
"""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from nopal_api.kinds import DISK, VIRTUAL_MACHINE
from nopal_api.names import MANAGER_ASSIGNMENT
from nopal_node.storage.ownership import Ownership
from nopal_runtime.kube.api import Key
from support.simulation import Simulation, simulate
from support.simulation_facts import check, facts
from support.simulation_stories import (
    LONG,
    NAMESPACE,
    cluster,
    deaf,
    guest,
    image_of,
    of_disk,
    of_vm,
    power,
    remove_vm,
    running,
    stopped,
    uid_of,
    vm,
)


async def reassign(sim: Simulation, node: str, epoch: int) -> None:
    """Move claims and assignment by hand, as an operator with a fault would."""
    for name in ("root", "data"):
        body = sim.kube.see(DISK, name, NAMESPACE)
        assert body is not None
        old = body["status"]
        executor = {"nodeName": node, "epoch": epoch}
        claim = {**old["claim"], **executor}
        wanted = {k: old[k] for k in ("location", "parent") if k in old}
        await write(sim, DISK, body, {**wanted, "claim": claim, "executor": executor})
    body = sim.kube.see(VIRTUAL_MACHINE, "vm1", NAMESPACE)
    assert body is not None
    assignment = {**body["status"]["assignment"], "nodeName": node, "epoch": epoch}
    said = [c for c in body["status"]["conditions"] if c["type"] == "Scheduled"]
    await write(sim, VIRTUAL_MACHINE, body, {"assignment": assignment, "conditions": said})


async def write(sim: Simulation, kind: Any, body: Any, status: dict[str, Any]) -> None:
    await sim.kube.apply_status(
        kind,
        namespace=NAMESPACE,
        name=body["metadata"]["name"],
        manager=MANAGER_ASSIGNMENT,
        resource_version=body["metadata"]["resourceVersion"],
        status=status,
    )


def test_a_daemon_with_a_stale_cache_starts_nothing_that_was_reassigned() -> None:
    async def play(sim: Simulation) -> None:
        here, other = await running(sim)
        sim.deliver[here] = deaf
        await reassign(sim, other, 2)
        await asyncio.sleep(5)
        # The new host sees the old one's guest at work, and waits.
        assert of_vm(sim)["reason"] == "ForeignWatcher"
        assert list(sim.host[other].domains) == []
        host, uid = guest(sim)
        host.kill(uid)  # the old host believes that it is to start it again
        await sim.settle()
        assert [start[0] for start in sim.history.starts] == [here, other]
        check(sim)

    simulate(play)


def test_a_daemon_with_a_stale_cache_does_not_start_an_old_epoch() -> None:
    async def play(sim: Simulation) -> None:
        here, _ = await running(sim)
        sim.deliver[here] = deaf
        await reassign(sim, here, 2)
        host, uid = guest(sim)
        host.kill(uid)
        await sim.settle()
        assert [start[2] for start in sim.history.starts] == [1, 2]
        check(sim)

    simulate(play)


def test_a_guest_that_was_reassigned_is_powered_off_when_its_host_hears_of_it() -> None:
    async def play(sim: Simulation) -> None:
        here, other = await running(sim)
        await reassign(sim, other, 2)
        await sim.settle()
        assert [start[0] for start in sim.history.starts] == [here, other]
        check(sim)

    simulate(play)


def test_a_foreign_watcher_keeps_a_vm_from_starting() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()
        (name,) = [
            i for i in sim.cluster.pools["vms", ""].images if i.endswith(uid_of(sim, "data"))
        ]
        stranger = sim.cluster.open(name, address="10.0.0.99", pool="vms")
        vm(sim)
        await sim.settle()
        assert sim.history.starts == []
        assert of_vm(sim)["reason"] == "ForeignWatcher"
        assert "10.0.0.99" in of_vm(sim)["message"]
        sim.cluster.close(stranger)
        await sim.settle()
        assert power(sim) == "Running"

    simulate(play)


def test_a_higher_epoch_in_the_image_keeps_a_vm_from_starting() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()
        found = image_of(sim, "data")
        found.ownership = Ownership(found.ownership.owner_uid, epoch=99)
        vm(sim)
        await sim.settle()
        assert sim.history.starts == []
        assert of_vm(sim)["reason"] == "OwnershipUnclear"
        assert of_vm(sim, "DisksReady")["status"] == "False"

    simulate(play)


@pytest.mark.slow
def test_a_domain_that_is_ahead_of_a_restored_api_is_left_alone() -> None:
    async def play(sim: Simulation) -> None:
        await running(sim)
        backup = sim.kube.see(VIRTUAL_MACHINE, "vm1", NAMESPACE)
        stopped(sim)
        await sim.settle()
        vm(sim)
        await sim.settle()
        host, uid = guest(sim)
        pid = host.domains[uid].pid
        restore(sim, backup, node=host.name)
        await asyncio.sleep(LONG)
        assert host.domains[uid].pid == pid
        assert of_vm(sim)["reason"] == "EpochAhead"
        remove_vm(sim)  # the way out that the condition names
        await sim.settle()
        assert facts(sim)["guests"] == []
        assert sim.kube.see(VIRTUAL_MACHINE, "vm1", NAMESPACE) is None

    simulate(play)


def restore(sim: Simulation, backup: Any, *, node: str) -> None:
    """Put back a status, as the restore of an etcd does."""
    found = sim.kube._objects[Key(VIRTUAL_MACHINE.kind, NAMESPACE, "vm1")]
    before = sim.kube.see(VIRTUAL_MACHINE, "vm1", NAMESPACE)
    found.body["status"] = backup["status"]
    found.body["status"]["assignment"]["nodeName"] = node
    sim.kube._changed(found, before)


def test_an_image_that_is_lost_is_never_made_anew() -> None:
    async def play(sim: Simulation) -> None:
        await running(sim)
        stopped(sim)
        await sim.settle()
        images = sim.cluster.pools["vms", ""].images
        name = f"disk-{uid_of(sim, 'data')}"
        lost = images.pop(name)
        vm(sim)
        await sim.settle()
        assert name not in images
        assert of_vm(sim)["reason"] == "DataLost"
        images[name] = lost  # rbd trash restore
        await sim.settle()
        assert power(sim) == "Running"

    simulate(play)


def test_a_domain_that_is_not_ours_is_never_touched() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()
        vm(sim)
        uid = uid_of(sim, "vm1", VIRTUAL_MACHINE)
        for host in sim.host.values():
            host.add_foreign(uid)
        await sim.settle()
        assert all(host.domains[uid].foreign for host in sim.host.values())
        assert of_vm(sim)["reason"] == "ForeignDomain"
        assert sim.history.starts == []
        remove_vm(sim)
        await sim.settle()
        assert all(host.domains[uid].foreign for host in sim.host.values())

    simulate(play)


def test_a_guest_whose_host_is_silent_is_started_nowhere_else() -> None:
    async def play(sim: Simulation) -> None:
        here, _ = await running(sim)
        await sim.kill(here)
        await sim.settle()
        assert of_vm(sim)["reason"] == "HostUnreachable"
        assert of_vm(sim)["status"] == "Unknown"
        remove_vm(sim)
        await sim.settle()
        assert len(sim.host[here].domains) == 1
        assert sim.kube.see(VIRTUAL_MACHINE, "vm1", NAMESPACE) is not None
        assert of_disk(sim, "data") != {}
        sim.start(here)
        await sim.settle()
        assert facts(sim)["guests"] == []
        assert sim.kube.see(VIRTUAL_MACHINE, "vm1", NAMESPACE) is None

    simulate(play)


def test_a_guest_after_a_power_cut_is_started_once() -> None:
    async def play(sim: Simulation) -> None:
        here, _ = await running(sim)
        await sim.kill(here)
        sim.host[here].power_cut()
        await asyncio.sleep(20)
        sim.start(here)
        await sim.settle()
        assert [start[0] for start in sim.history.starts] == [here, here]
        assert power(sim) == "Running"
        check(sim)

    simulate(play)


def test_a_guest_that_libvirt_has_lost_is_not_started_beside_it() -> None:
    async def play(sim: Simulation) -> None:
        here, _ = await running(sim)
        host, uid = guest(sim)
        await sim.kill(here)
        host.domains[uid] = replace(host.domains[uid], lost=True)
        sim.start(here)
        await sim.settle()
        assert power(sim) == "Running"
        check(sim)

    simulate(play)
