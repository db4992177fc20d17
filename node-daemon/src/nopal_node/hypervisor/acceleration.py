# SPDX-License-Identifier: Apache-2.0
"""Whether guests run on KVM or emulated: decided once, by trying."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from nopal_runtime.errors import TerminalError

from . import kvm_probe, libvirt_api

if TYPE_CHECKING:
    import libvirt

_CHOICES = ("Auto", "KVM", "Emulation")


class Acceleration:
    """The host's choice between KVM and TCG.

    Args:
        choice: Auto tries KVM; KVM and Emulation are taken at their word.
    """

    def __init__(self, choice: str) -> None:
        if choice not in _CHOICES:
            raise TerminalError(
                "InvalidSetting", f"NOPAL_ACCELERATION={choice}: use one of {', '.join(_CHOICES)}"
            )
        self._choice = choice
        self._lock = threading.Lock()
        self._message: str | None = None

    def message(self, connection: libvirt.virConnect) -> str:
        """Return why guests do not run on KVM, empty if they do.

        The first call asks libvirt about QEMU, too, which makes libvirt learn what QEMU can do:
        seconds of work on a fresh host, that the first guest's start would otherwise wait for.

        Raises:
            libvirt.libvirtError: libvirt cannot be asked; asked again next time.
        """
        with self._lock:
            if self._message is None:
                self._message = self._decide(connection)
            return self._message

    def _decide(self, connection: libvirt.virConnect) -> str:
        connection.getDomainCapabilities(None, "x86_64", "q35", "qemu", 0)
        if self._choice == "Emulation":
            return "emulation is chosen by NOPAL_ACCELERATION"
        if self._choice == "Auto" and (message := kvm_probe.probe()):
            return message
        api = libvirt_api.load()
        try:
            connection.getDomainCapabilities(None, "x86_64", "q35", "kvm", 0)
        except api.libvirtError as error:
            if libvirt_api.is_broken_link(error) or self._choice == "KVM":
                raise
            return f"libvirt's QEMU cannot use KVM: {str(error).strip()}"
        return ""
