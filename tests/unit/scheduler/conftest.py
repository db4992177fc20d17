# SPDX-License-Identifier: Apache-2.0
"""The cluster file that the command line's tests begin with."""

from pathlib import Path

import pytest

from support.commandline import CLUSTER


@pytest.fixture
def cluster(tmp_path: Path) -> str:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    return str(path)
