# SPDX-License-Identifier: Apache-2.0
"""The operator's lab; its logs are not what these tests look at."""

from collections.abc import Iterator

import pytest
import structlog

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
