# SPDX-License-Identifier: Apache-2.0
"""A host's libvirtd that does not answer yet."""

from pathlib import Path

import pytest

from nopal_dev import hosts
from nopal_dev.errors import CommandError
from nopal_dev.hosts import Host
from nopal_dev.network import Network
from nopal_dev.processes import Processes


def test_a_libvirtd_that_is_too_slow_does_not_answer_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = iter(("not done after 20 s", "status 1"))

    def virsh(argv: list[str], **_: object) -> str:
        for problem in problems:
            raise CommandError(argv, problem, "")
        return "qemu:///system"

    monkeypatch.setattr(hosts, "run", virsh)
    processes = Processes(tmp_path / "records", tmp_path / "logs", {})
    host = Host("node-1", 0, folder=tmp_path, network=Network(0), processes=processes)

    assert [host.libvirt_answers() for _ in range(3)] == [False, False, True]
