# SPDX-License-Identifier: Apache-2.0
"""A monitor that does not answer yet, and one that nobody has told anything yet."""

import json
from pathlib import Path

import pytest

from nopal_dev import ceph
from nopal_dev.ceph import Ceph
from nopal_dev.errors import CommandError
from nopal_dev.network import Network
from nopal_dev.processes import Processes

EMPTY = {"pgs_by_state": [], "num_pgs": 0, "bytes_total": 0}
"""What a monitor says of storage, at HEALTH_OK, before a manager has told it anything."""
PEERING = {"pgs_by_state": [{"state_name": "peering", "count": 2}], "num_pgs": 2, "bytes_total": 1}
WHOLE = {**PEERING, "pgs_by_state": [{"state_name": "active+clean", "count": 2}]}


def test_neither_a_slow_monitor_nor_an_untold_one_is_healthy_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [json.dumps({"pgmap": seen}) for seen in (EMPTY, PEERING, WHOLE)]
    healthy = [each for status in told for each in ("HEALTH_OK", status)]
    said = iter(("not done after 40 s", "", "HEALTH_WARN 1 osds down", *healthy))

    def command(argv: list[str], **_: object) -> str:
        answer = next(said)
        if answer.startswith("not done"):
            raise CommandError(argv, answer, "")
        return f"{answer}\n"

    monkeypatch.setattr(ceph, "run", command)
    processes = Processes(tmp_path / "records", tmp_path / "logs", {})
    made = Ceph(tmp_path, "fsid", network=Network(0), processes=processes)

    made._wait_healthy(timeout=60.0)

    assert list(said) == []
