# SPDX-License-Identifier: Apache-2.0
"""Users' stories on a real cluster. All of them share one cluster; each has its own namespace."""

import re
from collections.abc import Iterator

import pytest

from nopal_dev.cluster import Cluster
from support.site import Site, Space

pytestmark = pytest.mark.real


@pytest.fixture(scope="session")
def site(cluster: Cluster) -> Iterator[Site]:
    """The cluster with the operator and the daemons running, a zone, a network and an image."""
    running = Site(cluster)
    running.start()
    running.apply(running.image("counter"))
    yield running
    cluster.workloads.stop()


@pytest.fixture
def space(site: Site, request: pytest.FixtureRequest) -> Iterator[Space]:
    """A namespace that is empty before the test and removed with all it holds after it."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:50].rstrip("-")
    kubectl = site.cluster.kubectl
    kubectl.run("create", "namespace", name)
    yield Space(site, name)
    for kind in ("vm", "disk"):
        kubectl.run("delete", kind, "--all", "-n", name, "--timeout=90s", timeout=120.0)
    kubectl.run("delete", "namespace", name, "--wait=false")
