# SPDX-License-Identifier: Apache-2.0
"""Tells a session that ran all tests of a folder from one that was asked for a part."""

from collections.abc import Sequence
from pathlib import Path

import pytest


class WholeRun:
    """A pytest plugin that watches which tests of a folder are chosen and begun.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._chosen = False
        self._deselected = False
        self._waiting: set[str] = set()

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._deselected |= bool(items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        items = [item for item in session.items if self._folder in item.path.parents]
        files = {item.path for item in items} >= set(self._folder.rglob("test_*.py"))
        single = any("::" in argument for argument in session.config.args)
        self._chosen = files and not single and not self._deselected
        self._waiting = {item.nodeid for item in items}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._waiting.discard(nodeid)

    def complete(self, session: pytest.Session) -> bool:
        """Whether every test of the folder has begun and none of the session has failed."""
        return self._chosen and not self._waiting and not session.testsfailed
