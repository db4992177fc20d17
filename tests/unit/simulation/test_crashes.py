# SPDX-License-Identifier: Apache-2.0
"""kill -9 of whoever had an effect, right after it: each time the same end as without.

An effect is a write to kube-apiserver, a change of an RBD image, of a domain, or of a link.
"""

from typing import Any

import pytest

from support.simulation import Simulation, simulate
from support.simulation_facts import check, difference, facts
from support.simulation_stories import STORIES, Story


def tell(story: Story, *, kill_after: int = 0) -> tuple[Any, int, list[str]]:
    """Return the end, the number of effects, and who was killed after what."""

    async def play(sim: Simulation) -> tuple[Any, int, list[str]]:
        for step in story.before:
            step(sim)
            await sim.settle()
        sim.effects, sim.kill_after = 0, kill_after
        story.act(sim)
        await sim.settle()
        check(sim)
        return facts(sim), sim.effects, sim.killed

    return simulate(play, node_settings={"orphan_wait_seconds": 15.0})


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_a_crash_after_any_effect_changes_nothing(name: str) -> None:
    story = STORIES[name]
    expected, effects, _ = tell(story)
    assert effects > 0
    for number in range(1, effects + 1):
        end, _, killed = tell(story, kill_after=number)
        assert len(killed) == 1
        assert difference(end, expected) == [], f"{killed[0]} (effect {number})"
