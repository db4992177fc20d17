# SPDX-License-Identifier: Apache-2.0
"""Users' stories on a real cluster. All of them share one cluster; each has its own namespace."""

import re
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest

from nopal_dev.cluster import Cluster
from support.leftovers import leftovers
from support.parts import OPERATOR, Parts
from support.site import Site, Space
from support.verbs import needless
from support.waiting import PATIENCE, wait
from support.wholerun import WholeRun

pytestmark = pytest.mark.real

_RUN = WholeRun(Path(__file__).parent)
_SECONDS = 600.0


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_RUN)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a test here more time than others have: its limits are for a machine that is busy."""
    for item in items:
        here = Path(__file__).parent in item.path.parents
        if here and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_SECONDS))


@pytest.fixture(scope="session")
def site(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The cluster with the operator and the daemons running, a zone, a network and an image.

    When all tests are done, nothing of them may be left on the hosts and in the pool; when they
    were all that there are, everything that the chart's roles grant must have been used.
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
    else:
        if _RUN.complete(request.session):
            assert [str(grant) for grant in needless(cluster)] == []
    finally:
        cluster.workloads.stop()


@pytest.fixture
def space(site: Site, request: pytest.FixtureRequest) -> Iterator[Space]:
    """A namespace that is empty before the test and removed with all it holds after it.

    The test begins with every part running and every host ready, whatever the one before it did.
    """
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    if len(name) > 50:  # cases of one test may differ only behind that
        name = f"{name[:41].rstrip('-')}-{crc32(name.encode()):08x}"
    kubectl = site.cluster.kubectl
    Parts(site.cluster).mend()
    wait(site.whole, "every host is ready")
    kubectl.run("create", "namespace", name)
    yield Space(site, name)
    ended = ended_for_no_reason(site)
    for kind in ("vm", "disk"):
        waiting = f"--timeout={PATIENCE:g}s"
        kubectl.run("delete", kind, "--all", "-n", name, waiting, timeout=PATIENCE + 20.0)
    kubectl.run("delete", "namespace", name, "--wait=false")
    assert not ended


def ended_for_no_reason(site: Site) -> set[str]:
    """Start what does not run, and name it, but an operator that could not renew its Lease."""
    log = site.cluster.processes.log(OPERATOR).read_text(errors="replace")
    may_end = log.rfind('"leadership lost"') > log.rfind('"leading"')
    return set(Parts(site.cluster).mend()) - ({OPERATOR} if may_end else set())
