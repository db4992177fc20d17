# SPDX-License-Identifier: Apache-2.0
"""Users' stories on a real cluster. All of them share one cluster; each has its own namespace."""

import re
from collections.abc import Iterator
from zlib import crc32

import pytest

from nopal_dev.cluster import Cluster
from support.leftovers import leftovers
from support.site import Site, Space, wait

pytestmark = pytest.mark.real


@pytest.fixture(scope="session")
def site(cluster: Cluster) -> Iterator[Site]:
    """The cluster with the operator and the daemons running, a zone, a network and an image.

    When all tests are done, nothing of them may be left on the hosts and in the pool.
    """
    running = Site(cluster)
    running.start()
    running.apply(running.image("counter"))
    before = leftovers(running)  # of an earlier session, where the cluster is kept
    yield running
    try:
        wait(lambda: leftovers(running) <= before, "nothing is left")
    except AssertionError as error:
        left = "\n".join(sorted(leftovers(running) - before))
        raise AssertionError(f"{error}; left:\n{left}") from None
    finally:
        cluster.workloads.stop()


@pytest.fixture
def space(site: Site, request: pytest.FixtureRequest) -> Iterator[Space]:
    """A namespace that is empty before the test and removed with all it holds after it."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    if len(name) > 50:  # cases of one test may differ only behind that
        name = f"{name[:41].rstrip('-')}-{crc32(name.encode()):08x}"
    kubectl = site.cluster.kubectl
    kubectl.run("create", "namespace", name)
    yield Space(site, name)
    for kind in ("vm", "disk"):
        kubectl.run("delete", kind, "--all", "-n", name, "--timeout=90s", timeout=120.0)
    kubectl.run("delete", "namespace", name, "--wait=false")
