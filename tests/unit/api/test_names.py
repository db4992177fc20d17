# SPDX-License-Identifier: Apache-2.0
import re

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from nopal_api import names
from nopal_api.base import MacAddress
from nopal_api.kinds import KINDS

UID = "11111111-2222-4333-8444-555555555555"


@given(st.uuids(), st.text(min_size=1, max_size=63))
def test_a_mac_is_one_that_a_user_may_set_too(uid: object, interface: str) -> None:
    mac = names.mac_address(str(uid), interface)
    assert TypeAdapter(MacAddress).validate_python(mac) == mac
    assert mac == names.mac_address(str(uid), interface)


def test_a_mac_differs_by_vm_and_by_interface() -> None:
    macs = {names.mac_address(vm, nic) for vm in ("u1", "u2") for nic in ("a", "b")}
    assert len(macs) == 4


def test_the_mac_of_a_running_vm_stays_over_releases() -> None:
    assert names.mac_address(UID, "lan") == "02:4c:27:90:13:69"


def test_names_in_a_pool_stay_over_releases() -> None:
    assert names.disk_image(UID) == f"disk-{UID}"
    assert names.source_image(UID) == f"image-{UID}"
    assert names.seed_image(UID) == f"seed-{UID}"
    assert names.ceph_user("node-1") == "nopal.node-1"


@given(st.text(max_size=253), st.text(max_size=63))
def test_a_field_manager_is_short_enough(zone: str, pool: str) -> None:
    # kube-apiserver refuses more than 128 bytes.
    manager = names.image_manager(zone, pool)
    assert len(manager.encode()) <= 128
    assert manager.startswith(names.MANAGER_NODE)


def test_an_image_has_one_field_manager_for_each_pool() -> None:
    managers = {names.image_manager(z, p) for z in ("z", "zp") for p in ("p", "pp", "")}
    assert len(managers) == 6


def test_the_finalizer_is_qualified_by_our_domain() -> None:
    assert re.fullmatch(r"nopal\.dev/[a-z-]+", names.FINALIZER)
    assert {kind.group for kind in KINDS} == {"nopal.dev"}
