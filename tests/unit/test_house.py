# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that no linter knows."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 400


def python_files() -> list[Path]:
    folders = ("api", "scheduler", "runtime", "operator", "node-daemon", "dev", "tests", "bench")
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py")]


def test_the_operator_folder_never_hides_pythons_own_operator_module() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not (ROOT / "operator.py").exists()
    subprocess.run([sys.executable, "-c", "import operator; operator.eq"], cwd=ROOT, check=True)


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_short_and_says_its_licence(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST, "which two rooms is it?"
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")


def test_no_shell_is_ever_started() -> None:
    started_by = (
        "shell=True",
        "subprocess_shell",
        "os.system",
        "os.popen",
        "getoutput",
        "getstatus",
    )
    for path in python_files():
        if path != Path(__file__):
            text = path.read_text()
            assert not [each for each in started_by if each in text], path
