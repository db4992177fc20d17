# SPDX-License-Identifier: Apache-2.0
"""A daemon reads Secrets where the namespace's owner opened them, and the Ceph keys."""

from typing import TYPE_CHECKING

import pytest

from nopal_api import names
from nopal_api.kinds import SECRET
from support.admission import World, eventually
from support.cluster import NODE_ACCOUNT

if TYPE_CHECKING:
    from nopal_dev.cluster import Cluster

pytestmark = pytest.mark.real


def test_only_after_its_owner_bound_the_role(cluster: "Cluster", world: World) -> None:
    secret = {"metadata": {"name": "user-data", "namespace": world.namespace}}
    assert world.admin.create(SECRET, secret).ok
    answer = world.daemon.get(SECRET, "user-data", world.namespace)
    assert answer.code == 403
    assert "cannot get resource" in answer.message

    # The command that the condition SecretForbidden and NOTES.txt name.
    cluster.kubectl.run(
        "create",
        "rolebinding",
        "nopal-node-secrets",
        *("--namespace", world.namespace),
        *("--clusterrole", "nopal-node-secrets"),
        *("--serviceaccount", f"{names.SYSTEM_NAMESPACE}:{NODE_ACCOUNT}"),
    )
    opened = eventually(lambda: world.daemon.get(SECRET, "user-data", world.namespace), ok=True)
    assert opened.ok, opened
    assert world.daemon.get(SECRET, "", world.namespace).code == 403, "it lists none"
    assert world.daemon.get(SECRET, "user-data", "default").code == 403, "nor elsewhere"


def test_the_ceph_keys_it_reads_and_no_other_secret_of_ours(world: World) -> None:
    assert world.daemon.get(SECRET, "ceph", names.SYSTEM_NAMESPACE).ok
    assert world.daemon.get(SECRET, "other", names.SYSTEM_NAMESPACE).code == 403


def test_the_operator_reads_none(world: World) -> None:
    assert world.operator.get(SECRET, "ceph", names.SYSTEM_NAMESPACE).code == 403
    assert world.operator.get(SECRET, "user-data", world.namespace).code == 403
