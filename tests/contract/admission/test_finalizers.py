# SPDX-License-Identifier: Apache-2.0
"""The finalizer is there from the first moment, without a write of the operator's."""

from typing import Any

import pytest

from nopal_api import names
from nopal_api.kinds import DISK, HOST, IMAGE, NETWORK, VIRTUAL_MACHINE, ZONE, Kind
from support import objects
from support.admission import World

pytestmark = pytest.mark.real

OWN = "example.org/own"


def bodies(namespace: str) -> dict[Kind, dict[str, Any]]:
    bridge = {"zone": "z1", "type": "Bridge", "bridge": {"name": "br0"}}
    return {
        VIRTUAL_MACHINE: objects.vm(namespace=namespace),
        DISK: objects.disk(namespace=namespace),
        IMAGE: objects.image(),
        NETWORK: {"metadata": {}, "spec": bridge},
        HOST: objects.host(),
    }


@pytest.mark.parametrize("kind", [VIRTUAL_MACHINE, DISK, IMAGE, NETWORK, HOST], ids=str)
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, {names.FINALIZER}),
        ([OWN], {OWN, names.FINALIZER}),
        ([names.FINALIZER], {names.FINALIZER}),
    ],
    ids=["none", "the user's", "ours"],
)
def test_it_is_added_once_and_keeps_the_users(
    world: World, kind: Kind, given: list[str] | None, wanted: set[str]
) -> None:
    body = bodies(world.namespace)[kind]
    if given:
        body["metadata"]["finalizers"] = given
    made = world.read(kind, world.make(kind, body))
    finalizers = made["metadata"]["finalizers"]
    assert set(finalizers) == wanted
    assert len(finalizers) == len(wanted)
    assert made["metadata"]["generation"] == 1


def test_a_zone_leaves_nothing_on_a_host_and_has_none(world: World) -> None:
    made = world.read(ZONE, world.make(ZONE, objects.zone()))
    assert "finalizers" not in made["metadata"]
