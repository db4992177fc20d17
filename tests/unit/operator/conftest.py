# SPDX-License-Identifier: Apache-2.0
"""The operator's logs are not what these tests look at."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield
