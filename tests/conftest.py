# SPDX-License-Identifier: Apache-2.0
"""Fixtures of every suite. Real parts start only where a test asks for them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from nopal_dev.cluster import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator["Cluster"]:
    """One real cluster for the whole session: control plane, Ceph, two hosts; no operator yet."""
    # Imported late: the unit tests need nothing of it.
    from support.cluster import session_cluster

    with session_cluster() as running:
        yield running
