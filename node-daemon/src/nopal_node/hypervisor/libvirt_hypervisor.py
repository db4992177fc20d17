# SPDX-License-Identifier: Apache-2.0
"""The hypervisor of a real host: libvirt and QEMU, transient domains, no state of our own."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from nopal_runtime.errors import ConflictError, TransientError

from . import libvirt_api
from .acceleration import Acceleration
from .base import Domain, DomainSpec, Exit, Hypervisor, HypervisorFacts
from .cpu_features import cpu_features, refuse_lacking
from .domain_xml import domain_name, domain_xml
from .host_folders import HostFolders, console_log_path
from .libvirt_connection import LibvirtConnection
from .libvirt_domains import LibvirtDomains
from .libvirt_exits import LibvirtExits
from .libvirt_secrets import remove_secrets, secrets_of

if TYPE_CHECKING:
    import libvirt

_GONE_SECONDS = 20.0
"""How long QEMU may take to be gone after libvirt said that it is."""


class LibvirtHypervisor(Hypervisor):
    """Domains of one libvirt.

    Args:
        uri: libvirt's, for example qemu:///system.
        acceleration: Auto probes KVM; KVM and Emulation do without the probe.
        folders: where this process sees libvirt's folders.
    """

    def __init__(
        self,
        uri: str = "qemu:///system",
        *,
        acceleration: str = "Auto",
        folders: HostFolders | None = None,
    ) -> None:
        self._api = libvirt_api.load()
        self._folders = folders or HostFolders()
        self._domains = LibvirtDomains(self._folders)
        self._exits = LibvirtExits(self._folders)
        self._acceleration = Acceleration(acceleration)
        self._lock = threading.Lock()
        self._subscribers: list[Callable[[str], None]] = []
        self._connection = LibvirtConnection(
            uri, on_event=self._event, on_connect=lambda: self._tell("")
        )

    def facts(self) -> HypervisorFacts:
        """Return versions, whether KVM works and what a guest's processor can be."""
        with self._asking("ask libvirt for its version") as connection:
            message = self._acceleration.message(connection)
            return HypervisorFacts(
                libvirt_version=_version(connection.getLibVersion()),
                qemu_version=_version(connection.getVersion()),
                kvm=not message,
                kvm_message=message,
                cpu_features=cpu_features(connection, kvm=not message),
            )

    def domains(self) -> dict[str, Domain]:
        """Return every domain of ours by VM UID, strays included."""
        with self._asking("list the domains") as connection:
            return self._domains.all(connection)

    def domain(self, vm_uid: str) -> Domain | None:
        """Return one domain, None if it is known to be absent."""
        with self._asking("look up a domain") as connection:
            return self._domains.one(connection, vm_uid)

    def start(self, spec: DomainSpec) -> Domain:
        """Start a transient domain, or find it started at the same epoch."""
        uid, epoch = spec.ownership.vm_uid, spec.ownership.epoch
        running = self.domain(uid)
        if running is None:
            self._create(spec)
            running = self.domain(uid)
        if running is None:
            raise TransientError(
                "StartFailed", f"the domain {domain_name(uid)} was gone as soon as it was started"
            )
        if running.ownership.epoch != epoch:
            raise ConflictError(
                "OtherEpoch",
                f"the domain {domain_name(uid)} runs at epoch {running.ownership.epoch},"
                f" not {epoch}",
            )
        return running

    def shutdown(self, vm_uid: str) -> None:
        """Press the ACPI power button."""
        with self._own_domain(vm_uid, "ask a guest to shut down") as domain:
            if domain is not None:
                self._exits.asked(vm_uid)
                domain.shutdownFlags(self._api.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

    def resume(self, vm_uid: str) -> None:
        """Let a domain that is paused on an I/O error try again."""
        paused = (self._api.VIR_DOMAIN_PAUSED, self._api.VIR_DOMAIN_PAUSED_IOERROR)
        with self._own_domain(vm_uid, "resume a guest") as domain:
            # What somebody else paused is not ours to resume.
            if domain is not None and tuple(domain.state()) == paused:
                domain.resume()

    def destroy(self, vm_uid: str) -> None:
        """Power off at once and wait until QEMU is gone."""
        process = self._domains.process(vm_uid)
        with self._own_domain(vm_uid, "power a guest off") as domain:
            known = domain is not None
            if domain is not None:
                domain.destroy()
        if process is None:
            return
        if not known:
            process.kill()  # a stray: nobody else can
        if not process.wait(_GONE_SECONDS):
            raise TransientError(
                "StillRunning",
                f"QEMU of {domain_name(vm_uid)} (pid {process.pid}) does not end: it waits for"
                " the kernel, most often for storage",
            )
        if not known:
            self._folders.pid_file(domain_name(vm_uid)).unlink(missing_ok=True)

    def forget(self, vm_uid: str) -> None:
        """Remove secrets, logs, what a broken start left, and the memory of the exit."""
        name = domain_name(vm_uid)
        if self.domain(vm_uid) is not None:
            raise ConflictError("StillRunning", f"the domain {name} runs: power it off first")
        with self._asking("remove the secrets of a domain") as connection:
            remove_secrets(connection, vm_uid)
        for log in self._folders.logs(name):
            log.unlink(missing_ok=True)
        for folder in self._folders.run_folders(name):
            with suppress(FileNotFoundError):
                shutil.rmtree(folder)
        self._exits.clear(vm_uid)

    def last_exit(self, vm_uid: str) -> Exit | None:
        """Return how the domain last went away: from the event, else from libvirt's log."""
        return None if self.domain(vm_uid) is not None else self._exits.last(vm_uid)

    def console_log(self, vm_uid: str) -> str:
        """Return the path of the serial console's log."""
        return str(self._folders.console_log(domain_name(vm_uid)))

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Call back when one of our domains changes state, and after each connect."""
        with self._lock:
            self._subscribers.append(callback)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _create(self, spec: DomainSpec) -> None:
        uid = spec.ownership.vm_uid
        name = domain_name(uid)
        self._exits.clear(uid)
        self._folders.prepare()
        with self._asking(f"start {name}", reason="StartFailed") as connection:
            kvm = not self._acceleration.message(connection)
            if spec.cpu_features:
                refuse_lacking(spec.cpu_features, cpu_features(connection, kvm=kvm))
            xml = domain_xml(spec, kvm=kvm, console_log=console_log_path(name))
            with secrets_of(connection, uid, spec.disks):
                connection.createXML(xml, 0)

    @contextmanager
    def _asking(
        self, doing: str, *, reason: str = "LibvirtRefused"
    ) -> Iterator[libvirt.virConnect]:
        """Give the connection, and raise libvirt's errors as ours."""
        try:
            with self._connection.use() as connection:
                yield connection
        except self._api.libvirtError as error:
            if libvirt_api.is_broken_link(error):
                self._connection.report_broken()
            raise libvirt_api.translate(error, doing, reason=reason) from error

    @contextmanager
    def _own_domain(self, vm_uid: str, doing: str) -> Iterator[libvirt.virDomain | None]:
        """Give a domain of ours, or None if it is absent; one that goes meanwhile is absent too."""
        with self._asking(doing) as connection:
            domain = self._domains.handle(connection, vm_uid)
            try:
                yield domain
            except self._api.libvirtError as error:
                if libvirt_api.is_about_lost_monitor(error):
                    return  # libvirt itself may list the domain for a moment more
                gone = libvirt_api.is_absent(error) or libvirt_api.is_about_state(error)
                if not gone or self._domains.is_up(connection, vm_uid):
                    raise

    def _event(self, name: str, uid: str, event: int, detail: int) -> None:
        if name == domain_name(uid):
            self._exits.event(uid, event, detail)
            self._tell(uid)

    def _tell(self, uid: str) -> None:
        with self._lock:
            subscribers = tuple(self._subscribers)
        for subscriber in subscribers:
            subscriber(uid)


def _version(number: int) -> str:
    """Return libvirt's one number as people write it: 9000000 is 9.0.0."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
