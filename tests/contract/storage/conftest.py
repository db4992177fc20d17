# SPDX-License-Identifier: Apache-2.0
"""One suite over the fake pool and over real Ceph."""

from collections.abc import Iterator

import pytest

from nopal_node.storage.base import StoragePool
from support.storage import Backend, CephBackend, FakeBackend


@pytest.fixture(params=["fake", pytest.param("ceph", marks=pytest.mark.real)])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param == "fake":
        yield FakeBackend()
        return
    real = CephBackend(request.getfixturevalue("cluster"))
    yield real
    real.close()


@pytest.fixture
def ceph(request: pytest.FixtureRequest) -> Iterator[CephBackend]:
    """Give real Ceph alone, for what no fake can show."""
    real = CephBackend(request.getfixturevalue("cluster"))
    yield real
    real.close()


@pytest.fixture
def pool(backend: Backend) -> StoragePool:
    return backend.pool()
