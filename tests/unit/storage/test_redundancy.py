# SPDX-License-Identifier: Apache-2.0
"""How a pool keeps its copies, from what Ceph 16 prints."""

from typing import Any

from nopal_node.storage.base import PoolRedundancy
from nopal_node.storage.redundancy import pool_redundancy

TAKE = {"op": "take", "item": -1, "item_name": "default"}
EMIT = {"op": "emit"}


def osd(number: int, weight: float = 1.0, **more: Any) -> dict[str, Any]:
    base = {"id": number, "name": f"osd.{number}", "type": "osd", "device_class": "hdd"}
    return base | {"crush_weight": weight, "reweight": 1} | more


def bucket(number: int, name: str, kind: str, *children: int) -> dict[str, Any]:
    return {"id": number, "name": name, "type": kind, "children": list(children)}


TREE = [
    bucket(-1, "default", "root", -10, -11),
    bucket(-10, "rack-a", "rack", -2, -3),
    bucket(-11, "rack-b", "rack", -4),
    bucket(-2, "a1", "host", 0, 1),
    bucket(-3, "a2", "host", 2),
    bucket(-4, "b1", "host", 3, 4),
    osd(0),
    osd(1),
    osd(2, 2.0),
    osd(3, 3.0, device_class="ssd"),
    osd(4, 1.0, reweight=0),
]
USAGE = {
    "stats": {"total_bytes": 800, "total_used_raw_bytes": 80},
    "stats_by_class": {"ssd": {"total_bytes": 300, "total_used_raw_bytes": 30}},
}


def read(*steps: dict[str, Any], take: dict[str, Any] = TAKE, size: int = 3) -> PoolRedundancy:
    rule = {"steps": [take, *steps, EMIT]}
    return pool_redundancy(size=size, min_size=2, rule=rule, tree=TREE, usage=USAGE)


def leaf(kind: str) -> dict[str, Any]:
    return {"op": "chooseleaf_firstn", "num": 0, "type": kind}


def test_copies_on_different_hosts() -> None:
    found = read(leaf("host"))
    assert (found.failure_domain, found.domains, found.copies_together) == ("host", 3, 1)
    assert found.shares == (3 / 7, 2 / 7, 2 / 7), "an OSD that is out counts nothing"
    assert (found.raw_total, found.raw_used) == (800, 80)


def test_copies_in_different_racks() -> None:
    found = read(leaf("rack"))
    assert (found.failure_domain, found.domains, found.copies_together) == ("rack", 2, 1)
    assert found.shares == (4 / 7, 3 / 7)


def test_copies_on_different_osds_may_be_on_one_host() -> None:
    found = read(leaf("osd"))
    assert (found.failure_domain, found.domains, found.copies_together) == ("osd", 5, 2)
    assert len(found.shares) == 3, "hosts fail, not OSDs"


def test_one_device_class_alone() -> None:
    found = read(leaf("host"), take={"op": "take", "item_name": "default~ssd"})
    assert (found.domains, found.shares) == (1, (1.0,))
    assert (found.raw_total, found.raw_used) == (300, 30)


def test_erasure_codes_with_two_pieces_on_a_host() -> None:
    some = {"op": "choose_indep", "num": 3, "type": "host"}
    two = {"op": "chooseleaf_indep", "num": 2, "type": "osd"}
    found = read({"op": "set_chooseleaf_tries", "num": 5}, some, two, size=6)
    assert (found.failure_domain, found.domains, found.copies_together) == ("host", 3, 2)


def test_a_root_that_is_not_there() -> None:
    found = read(leaf("host"), take={"op": "take", "item_name": "gone"})
    assert (found.domains, found.shares) == (0, ())
