# SPDX-License-Identifier: Apache-2.0
"""A monitor that does not answer yet."""

import json
from pathlib import Path

import pytest

from nopal_dev import ceph
from nopal_dev.ceph import Ceph
from nopal_dev.errors import CommandError
from nopal_dev.network import Network
from nopal_dev.processes import Processes

WORKING = {"state_name": "active+clean", "count": 16}
PLACED = {"num_pgs": 16, "pgs_by_state": [WORKING], "bytes_total": 1}


def test_a_monitor_that_is_too_slow_says_nothing_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(("not done after 40 s", "", "HEALTH_WARN 1 osds down", "HEALTH_OK"))

    def command(argv: list[str], **_: object) -> str:
        if "health" not in argv:
            return json.dumps({"mgrmap": {"available": True}, "pgmap": PLACED})
        answer = next(said)
        if answer.startswith("not done"):
            raise CommandError(argv, answer, "")
        return f"{answer}\n"

    monkeypatch.setattr(ceph, "run", command)
    processes = Processes(tmp_path / "records", tmp_path / "logs", {})
    made = Ceph(tmp_path, "fsid", network=Network(0), processes=processes)

    made._wait_healthy(timeout=60.0)

    assert list(said) == []
