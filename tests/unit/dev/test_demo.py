# SPDX-License-Identifier: Apache-2.0
"""The demo's last stages, on a cluster that is only pretended."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nopal_dev import demo
from nopal_dev.errors import DevError, NotReadyError
from nopal_dev.state import MARKER

LINE = "nopal: hello from hello"


class Told:
    """Takes what a stage says and what it echoes."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.echoed: list[str] = []
        self.say, self.echo = self.said.append, self.echoed.append


def cluster(console: Path, *, on_disk: str) -> Any:
    objects: dict[str, Any] = {
        "vm": {"metadata": {"uid": "u"}, "status": {"assignment": {"nodeName": "node-1"}}},
        "disks.nopal.dev": {"status": {"location": {"pool": "nopal", "image": "disk-u"}}},
    }
    return SimpleNamespace(
        kubectl=SimpleNamespace(get=lambda kind, _name: objects[kind]),
        hosts={"node-1": SimpleNamespace(console_log=lambda _uid: console)},
        ceph=SimpleNamespace(
            read=lambda _image, _offset, length, *, pool: on_disk.encode().ljust(length, b"\0")
        ),
    )


def follow(console: Path, *, on_disk: str = "") -> Told:
    told: Any = Told()
    demo._follow_console(cluster(console, on_disk=on_disk), told, timeout=0.1)
    return told  # type: ignore[no-any-return]


def test_the_console_is_shown_up_to_the_guests_line(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_text(f"booting\r\n{LINE}\r\nlogin:\r\n")
    told = follow(console, on_disk=f"{LINE}\n")
    assert told.echoed == ["booting", LINE]
    assert told.said == []


def test_a_guest_that_said_it_before_its_last_start_is_not_waited_for(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_text("booting again\n")
    assert "data disk" in follow(console, on_disk=f"{LINE}\n").said[0]


def test_without_the_line_on_the_disk_the_console_must_have_it(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_text(f"booting\n{LINE}")  # the line is not complete yet
    with pytest.raises(NotReadyError):
        follow(console)


def test_a_stage_that_fails_says_what_to_look_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_args: Any, **_options: Any) -> None:
        raise DevError("refused")

    def works(*_args: Any, **_options: Any) -> None:
        return None

    workloads = SimpleNamespace(install=refused)
    up = SimpleNamespace(up=lambda *_args, **_options: SimpleNamespace(workloads=workloads))
    monkeypatch.setattr("nopal_dev.packages.install", works)
    monkeypatch.setattr(demo, "Binaries", SimpleNamespace(find=works))
    monkeypatch.setattr(demo, "Cluster", up)
    monkeypatch.setenv(MARKER, "")  # put back as it was when the test is over
    with pytest.raises(DevError):
        demo.demo("mine")
    told = capsys.readouterr().out.splitlines()
    assert told[-2].strip().startswith("failed after")
    assert re.search(r"look at: .*/mine/logs/kube-apiserver\.log;.*/operator\.log", told[-1])
