# SPDX-License-Identifier: Apache-2.0
"""The control plane's processes, each started when what it stands on is there."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nopal_dev.controlplane import ControlPlane
from nopal_dev.network import Network


class Recorded:
    """Takes what is started and waited for."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def start(self, name: str, _argv: object) -> None:
        self.done.append(f"start {name}")

    def wait(self, name: str, _ready: object, **_: object) -> None:
        self.done.append(f"await {name}")


def test_none_is_started_before_what_it_stands_on_answers(tmp_path: Path) -> None:
    processes: Any = Recorded()
    names = ("etcd", "apiserver", "controller_manager")
    binaries: Any = SimpleNamespace(kubectl=tmp_path, **dict.fromkeys(names, tmp_path))
    made = ControlPlane(tmp_path, Network(0), processes=processes, binaries=binaries)

    made.up()

    done = processes.done
    assert done.index("await etcd") < done.index("start kube-apiserver")
    assert done.index("await kube-apiserver") < done.index("start kube-controller-manager")
