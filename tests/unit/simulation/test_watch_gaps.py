# SPDX-License-Identifier: Apache-2.0
"""Events dropped, repeated, late, and gaps in which objects were deleted and made again."""

import asyncio
from collections.abc import Sequence
from random import random
from typing import Any

import pytest

from nopal_api.kinds import DISK, IMAGE, VIRTUAL_MACHINE
from support.simulation import (
    OPERATOR,
    RESYNC_SECONDS,
    Simulation,
    image,
    simulate,
)
from support.simulation_facts import check, difference, facts
from support.simulation_stories import (
    NAMESPACE,
    STORIES,
    cluster,
    deaf,
    disk,
    guest,
    power,
    remove_vm,
    stopped,
    uid_of,
    vm,
)

pytestmark = pytest.mark.slow

UNTIL_ALL_IS_KNOWN = RESYNC_SECONDS + 45


def repeated(_event: Any, _body: Any) -> Sequence[float]:
    return (0.0, 0.0, 3.0)


def late(_event: Any, _body: Any) -> Sequence[float]:
    return (7.0,)


def out_of_order(_event: Any, _body: Any) -> Sequence[float]:
    return (random() * 10,)  # noqa: S311


def half_dropped(_event: Any, _body: Any) -> Sequence[float]:
    return (0.0,) if random() < 0.5 else ()  # noqa: S311


FAULTS = [repeated, late, out_of_order, half_dropped, deaf]
TOLD = ["everything at once", "a VM is started again", "a VM and its disks are deleted"]


@pytest.mark.parametrize("name", TOLD)
def test_events_are_hints_only(name: str) -> None:
    ends = []
    for fault in (None, *FAULTS):

        async def play(sim: Simulation, fault: Any = fault) -> Any:
            for step in STORIES[name].before:
                step(sim)
                await sim.settle()
            if fault is not None:
                sim.deliver = dict.fromkeys((OPERATOR, *sim.host), fault)
            STORIES[name].act(sim)
            await sim.settle(quiet=UNTIL_ALL_IS_KNOWN)
            check(sim)
            return facts(sim)

        ends.append(simulate(play))
        assert difference(ends[-1], ends[0]) == [], fault


@pytest.mark.parametrize("who", [OPERATOR, "hosts"])
def test_one_party_hears_nothing(who: str) -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()
        deafs = [OPERATOR] if who == OPERATOR else list(sim.host)
        sim.deliver = dict.fromkeys(deafs, deaf)
        vm(sim)
        await sim.settle(quiet=UNTIL_ALL_IS_KNOWN)
        assert power(sim) == "Running"
        stopped(sim)
        await sim.settle(quiet=UNTIL_ALL_IS_KNOWN)
        assert power(sim) == "Stopped"
        vm(sim)
        await sim.settle(quiet=UNTIL_ALL_IS_KNOWN)
        assert power(sim) == "Running"
        remove_vm(sim)
        await sim.settle(quiet=UNTIL_ALL_IS_KNOWN)
        assert facts(sim)["guests"] == []
        assert sim.kube.see(VIRTUAL_MACHINE, "vm1", NAMESPACE) is None

    simulate(play)


@pytest.mark.parametrize("who", ["alive and deaf", "dead"])
def test_a_vm_that_is_deleted_and_made_again_inside_a_gap(who: str) -> None:
    """Its finalizer was kept: the old one goes in order while nobody hears, then the new one."""

    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim)
        await sim.settle()
        _, old = guest(sim)
        sim.deliver = dict.fromkeys(sim.host, deaf)
        if who == "dead":
            for name in sim.host:
                await sim.kill(name)
        remove_vm(sim)
        await asyncio.sleep(20)
        if who == "dead":
            for name in sim.host:
                sim.start(name)
        await sim.settle(quiet=UNTIL_ALL_IS_KNOWN)
        vm(sim)
        await sim.settle(quiet=UNTIL_ALL_IS_KNOWN)
        _, new = guest(sim)
        assert new != old
        assert power(sim) == "Running"
        check(sim)

    simulate(play)


def test_an_image_that_is_deleted_and_made_again_inside_a_gap_is_fetched_anew() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()
        sim.deliver = dict.fromkeys((OPERATOR, *sim.host), deaf)
        old = uid_of(sim, "debian", IMAGE)
        sim.kube.strip_finalizers(IMAGE, "debian")
        sim.kube.remove(IMAGE, "debian")
        sim.kube.put(IMAGE, image())
        new = uid_of(sim, "debian", IMAGE)
        await sim.settle(quiet=UNTIL_ALL_IS_KNOWN)
        disk(sim, "fresh", source={"image": {"name": "debian"}})
        vm(sim, disks=[{"name": "fresh", "disk": {"name": "fresh"}}])
        await sim.settle(quiet=UNTIL_ALL_IS_KNOWN)
        assert power(sim) == "Running"
        parent = (sim.kube.see(DISK, "fresh", NAMESPACE) or {})["status"]["parent"]
        assert parent["location"]["image"] == f"image-{new}"
        assert f"image-{old}" in sim.cluster.pools["vms", ""].images

    simulate(play)


def test_a_daemon_that_restarts_inside_a_gap_stops_what_was_deleted_meanwhile() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim)
        await sim.settle()
        host, _ = guest(sim)
        await sim.kill(host.name)
        remove_vm(sim)
        await asyncio.sleep(60)
        assert len(host.domains) == 1
        sim.start(host.name)
        await sim.settle()
        assert host.domains == {}
        assert sim.kube.see(VIRTUAL_MACHINE, "vm1", NAMESPACE) is None

    simulate(play)
