# SPDX-License-Identifier: Apache-2.0
"""A namespace on the real kube-apiserver."""

import secrets
from collections.abc import Iterator

import pytest

from nopal_dev.cluster import Cluster
from support.kubectl import Api


@pytest.fixture(scope="session")
def namespace(cluster: Cluster) -> Iterator[str]:
    name = f"api-{secrets.token_hex(3)}"
    cluster.kubectl.run("create", "namespace", name)
    yield name
    cluster.kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def api(cluster: Cluster, namespace: str) -> Iterator[Api]:
    made = Api(cluster, namespace)
    yield made
    made.remove()
