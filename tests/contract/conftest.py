# SPDX-License-Identifier: Apache-2.0
"""The fakes and the real parts, by the same tests."""

from pathlib import Path

import pytest

_SECONDS = 600.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give more time to what needs a real part: the first to need the cluster starts it as well."""
    for item in items:
        here = Path(__file__).parent in item.path.parents and item.get_closest_marker("real")
        if here and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_SECONDS))
