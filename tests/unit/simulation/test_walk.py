# SPDX-License-Identifier: Apache-2.0
"""Any order of things, with crashes and faults: never twice, and a good end once all is mended.

NOPAL_WALKS=1000 walks more; NOPAL_WALK=17 repeats one.
"""

import os
from random import Random

import pytest

from support.simulation import Simulation, simulate
from support.simulation_walk import Walk

pytestmark = pytest.mark.slow

ONE = os.environ.get("NOPAL_WALK")
SEEDS = [int(ONE)] if ONE else range(int(os.environ.get("NOPAL_WALKS", "30")))
STEPS = 25


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_walk_ends_well(seed: int) -> None:
    async def play(sim: Simulation) -> None:
        walk = Walk(sim, Random(seed))  # noqa: S311
        try:
            await walk.run(STEPS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + "\n".join(walk.log)) from error

    simulate(play, seed=seed)
