# SPDX-License-Identifier: Apache-2.0
"""What the KVM probe says where it cannot even begin."""

import re
from pathlib import Path

import pytest

from nopal_node.hypervisor import kvm_probe
from nopal_node.hypervisor.acceleration import Acceleration
from nopal_runtime.errors import TerminalError


def test_no_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kvm_probe, "_DEVICE", str(tmp_path / "kvm"))
    monkeypatch.setattr("os.uname", lambda: type("Uname", (), {"machine": "x86_64"}))
    message = kvm_probe._try()
    assert re.search(r"is not there: load the module kvm_intel or kvm_amd", message)


def test_another_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.uname", lambda: type("Uname", (), {"machine": "riscv64"}))
    assert "riscv64" in kvm_probe._try()


def test_a_wrong_choice_names_the_setting() -> None:
    with pytest.raises(TerminalError, match="NOPAL_ACCELERATION=Turbo: use one of Auto, KVM"):
        Acceleration("Turbo")
