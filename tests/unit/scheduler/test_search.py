# SPDX-License-Identifier: Apache-2.0
"""The choice of moves, before they get an order."""

import random

import pytest

from nopal_scheduler import Cluster, Host, Room, Vm
from nopal_scheduler.moving.balance import balance
from nopal_scheduler.moving.plan import Limits
from nopal_scheduler.moving.score import Weights
from nopal_scheduler.state import State

GIB = 1 << 30


@pytest.mark.parametrize("seed", [0, 3])
def test_no_move_passes_a_host_that_another_leaves(seed: int) -> None:
    """Where numbers count most, one move from a to c is as good as one to b and one from b."""
    chance = random.Random(seed)  # noqa: S311 - loads, not secrets
    hosts = tuple(Host(f"h{n:02}", Room(400, 256 * GIB)) for n in range(8))
    vms = tuple(
        Vm(
            f"v{n:03}",
            Room(1, chance.choice((2, 4, 8, 16, 32)) * GIB),
            host=f"h{chance.randrange(8):02}",
        )
        for n in range(40)
    )
    plan = balance(
        State(Cluster(hosts, vms)), Limits(enough=0.05), Weights(cpu=1, memory=1, vms=40)
    )
    assert plan.after.total <= 0.05
    assert len(plan.moves) <= 8, "9 and 10 without it"
