# SPDX-License-Identifier: Apache-2.0
"""The same suite over the kernel's links and over the fake ones."""

from collections.abc import Iterator

import pytest

from support.links import Bench, FakeBench, KernelBench
from support.netns import network_namespace


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.real)])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "fake":
        yield FakeBench()
        return
    with network_namespace() as namespace:
        yield KernelBench(namespace)
