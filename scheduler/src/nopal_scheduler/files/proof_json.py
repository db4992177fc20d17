# SPDX-License-Identifier: Apache-2.0
"""A proof as plain data, to be written as JSON or YAML and read back.

    {"redundancy": {"failures": 1, "topology": "host"},
     "cases": [{"lost": ["a"], "restarts": {"web": "b"}}]}

or, in the other form, `"backups": {"web": ["b", "c"]}` in place of the cases.
"""

from typing import Any

from ..model import Redundancy
from ..proof import Case, Proof

MOST_FAILURES = 3


def proof_to_json(proof: Proof) -> dict[str, Any]:
    """Return a proof as lists, dicts, strings and numbers; everything in the order of names."""
    redundancy = {"failures": proof.redundancy.failures, "topology": proof.redundancy.topology}
    if not proof.cases:
        backups = {vm: list(hosts) for vm, hosts in sorted(proof.backups.items())}
        return {"redundancy": redundancy, "backups": backups}
    cases = [
        {"lost": list(case.lost), "restarts": dict(sorted(case.restarts.items()))}
        for case in sorted(proof.cases, key=lambda case: (len(case.lost), case.lost))
    ]
    return {"redundancy": redundancy, "cases": cases}


def proof_from_json(data: object) -> Proof:
    """Return the proof that `proof_to_json` wrote; only its form is verified here.

    Raises:
        ValueError: the data has another form; the message begins with the field, for example
            "cases[2].restarts.web: must be a string".
    """
    proof = _fields(data, "proof", required=("redundancy",), optional=("cases", "backups"))
    if "cases" in proof and "backups" in proof:
        raise ValueError("proof: has both cases and backups, must have one of them")
    if "cases" not in proof and "backups" not in proof:
        raise ValueError("proof: must have cases or backups")
    cases = _list(proof.get("cases", []), "cases")
    backups = _dict(proof.get("backups", {}), "backups")
    return Proof(
        redundancy=_redundancy(proof["redundancy"]),
        cases=tuple(_case(case, f"cases[{i}]") for i, case in enumerate(cases)),
        backups={vm: _strings(hosts, f"backups.{vm}") for vm, hosts in backups.items()},
    )


def _redundancy(data: object) -> Redundancy:
    at = "redundancy"
    found = _fields(data, at, required=("failures",), optional=("topology",))
    failures = found["failures"]
    # True is an int in Python.
    whole = isinstance(failures, int) and not isinstance(failures, bool)
    if not whole or not 0 <= failures <= MOST_FAILURES:
        raise ValueError(f"{at}.failures: must be a whole number from 0 to {MOST_FAILURES}")
    if "topology" not in found:
        return Redundancy(failures)
    return Redundancy(failures, _string(found["topology"], f"{at}.topology"))


def _case(data: object, at: str) -> Case:
    case = _fields(data, at, required=("lost", "restarts"))
    restarts = _dict(case["restarts"], f"{at}.restarts")
    return Case(
        lost=_strings(case["lost"], f"{at}.lost"),
        restarts={vm: _string(host, f"{at}.restarts.{vm}") for vm, host in restarts.items()},
    )


def _fields(
    data: object, at: str, *, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    found = _dict(data, at)
    for name in required:
        if name not in found:
            raise ValueError(f"{at}.{name}: is missing")
    for name in found:
        if name not in required and name not in optional:
            raise ValueError(
                f"{at}.{name}: is not a field, must be one of {[*required, *optional]}"
            )
    return found


def _dict(data: object, at: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{at}: must be a mapping")
    for key in data:
        if not isinstance(key, str):
            raise ValueError(f"{at}: the key {key!r} must be a string")
    return data


def _list(data: object, at: str) -> list[Any]:
    if not isinstance(data, list):
        raise ValueError(f"{at}: must be a list")
    return data


def _strings(data: object, at: str) -> tuple[str, ...]:
    return tuple(_string(item, f"{at}[{i}]") for i, item in enumerate(_list(data, at)))


def _string(data: object, at: str) -> str:
    if not isinstance(data, str):
        raise ValueError(f"{at}: must be a string")
    return data
