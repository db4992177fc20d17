# SPDX-License-Identifier: Apache-2.0
"""Every word that a condition can have is in the reference."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from nopal_api.kinds import KINDS
from nopal_api.reasons import COMMON, CONDITIONS

ROOT = Path(__file__).parents[3]
ROOMS = ("operator/src", "node-daemon/src")
# Raised and caught inside, or in the log only.
INSIDE = {
    "AlreadyExists",
    "BridgeConflict",  # these are in status.networks of the Host, with a message only
    "BridgeDown",
    "BridgeInUse",
    "BridgeNotFound",
    "Changed",
    "HostChanged",
    "HostNotFound",
    "HostUnreadable",
    "ImageExists",
    "InvalidSetting",
    "LinkExists",
    "LinkNotFound",
    "MTUTooSmall",
    "NetworkChanged",
    "NetworkUnreachable",
    "NotACluster",
    "StillThere",
}

# Of these the word says all, or the message does.
SELF_EXPLAINING = {
    "Deleted",
    "Failed",
    "Fetching",
    "InUse",
    "Retained",
    "Starting",
    "Stopped",
    "Stopping",
}

DOCUMENTED = {reason.name for reason in COMMON} | {
    reason.name
    for conditions in CONDITIONS.values()
    for condition in conditions
    for reason in condition.reasons
}
TYPES = {condition.type for conditions in CONDITIONS.values() for condition in conditions}


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                    yield name, node, f"{path.relative_to(ROOT)}:{node.lineno}"


def word(node: ast.expr) -> str:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) and re.fullmatch(r"[A-Z][A-Za-z0-9]+", value) else ""


def test_every_reason_in_the_code_is_documented() -> None:
    undocumented = set()
    for name, call, where in calls():
        words = [word(k.value) for k in call.keywords if k.arg == "reason"]
        if name.endswith("Error"):
            words += [word(arg) for arg in call.args[:1]]
        undocumented |= {f"{w} ({where})" for w in words if w and w not in DOCUMENTED | INSIDE}
    assert not undocumented, "document them in api/src/nopal_api/reasons.py"


def explained() -> set[str]:
    """What docs/failures.md has in the first column of a table."""
    page = (ROOT / "docs/failures.md").read_text()
    cells = re.findall(r"^\| ([^|]+) \|", page, flags=re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"[A-Z][A-Za-z]+", cell)}


def test_every_reason_that_is_no_good_news_is_on_the_page_about_failures() -> None:
    bad = {reason.name for reason in COMMON} | {
        reason.name
        for conditions in CONDITIONS.values()
        for condition in conditions
        for reason in condition.reasons
        if reason.status != "True"
    }
    assert bad - explained() == SELF_EXPLAINING


def test_the_page_about_failures_names_no_reason_that_there_is_not() -> None:
    page = (ROOT / "docs/failures.md").read_text()
    tables = re.findall(r"^\| reason \|.*\n\|[-|]+\n((?:\|.*\n)+)", page, flags=re.MULTILINE)
    rows = [row.split("|")[1] for table in tables for row in table.splitlines()]
    named = {word for row in rows for word in re.findall(r"\b[A-Z][a-z]+[A-Z][A-Za-z]+", row)}
    assert len(named) > 50
    assert named - {"VirtualMachine", "InZone"} <= DOCUMENTED


def test_every_condition_in_the_code_is_documented() -> None:
    found = {word(call.args[0]) for name, call, _ in calls() if name == "condition" and call.args}
    assert found - {""}
    assert found - {""} <= TYPES


def test_every_kind_has_a_ready_condition_that_can_be_true() -> None:
    for kind in KINDS:
        ready = next(c for c in CONDITIONS[kind.kind] if c.type == "Ready")
        assert any(reason.status == "True" for reason in ready.reasons)
    assert set(CONDITIONS) == {kind.kind for kind in KINDS}


def test_no_reason_twice_in_one_condition() -> None:
    for conditions in CONDITIONS.values():
        for condition in conditions:
            names = [(reason.name, reason.status) for reason in condition.reasons]
            assert len(names) == len(set(names)), condition.type
