# SPDX-License-Identifier: Apache-2.0
"""The operator's lab, whose logs are not what these tests look at; schedulers that are counted."""

from collections.abc import Iterator

import pytest
import structlog

from nopal_operator import schedulers as module
from nopal_scheduler import Cluster
from nopal_scheduler import Scheduler as Real
from support.operatorlab import Lab


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
async def lab() -> Lab:
    """A zone with two hosts that are ready and have the network "lan", and nothing else."""
    made = Lab()
    made.zone()
    await made.host("n1", networks=["lan"])
    await made.host("n2", networks=["lan"])
    await made.act_all()
    made.kube.calls.clear()
    return made


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every scheduler that is built from the start, as its number of virtual machines."""
    found: list[int] = []

    class Counted(Real):
        def __init__(self, cluster: Cluster, *, like: Real | None = None) -> None:
            super().__init__(cluster, like=like)
            found.append(len(self.state.vms))

    monkeypatch.setattr(module, "Scheduler", Counted)
    return found
