# SPDX-License-Identifier: Apache-2.0
"""What libvirt's errors mean, on a stand-in with constants of its own: none may be written out."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, cast

import pytest

from nopal_node.hypervisor import libvirt_api
from nopal_runtime.errors import ConflictError, NopalError, TerminalError, TransientError

if TYPE_CHECKING:
    from libvirt import libvirtError


class FakeError(Exception):
    def __init__(self, code: int, domain: int) -> None:
        super().__init__("the monitor is shut\n")
        self._code, self._domain = code, domain

    def get_error_code(self) -> int:
        return self._code

    def get_error_domain(self) -> int:
        return self._domain


class FakeLibvirt(ModuleType):
    """Every name of a constant has a number, and never libvirt's."""

    def __init__(self) -> None:
        super().__init__("libvirt")
        self._numbers: dict[str, int] = {}
        vars(self)["libvirtError"] = FakeError

    def __getattr__(self, name: str) -> int:
        if not name.startswith("VIR_"):
            raise AttributeError(name)
        return self._numbers.setdefault(name, 9000 + len(self._numbers))

    def registerErrorHandler(self, _handler: object, _context: object) -> None:
        self.silenced = True


@pytest.fixture
def libvirt(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLibvirt]:
    module = FakeLibvirt()
    monkeypatch.setitem(sys.modules, "libvirt", module)
    libvirt_api.load.cache_clear()
    yield module
    libvirt_api.load.cache_clear()


def translate(libvirt: FakeLibvirt, code: str, domain: str = "VIR_FROM_QEMU") -> NopalError:
    error = FakeError(getattr(libvirt, code), getattr(libvirt, domain))
    return libvirt_api.translate(cast("libvirtError", error), "start a guest", reason="StartFailed")


@pytest.mark.parametrize("code", ["VIR_ERR_SYSTEM_ERROR", "VIR_ERR_INTERNAL_ERROR", "VIR_ERR_RPC"])
@pytest.mark.parametrize("domain", ["VIR_FROM_RPC", "VIR_FROM_REMOTE"])
def test_a_broken_link(libvirt: FakeLibvirt, code: str, domain: str) -> None:
    error = translate(libvirt, code, domain)
    assert isinstance(error, TransientError)
    assert error.reason == "HypervisorUnreachable"
    assert "see that libvirtd" in error.message


def test_a_closed_connection(libvirt: FakeLibvirt) -> None:
    assert translate(libvirt, "VIR_ERR_INVALID_CONN").reason == "HypervisorUnreachable"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        # The same codes from QEMU's driver are about the guest.
        ("VIR_ERR_INTERNAL_ERROR", TransientError),
        ("VIR_ERR_SYSTEM_ERROR", TransientError),
        ("VIR_ERR_OPERATION_FAILED", TransientError),
        ("VIR_ERR_XML_ERROR", TerminalError),
        ("VIR_ERR_CONFIG_UNSUPPORTED", TerminalError),
        ("VIR_ERR_DOM_EXIST", ConflictError),
    ],
)
def test_a_guests_own_error(libvirt: FakeLibvirt, code: str, expected: type[NopalError]) -> None:
    error = translate(libvirt, code)
    assert isinstance(error, expected)
    assert error.reason == "StartFailed"
    assert error.message == "start a guest: libvirt says: the monitor is shut"


def test_libvirt_is_silenced(libvirt: FakeLibvirt) -> None:
    assert libvirt_api.load() is libvirt
    assert libvirt.silenced


def test_libvirt_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    libvirt_api.load.cache_clear()
    with pytest.raises(TerminalError, match="install python3-libvirt") as missing:
        libvirt_api.load()
    assert missing.value.reason == "LibvirtMissing"
    libvirt_api.load.cache_clear()


@pytest.mark.parametrize(
    ("code", "domain", "lost"),
    [
        ("VIR_ERR_SYSTEM_ERROR", "VIR_FROM_QEMU", True),
        ("VIR_ERR_OPERATION_FAILED", "VIR_FROM_QEMU", True),
        ("VIR_ERR_SYSTEM_ERROR", "VIR_FROM_RPC", False),
        ("VIR_ERR_DOM_EXIST", "VIR_FROM_QEMU", False),
    ],
)
def test_a_qemu_that_ends_while_it_is_spoken_to(
    libvirt: FakeLibvirt, code: str, domain: str, lost: bool
) -> None:
    error = FakeError(getattr(libvirt, code), getattr(libvirt, domain))
    assert libvirt_api.is_about_lost_monitor(cast("libvirtError", error)) is lost
