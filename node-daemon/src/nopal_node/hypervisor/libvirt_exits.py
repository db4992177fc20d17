# SPDX-License-Identifier: Apache-2.0
"""How domains of a real host went away: from the event, else from libvirt's log of the domain."""

import threading

from . import libvirt_api
from .base import Exit
from .domain_xml import domain_name
from .exits import TAIL_BYTES, last_exit
from .host_folders import HostFolders


class LibvirtExits:
    """Remembers events; losing them costs nothing, because the log tells the same.

    Args:
        folders: where the logs are.
    """

    def __init__(self, folders: HostFolders) -> None:
        self._api = libvirt_api.load()
        self._folders = folders
        self._lock = threading.Lock()
        self._seen: dict[str, Exit] = {}
        self._asked: set[str] = set()
        """Guests that were asked to shut down: they then say the same as if by themselves."""

    def event(self, vm_uid: str, event: int, detail: int) -> None:
        """Note an event (virDomainEventType and its detail)."""
        api = self._api
        with self._lock:
            if event == api.VIR_DOMAIN_EVENT_STARTED:
                self._seen.pop(vm_uid, None)
            elif event == api.VIR_DOMAIN_EVENT_SHUTDOWN:
                if detail == api.VIR_DOMAIN_EVENT_SHUTDOWN_HOST:
                    self._asked.add(vm_uid)  # QEMU got a signal
            elif event == api.VIR_DOMAIN_EVENT_STOPPED:
                self._seen[vm_uid] = {
                    api.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: Exit.GUEST_SHUTDOWN,
                    api.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: Exit.DESTROYED,
                    api.VIR_DOMAIN_EVENT_STOPPED_CRASHED: Exit.CRASHED,
                    api.VIR_DOMAIN_EVENT_STOPPED_FAILED: Exit.CRASHED,
                }.get(detail, Exit.UNKNOWN)

    def asked(self, vm_uid: str) -> None:
        """Note that the guest is being asked to shut down."""
        with self._lock:
            self._asked.add(vm_uid)

    def clear(self, vm_uid: str) -> None:
        """Remember nothing of the domain's last run: a new one begins, or it is forgotten."""
        with self._lock:
            self._seen.pop(vm_uid, None)
            self._asked.discard(vm_uid)

    def last(self, vm_uid: str) -> Exit | None:
        """Return how a domain that is absent went away; None if nothing tells that it ever ran."""
        with self._lock:
            seen, asked = self._seen.get(vm_uid), vm_uid in self._asked
        told = seen or self._recorded(vm_uid)
        return Exit.DESTROYED if asked and told is Exit.GUEST_SHUTDOWN else told

    def _recorded(self, vm_uid: str) -> Exit | None:
        try:
            with self._folders.qemu_log(domain_name(vm_uid)).open("rb") as log:
                log.seek(max(0, log.seek(0, 2) - TAIL_BYTES))
                return last_exit(log.read().decode(errors="replace"))
        except FileNotFoundError:
            return None
