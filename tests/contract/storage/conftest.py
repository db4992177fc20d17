# SPDX-License-Identifier: Apache-2.0
"""One suite over the fake pool and over real Ceph."""

from collections.abc import Iterator

import pytest

from nopal_node.storage.base import StoragePool
from nopal_runtime.ceph import images
from support.storage import Backend, CephBackend, FakeBackend


@pytest.fixture(scope="session")
def _ceph(request: pytest.FixtureRequest) -> Iterator[CephBackend]:
    real = CephBackend(request.getfixturevalue("cluster"))
    yield real
    real.close()


@pytest.fixture
def ceph(request: pytest.FixtureRequest) -> Iterator[CephBackend]:
    """Give real Ceph alone, for what no fake can show."""
    real: CephBackend = request.getfixturevalue("_ceph")
    yield real
    real.reset()


@pytest.fixture(params=["fake", pytest.param("ceph", marks=pytest.mark.real)])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "fake":
        return FakeBackend()
    real: CephBackend = request.getfixturevalue("ceph")
    return real


@pytest.fixture
def pool(backend: Backend) -> StoragePool:
    return backend.pool()


@pytest.fixture
def late_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let who has an image open answer late, as on a busy machine, and still count as alive."""
    monkeypatch.setattr(images, "_PROBE_SECONDS", 10.0)
