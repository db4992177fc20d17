# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopal_node.hypervisor.base import Hypervisor
from support.hypervisors import Bench, FakeBench, RealBench

if TYPE_CHECKING:
    from nopal_dev.cluster import Cluster


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """One host: the same tests run on a fake and on a real one."""
    if request.param == "fake":
        yield FakeBench(tmp_path)
    else:
        yield request.getfixturevalue("real_bench")


@pytest.fixture(scope="session")
def _host(cluster: "Cluster") -> Iterator[RealBench]:
    host = RealBench(cluster)
    yield host
    host.close()


@pytest.fixture
def real_bench(_host: RealBench) -> Iterator[RealBench]:
    yield _host
    _host.clean()


@pytest.fixture
def daemon(bench: Bench) -> Iterator[Callable[[], Hypervisor]]:
    """Starts lives of the daemon; all are closed at the end."""
    lives: list[Hypervisor] = []

    def start() -> Hypervisor:
        lives.append(bench.daemon())
        return lives[-1]

    yield start
    for life in lives:
        life.close()


@pytest.fixture
def hypervisor(daemon: Callable[[], Hypervisor]) -> Hypervisor:
    return daemon()
