# SPDX-License-Identifier: Apache-2.0
"""Golden scenarios: a cluster, a question to the command line, and what the answer must say.

One file each in golden/. `expect` names the exit code and the part of the JSON answer that the
scenario is about; a string that begins with "~" stands for any text that has the rest of it in it.
"""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from nopal_scheduler.cli.main import main

SCENARIOS = sorted((Path(__file__).parent / "golden").glob("*.yaml"))


def differences(expected: Any, found: Any, at: str = "") -> list[str]:
    """Say what of the expected is not found; mappings may have more than is expected."""
    if isinstance(expected, dict) and isinstance(found, dict) and expected:
        return [
            line
            for key, value in expected.items()
            for line in differences(value, found.get(key), f"{at}.{key}")
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [line for i, (e, f) in pairs for line in differences(e, f, f"{at}[{i}]")]
    if isinstance(expected, str) and isinstance(found, str) and expected.startswith("~"):
        return [] if expected[1:] in found else [f"{at}: {expected!r} is not in {found!r}"]
    return [] if expected == found else [f"{at}: expected {expected!r}, found {found!r}"]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = yaml.safe_load(path.read_text())
    assert scenario["shows"].endswith("."), "say in one sentence what it shows"
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(yaml.safe_dump(scenario["cluster"]))
    verb, *arguments = shlex.split(scenario["ask"])
    code = main([verb, str(cluster), *arguments, "-o", "json"])
    printed = capsys.readouterr()
    assert printed.out, printed.err
    expected = scenario["expect"]
    assert expected.pop("exit") == code, printed.out
    assert differences(expected, json.loads(printed.out)) == []


def test_there_are_scenarios_and_differences_are_seen() -> None:
    assert len(SCENARIOS) >= 20
    assert differences({"a": [1, "~b"]}, {"a": [1, "abc"], "c": 1}) == []
    assert differences({"a": [1, {}]}, {"a": [2, {"b": 1}]}) != []
    assert differences({"a": "~x"}, {"a": "abc"}) != []
    assert differences({"a": {}}, {"a": {"b": 1}}) != []
    assert differences({"a": [1]}, {"a": [1, 2]}) != []
