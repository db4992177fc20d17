# SPDX-License-Identifier: Apache-2.0
"""The cache: versions only go forward, lists are the authority, unknown removes nothing."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nopal_api.kinds import DISK
from nopal_api.kinds import VIRTUAL_MACHINE as VM
from nopal_api.virtualmachine import VirtualMachine
from nopal_runtime.errors import TerminalError
from nopal_runtime.kube.api import Key, Listing
from nopal_runtime.kube.cache import ObjectCache, make_record
from support import objects

KEY = Key("VirtualMachine", "default", "a")


def body(version: int, uid: str = "u1", name: str = "a", **meta: Any) -> dict[str, Any]:
    made = objects.vm(name)
    made["metadata"].update(uid=uid, resourceVersion=str(version), **meta)
    return made


def listing(version: int, *bodies: Mapping[str, Any]) -> Listing:
    return Listing(bodies, str(version))


def version_of(cache: ObjectCache, key: Key = KEY) -> str | None:
    record = cache.get(key)
    return None if record is None else record.resource_version


def test_versions_are_compared_as_numbers() -> None:
    cache = ObjectCache()
    assert cache.offer(VM, body(9))
    assert cache.offer(VM, body(10))
    assert not cache.offer(VM, body(9))
    assert not cache.offer(VM, body(10))
    assert version_of(cache) == "10"


def test_a_late_event_does_not_bring_back_a_deleted_object() -> None:
    cache = ObjectCache()
    cache.offer(VM, body(5))
    assert cache.offer_deleted(VM, body(8))
    assert not cache.offer(VM, body(7))
    assert cache.get(KEY) is None


def test_a_late_deletion_does_not_remove_the_namesake() -> None:
    cache = ObjectCache()
    cache.offer(VM, body(5, "old"))
    cache.offer(VM, body(9, "new"))
    assert not cache.offer_deleted(VM, body(8, "old"))
    assert version_of(cache) == "9"
    assert cache.find_uid(VM, "old") is None
    assert cache.find_uid(VM, "new") is not None


def test_a_deletion_older_than_what_is_known_is_ignored() -> None:
    cache = ObjectCache(selected=[VM])
    cache.offer(VM, body(9))
    assert not cache.offer_deleted(VM, body(8))  # it left the selection and came back
    assert version_of(cache) == "9"


def test_a_list_adds_updates_and_removes() -> None:
    cache = ObjectCache()
    cache.offer(VM, body(1, "u1", "a"))
    cache.offer(VM, body(2, "u2", "b"))
    changed = cache.sync(VM, listing(10, body(5, "u2", "b"), body(6, "u3", "c")))
    assert {key.name for key in changed} == {"a", "b", "c"}
    assert {record.name for record in cache.all(VM)} == {"b", "c"}
    assert cache.sync(VM, listing(11, body(5, "u2", "b"), body(6, "u3", "c"))) == frozenset()


def test_a_list_keeps_what_is_newer_than_itself() -> None:
    cache = ObjectCache()
    cache.offer(VM, body(12, "u1", "made-meanwhile"))
    cache.offer(VM, body(11, "u2", "b"))
    cache.sync(VM, listing(10, body(5, "u2", "b")))
    assert {(r.name, r.resource_version) for r in cache.all(VM)} == {
        ("made-meanwhile", "12"),
        ("b", "11"),
    }


def test_a_late_event_does_not_bring_back_what_a_list_removed() -> None:
    cache = ObjectCache()
    cache.offer(VM, body(5))
    cache.sync(VM, listing(10))
    assert not cache.offer(VM, body(7))
    assert cache.offer(VM, body(11, "u2"))


def test_a_restored_api_server_replaces_everything() -> None:
    """A backup of etcd: the versions begin again below those that are known."""
    cache = ObjectCache()
    cache.sync(VM, listing(100, body(90, "u1", "a"), body(91, "u2", "b")))
    changed = cache.sync(VM, listing(50, body(40, "u1", "a")))
    assert {key.name for key in changed} == {"a", "b"}
    assert [(r.name, r.resource_version) for r in cache.all(VM)] == [("a", "40")]
    assert cache.offer(VM, body(55, "u1", "a"))


@pytest.mark.parametrize(
    "old",
    [
        listing(101, body(40, "u1", "a")),  # an object is older than it was known to be
        listing(101, body(91, "u1", "a"), body(50, "u2", "b")),  # one that is gone is back
        listing(94, body(91, "u1", "a")),  # the list is older than an object that it lacks
    ],
)
def test_a_restore_is_seen_also_when_the_versions_have_grown_past_the_known_ones(
    old: Listing,
) -> None:
    cache = ObjectCache()
    cache.sync(VM, listing(90, body(89, "u1", "a"), body(88, "u2", "b")))
    cache.sync(DISK, listing(90))
    cache.offer(VM, body(91, "u1", "a"))
    cache.offer_deleted(VM, body(92, "u2", "b"))
    cache.offer(VM, body(95, "u3", "c"))
    known = cache.versions(VM)
    cache.sync(VM, old, since=known)
    assert cache.restores == 1
    assert {r.name: r.resource_version for r in cache.all(VM)} == {
        b["metadata"]["name"]: b["metadata"]["resourceVersion"] for b in old.items
    }
    cache.sync(DISK, listing(93), since=cache.versions(DISK))
    cache.sync(VM, listing(102, *old.items), since=cache.versions(VM))
    assert cache.restores == 1, "one restore is told once"


def test_after_a_restore_every_kind_is_replaced() -> None:
    cache = ObjectCache()
    cache.sync(VM, listing(90, body(80)))
    cache.sync(DISK, listing(90))
    cache.offer(DISK, body(91, "d1"))
    cache.sync(VM, listing(50, body(40)))
    cache.sync(DISK, listing(60))
    assert cache.all(DISK) == ()
    assert cache.restores == 1


def test_nothing_is_synced_before_its_list() -> None:
    cache = ObjectCache()
    cache.offer(VM, body(1))
    assert not cache.synced(VM)
    cache.sync(VM, listing(1))
    assert cache.synced(VM)


def test_leaving_a_selection_is_not_a_deletion() -> None:
    cache = ObjectCache(selected=[VM])
    cache.offer(VM, body(5))
    cache.offer_deleted(VM, body(6))
    assert cache.left(KEY)
    cache.forget_left(KEY)
    assert not cache.left(KEY)
    cache.offer(VM, body(7))
    cache.sync(VM, listing(9))
    assert cache.left(KEY)
    cache.offer(VM, body(10))
    assert not cache.left(KEY)


def test_a_deletion_is_a_deletion_where_nothing_is_selected() -> None:
    cache = ObjectCache()
    cache.offer(VM, body(5))
    cache.offer_deleted(VM, body(6))
    assert not cache.left(KEY)


def test_a_record_is_slim_and_parsed_once() -> None:
    fat = body(
        5,
        managedFields=[{"manager": "x"}],
        annotations={"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"},
        finalizers=["f"],
        labels={"a": "b"},
        deletionTimestamp="2026-01-01T00:00:00Z",
        generation=3,
    )
    record = make_record(VM, fat)
    assert record.deleting
    assert (record.generation, record.finalizers, record.labels["a"]) == (3, ("f",), "b")
    assert "managedFields" not in record.body["metadata"]
    assert record.body["metadata"]["annotations"] == {"mine": "1"}
    assert record.model(VirtualMachine) is record.model(VirtualMachine)
    assert fat["metadata"]["managedFields"]  # the caller's object is left alone
    record.body["spec"]["zone"] = "other"
    assert record.body["spec"]["zone"] == "z1"


def test_an_object_that_cannot_be_read_says_where() -> None:
    broken = body(5)
    broken["spec"]["cpu"] = {"cores": "many"}
    with pytest.raises(TerminalError, match=r"VirtualMachine default/a .*spec\.cpu\.cores"):
        make_record(VM, broken).model(VirtualMachine)


@given(st.permutations(list(range(8))), st.sets(st.integers(0, 7)), st.integers(0, 7))
def test_any_order_of_events_ends_the_same(order: list[int], dropped: set[int], at: int) -> None:
    """Events dropped, doubled and shuffled around a list: the end is what the server has."""
    # The server's history of one name: a lives as u1, is deleted, lives as u2, changes.
    history = [
        ("set", body(1, "u1")),
        ("set", body(2, "u1")),
        ("set", body(3, "u1")),
        ("del", body(4, "u1")),
        ("set", body(5, "u2")),
        ("set", body(6, "u2")),
        ("set", body(7, "u2")),
        ("set", body(8, "u2")),
    ]
    cache = ObjectCache()
    for count, index in enumerate(order):
        if count == at:
            cache.sync(VM, listing(8, body(8, "u2")))
        for _ in range(0 if index in dropped else 1 + index % 2):
            what, event = history[index]
            cache.offer(VM, event) if what == "set" else cache.offer_deleted(VM, event)
    if at >= len(order):
        cache.sync(VM, listing(8, body(8, "u2")))
    record = cache.get(KEY)
    assert record is not None
    assert (record.uid, record.resource_version) == ("u2", "8")
