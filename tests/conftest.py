# SPDX-License-Identifier: Apache-2.0
"""Fixtures of every suite. Real parts start only where a test asks for them."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from nopal_dev.cluster import Cluster

_TOO_SLOW = [HealthCheck.too_slow]
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=_TOO_SLOW
)
settings.register_profile(
    "search", max_examples=1000, deadline=None, suppress_health_check=_TOO_SLOW, print_blob=True
)
# Before any test module is read: its settings() start from the profile that is loaded then.
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(scope="session")
def cluster() -> Iterator["Cluster"]:
    """One real cluster for the whole session: control plane, Ceph, two hosts; no operator yet."""
    # Imported late: the unit tests need nothing of it.
    from support.cluster import session_cluster

    with session_cluster() as running:
        yield running
