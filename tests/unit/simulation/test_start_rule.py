# SPDX-License-Identifier: Apache-2.0
"""What changes between the first look and the start: the last reads refuse the start."""

from collections.abc import Callable
from dataclasses import replace

from support.simulation import Simulation, simulate
from support.simulation_facts import check
from support.simulation_stories import cluster, deaf, image_of, of_vm, power, stopped, vm


def after_the_epoch(sim: Simulation, act: Callable[[], None]) -> None:
    """Act once, right after the daemon wrote an epoch into an image."""
    hook = sim.cluster.hook
    acted: list[str] = []

    def watch(phase: str, effect: str) -> None:
        hook(phase, effect)
        if phase == "after" and effect.startswith("epoch") and not acted:
            acted.append(effect)
            act()

    sim.cluster.hook = watch


def test_a_vm_that_is_stopped_in_the_last_moment_is_not_started() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()

        def stop() -> None:
            for name in sim.host:
                sim.deliver[name] = deaf
            stopped(sim)

        after_the_epoch(sim, stop)
        vm(sim)
        await sim.settle()
        assert sim.history.starts == []
        check(sim)

    simulate(play)


def test_an_epoch_that_another_host_writes_in_the_last_moment_refuses_the_start() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()

        def another() -> None:
            found = image_of(sim, "root")
            assert found.ownership is not None
            found.ownership = replace(found.ownership, epoch=9)

        after_the_epoch(sim, another)
        vm(sim)
        await sim.settle()
        assert sim.history.starts == []
        assert of_vm(sim)["reason"] == "OwnershipUnclear"
        assert power(sim) == "Starting"

    simulate(play)
