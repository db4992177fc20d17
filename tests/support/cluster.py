# SPDX-License-Identifier: Apache-2.0
"""The real cluster that a test session stands on.

NOPAL_TEST_CLUSTER names one that is to be found (or started) and kept; without it the session
starts a cluster of its own and removes it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from nopal_dev.cluster import Cluster
from nopal_dev.errors import UnknownClusterError
from support.apiserver import ApiServer

NODE_ACCOUNT = "nopal-node"
OPERATOR_ACCOUNT = "nopal-operator"


@contextmanager
def session_cluster(*, hosts: int = 2) -> Iterator[Cluster]:
    """Give the test session's cluster."""
    kept = os.environ.get("NOPAL_TEST_CLUSTER")
    with installed_cluster(kept, own=f"test-{os.getpid()}", hosts=hosts) as cluster:
        yield cluster


@contextmanager
def installed_cluster(
    kept: str | None, *, own: str, hosts: int = 2, say: Callable[[str], None] = lambda _: None
) -> Iterator[Cluster]:
    """Give a cluster with CRDs, the chart's policies and the hosts' Ceph keys; no operator runs.

    Args:
        kept: Name of one that is found, or started, and stays.
        own: Name of the one that is started otherwise, and removed.
        hosts: How many hosts.
        say: Is told each stage and its time.
    """
    try:
        cluster = Cluster.up(kept or own, hosts=hosts, say=say)
        cluster.workloads.install()
        cluster.workloads.put_keys(cluster.ceph)
        yield cluster
    finally:
        if not kept:
            with suppress(UnknownClusterError):  # not even begun
                Cluster.load(own).down()


def as_admin(cluster: Cluster) -> ApiServer:
    certificates = cluster.control_plane.certificates
    return ApiServer(
        cluster.control_plane.server,
        certificates.authority,
        certificate=certificates.certificate("admin"),
        key=certificates.key("admin"),
    )


def as_account(cluster: Cluster, account: str, *, node: str = "") -> ApiServer:
    """The API as a ServiceAccount of ours sees it, its token bound to a Node if one is named."""
    bound = ["--bound-object-kind", "Node", "--bound-object-name", node] if node else []
    token = cluster.kubectl.run("create", "token", account, "-n", "nopal-system", *bound)
    return ApiServer(
        cluster.control_plane.server,
        cluster.control_plane.certificates.authority,
        token=token.strip(),
    )
