# SPDX-License-Identifier: Apache-2.0
"""Field sets: what server-side apply counts as owned."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_api.kinds import HOST, IMAGE, KINDS, VIRTUAL_MACHINE
from nopal_runtime.kube.fields import digest, leaves, owned_digests, status_shape
from nopal_runtime.kube.ownership import apply, fields_v1


def test_the_shape_comes_from_the_models() -> None:
    vm = status_shape(VIRTUAL_MACHINE).fields
    assert vm["conditions"].keys == ("type",)
    assert vm["assignment"].fields["disks"].keys == ("name",)
    assert status_shape(IMAGE).fields["pools"].keys == ("zone", "pool")
    assert status_shape(HOST).fields["conditions"].keys == ("type",)
    assert all(status_shape(kind).fields["conditions"].keys == ("type",) for kind in KINDS)


def test_leaves_of_an_apply() -> None:
    found = dict(
        leaves(
            {"power": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            status_shape(VIRTUAL_MACHINE),
        )
    )
    item = ("f:conditions", 'k:{"type":"Ready"}')
    assert found == {
        ("f:power",): "Running",
        (*item, "f:type"): "Ready",
        (*item, "f:status"): "True",
    }


def test_only_applies_to_the_status_count() -> None:
    entry = {"manager": "a", "operation": "Apply", "subresource": "status"}
    fields: dict[str, Any] = {"fieldsV1": {"f:status": {"f:power": {}}}}
    assert owned_digests([{**entry, **fields}]) == {"a": digest([("f:power",)])}
    assert owned_digests([{**entry, **fields, "operation": "Update"}]) == {}
    assert owned_digests([{**entry, **fields, "subresource": ""}]) == {}
    assert owned_digests([{**entry, "fieldsV1": {"f:status": {}}}]) == {}


def test_the_order_of_keys_in_an_item_does_not_matter() -> None:
    def owned(step: str) -> Any:
        trie: dict[str, Any] = {"f:status": {"f:pools": {step: {".": {}, "f:state": {}}}}}
        entry = {"manager": "a", "operation": "Apply", "subresource": "status", "fieldsV1": trie}
        return owned_digests([entry])

    assert owned('k:{"pool":"p","zone":"z"}') == owned('k:{"zone":"z","pool":"p"}')


CONDITIONS = st.lists(
    st.sampled_from(["Ready", "Scheduled", "DisksReady"]), unique=True, max_size=3
).flatmap(
    lambda kinds: st.tuples(
        *(
            st.fixed_dictionaries(
                {"type": st.just(k), "status": st.sampled_from(["True", "False"])}
            )
            for k in kinds
        )
    ).map(list)
)
STATUS = st.fixed_dictionaries(
    {},
    optional={
        "power": st.sampled_from(["Running", "Stopped"]),
        "lastExit": st.fixed_dictionaries({"reason": st.just("Crashed"), "time": st.text("ab")}),
        "conditions": CONDITIONS,
    },
)


@pytest.mark.slow
@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("ABC"), STATUS), max_size=8))
def test_applies_by_several_managers(applies: list[tuple[str, dict[str, Any]]]) -> None:
    """The last apply of each holds, nothing without an owner is there, again changes nothing."""
    shape = status_shape(VIRTUAL_MACHINE)
    status: dict[str, Any] = {}
    owners: dict[str, Any] = {}
    for manager, wanted in applies:
        done = apply(status, owners, manager=manager, wanted=wanted, shape=shape)
        status, owners = done.status, done.owners
        there = dict(leaves(status, shape)) if status else {}
        mine = dict(leaves(wanted, shape)) if wanted else {}
        assert mine.items() <= there.items()
        assert set(there) == set().union(*owners.values())
        again = apply(status, owners, manager=manager, wanted=wanted, shape=shape)
        assert (again.status, again.owners) == (status, owners)
        fields: dict[str, Any] = {"fieldsV1": fields_v1(mine)}
        entry = {"manager": manager, "operation": "Apply", "subresource": "status", **fields}
        assert owned_digests([entry]) == ({manager: digest(mine)} if mine else {})
