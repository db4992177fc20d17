# SPDX-License-Identifier: Apache-2.0
"""A proof survives being written down, and what is not a proof is refused by the field's name."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler.files.proof_json import proof_from_json, proof_to_json
from nopal_scheduler.model import HOST, Redundancy
from nopal_scheduler.proof import Case, Proof

names = st.text(min_size=1, max_size=4)
redundancies = st.builds(Redundancy, st.integers(0, 3), st.sampled_from([HOST, "rack"]))
cases = st.builds(
    Case, st.lists(names, max_size=3, unique=True).map(tuple), st.dictionaries(names, names)
)
by_cases = st.builds(
    Proof,
    redundancies,
    st.lists(cases, max_size=4, unique_by=lambda c: c.lost).map(
        lambda found: tuple(sorted(found, key=lambda c: (len(c.lost), c.lost)))
    ),
)
by_backups = st.builds(
    Proof,
    redundancies,
    st.just(()),
    st.dictionaries(names, st.lists(names, max_size=3).map(tuple)),
)


@given(by_cases | by_backups)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_proof_is_the_same_after_json(proof: Proof) -> None:
    assert proof_from_json(json.loads(json.dumps(proof_to_json(proof)))) == proof


def test_the_order_of_the_names_decides_nothing() -> None:
    one, other = Case(("a",), {"v": "b", "w": "c"}), Case(("b",), {})
    there = Proof(Redundancy(1), (one, other))
    back = Proof(Redundancy(1), (other, Case(("a",), {"w": "c", "v": "b"})))
    assert json.dumps(proof_to_json(there)) == json.dumps(proof_to_json(back))


K1: dict[str, Any] = {"failures": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "proof: must be a mapping"),
        ({"cases": []}, "proof.redundancy: is missing"),
        ({"redundancy": K1}, "proof: must have cases or backups"),
        ({"redundancy": K1, "cases": [], "backups": {}}, "proof: has both"),
        ({"redundancy": K1, "cases": [], "case": 1}, "proof.case: is not a field"),
        ({"redundancy": {}, "cases": []}, "redundancy.failures: is missing"),
        ({"redundancy": {"failures": 4}, "cases": []}, "redundancy.failures: must be a whole"),
        ({"redundancy": {"failures": True}, "cases": []}, "redundancy.failures: must be a whole"),
        ({"redundancy": {"failures": 1, "topology": 3}, "cases": []}, "redundancy.topology: must"),
        ({"redundancy": K1, "cases": {}}, "cases: must be a list"),
        ({"redundancy": K1, "cases": [{"lost": ["a"]}]}, r"cases\[0\].restarts: is missing"),
        (
            {"redundancy": K1, "cases": [{"lost": "a", "restarts": {}}]},
            r"cases\[0\].lost: must be a list",
        ),
        (
            {"redundancy": K1, "cases": [{"lost": ["a"], "restarts": {"web": 1}}]},
            r"cases\[0\].restarts.web: must be a string",
        ),
        (
            {"redundancy": K1, "cases": [{"lost": ["a"], "restarts": {1: "a"}}]},
            r"cases\[0\].restarts: the key 1 must be a string",
        ),
        ({"redundancy": K1, "backups": {"web": ["a", None]}}, r"backups.web\[1\]: must be a str"),
    ],
)
def test_an_error_names_the_field(data: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        proof_from_json(data)
