# SPDX-License-Identifier: Apache-2.0
"""The hypervisor of a real host: libvirt and QEMU, transient domains, no state of our own."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from nopal_runtime.errors import ConflictError, TransientError

from . import libvirt_api, qemu_process
from .acceleration import Acceleration
from .base import (
    STRAY_EPOCH,
    Domain,
    DomainSpec,
    DomainState,
    Exit,
    Hypervisor,
    HypervisorFacts,
    Ownership,
)
from .domain_metadata import parse_ownership
from .domain_xml import NAMESPACE, PREFIX, domain_name, domain_xml
from .exits import TAIL_BYTES, last_exit
from .host_folders import HostFolders, console_log_path
from .libvirt_connection import LibvirtConnection
from .libvirt_secrets import remove_secrets, secrets_of

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        self._lock = threading.Lock()
        self._subscribers: list[Callable[[str], None]] = []
        self._exits: dict[str, Exit] = {}
        self._stopping: set[str] = set()
        """Guests that were asked to shut down: the event looks like one of their own."""
        self._acceleration = Acceleration(acceleration)
        self._connection = LibvirtConnection(
            uri, on_event=self._event, on_connect=lambda: self._tell("")
        )

    def facts(self) -> HypervisorFacts:
        """Return versions and whether KVM works."""
        with self._asking("ask libvirt for its version") as connection:
            message = self._acceleration.message(connection)
            return HypervisorFacts(
                libvirt_version=_version(connection.getLibVersion()),
                qemu_version=_version(connection.getVersion()),
                kvm=not message,
                kvm_message=message,
            )

    def domains(self) -> dict[str, Domain]:
        """Return every domain of ours by VM UID, strays included."""
        # The processes first: one that ends in between is then not taken for a stray.
        processes = self._processes()
        with self._asking("list the domains") as connection:
            found = {}
            for each in connection.listAllDomains(self._api.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                try:
                    domain = self._describe(each)
                except self._api.libvirtError as error:
                    if not libvirt_api.is_absent(error):
                        raise
                    continue  # it ended in between
                if domain is not None:
                    found[domain.ownership.vm_uid] = domain
            for uid, process in processes.items():
                if uid not in found and self._lookup(connection, uid) is None and process.alive:
                    found[uid] = _stray(uid, process.pid)
            return found

    def domain(self, vm_uid: str) -> Domain | None:
        """Return one domain, None if it is known to be absent."""
        process = self._process(vm_uid)
        with self._asking("look up a domain") as connection:
            found = self._lookup(connection, vm_uid)
            if found is not None:
                return self._owned(found, vm_uid)
        if process is not None and process.alive:
            return _stray(vm_uid, process.pid)
        return None

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
                with self._lock:
                    self._stopping.add(vm_uid)
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
        process = self._process(vm_uid)
        with self._own_domain(vm_uid, "power a guest off") as domain:
            known = domain is not None
            if domain is not None:
                domain.destroy()
        if process is None:
            return
        if not known:
            # libvirt has lost it, so nobody else can: see `domain`.
            process.kill()
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
        if self.domain(vm_uid) is not None:
            raise ConflictError(
                "StillRunning", f"the domain {domain_name(vm_uid)} runs: power it off first"
            )
        with self._asking("remove the secrets of a domain") as connection:
            remove_secrets(connection, vm_uid)
        for log in self._folders.logs(domain_name(vm_uid)):
            log.unlink(missing_ok=True)
        for folder in self._folders.run_folders(domain_name(vm_uid)):
            with suppress(FileNotFoundError):
                shutil.rmtree(folder)
        with self._lock:
            self._exits.pop(vm_uid, None)
            self._stopping.discard(vm_uid)

    def last_exit(self, vm_uid: str) -> Exit | None:
        """Return how the domain last went away: from the event, else from libvirt's log."""
        if self.domain(vm_uid) is not None:
            return None
        with self._lock:
            seen, asked = self._exits.get(vm_uid), vm_uid in self._stopping
        told = seen or self._recorded_exit(vm_uid)
        # A guest that was asked to shut down says the same as one that does so by itself.
        return Exit.DESTROYED if asked and told is Exit.GUEST_SHUTDOWN else told

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
        with self._lock:
            self._exits.pop(uid, None)
            self._stopping.discard(uid)
        self._folders.prepare()
        with self._asking(f"start {domain_name(uid)}", reason="StartFailed") as connection:
            xml = domain_xml(
                spec,
                kvm=not self._acceleration.message(connection),
                console_log=console_log_path(domain_name(uid)),
            )
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
        """Give a domain of ours, or None if it is absent; gone while it is used is absent too."""
        with self._asking(doing) as connection:
            domain = self._lookup(connection, vm_uid)
            if domain is not None and self._owned(domain, vm_uid) is None:
                domain = None
            try:
                yield domain
            except self._api.libvirtError as error:
                gone = libvirt_api.is_absent(error) or libvirt_api.is_about_state(error)
                if not gone or self._lookup(connection, vm_uid) is not None:
                    raise

    def _lookup(self, connection: libvirt.virConnect, vm_uid: str) -> libvirt.virDomain | None:
        try:
            return connection.lookupByUUIDString(vm_uid)
        except self._api.libvirtError as error:
            if libvirt_api.is_absent(error):
                return None
            raise

    def _owned(self, found: libvirt.virDomain, vm_uid: str) -> Domain | None:
        """Describe a domain that must be ours; None if it has just gone, or is not running."""
        try:
            domain = self._describe(found)
            if domain is None or domain.ownership.vm_uid != vm_uid:
                raise ConflictError(
                    "ForeignDomain",
                    f"a domain with the UUID {vm_uid} ({found.name()}) is not Nopal's: it is left"
                    " alone; remove it, or create the VirtualMachine anew",
                )
            return domain if found.isActive() else None
        except self._api.libvirtError as error:
            if libvirt_api.is_absent(error):
                return None
            raise

    def _describe(self, found: libvirt.virDomain) -> Domain | None:
        api = self._api
        try:
            metadata = found.metadata(api.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
        except api.libvirtError as error:
            if error.get_error_code() == api.VIR_ERR_NO_DOMAIN_METADATA:
                return None
            raise
        ownership = parse_ownership(metadata)
        if ownership is None or ownership.vm_uid != found.UUIDString():
            return None
        state, reason = found.state()
        process = self._process(ownership.vm_uid)
        return Domain(
            ownership=ownership,
            state=self._state(state),
            pid=process.pid if process else None,
            io_error=state == api.VIR_DOMAIN_PAUSED and reason == api.VIR_DOMAIN_PAUSED_IOERROR,
        )

    def _state(self, state: int) -> DomainState:
        api = self._api
        if state in (api.VIR_DOMAIN_RUNNING, api.VIR_DOMAIN_BLOCKED):
            return DomainState.RUNNING
        if state in (api.VIR_DOMAIN_SHUTDOWN, api.VIR_DOMAIN_SHUTOFF):
            return DomainState.SHUTTING_DOWN
        return DomainState.PAUSED

    def _process(self, vm_uid: str) -> qemu_process.QemuProcess | None:
        return qemu_process.find(self._folders.pid_file(domain_name(vm_uid)), vm_uid)

    def _processes(self) -> dict[str, qemu_process.QemuProcess]:
        found = {}
        for path in self._folders.pid_files(PREFIX):
            uid = path.stem.removeprefix(PREFIX)
            if process := qemu_process.find(path, uid):
                found[uid] = process
        return found

    def _recorded_exit(self, vm_uid: str) -> Exit | None:
        try:
            with self._folders.qemu_log(domain_name(vm_uid)).open("rb") as log:
                log.seek(max(0, log.seek(0, 2) - TAIL_BYTES))
                return last_exit(log.read().decode(errors="replace"))
        except FileNotFoundError:
            return None

    def _event(self, name: str, uid: str, event: int, detail: int) -> None:
        if name != domain_name(uid):
            return
        api = self._api
        with self._lock:
            if event == api.VIR_DOMAIN_EVENT_STARTED:
                self._exits.pop(uid, None)
            elif event == api.VIR_DOMAIN_EVENT_SHUTDOWN:
                if detail == api.VIR_DOMAIN_EVENT_SHUTDOWN_HOST:
                    self._stopping.add(uid)  # QEMU got a signal
            elif event == api.VIR_DOMAIN_EVENT_STOPPED:
                self._exits[uid] = {
                    api.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: Exit.GUEST_SHUTDOWN,
                    api.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: Exit.DESTROYED,
                    api.VIR_DOMAIN_EVENT_STOPPED_CRASHED: Exit.CRASHED,
                    api.VIR_DOMAIN_EVENT_STOPPED_FAILED: Exit.CRASHED,
                }.get(detail, Exit.UNKNOWN)
        self._tell(uid)

    def _tell(self, uid: str) -> None:
        with self._lock:
            subscribers = tuple(self._subscribers)
        for subscriber in subscribers:
            subscriber(uid)


def _stray(vm_uid: str, pid: int) -> Domain:
    nobody = Ownership(
        vm_uid=vm_uid, epoch=STRAY_EPOCH, cluster_uid="", host_uid="", namespace="", name=""
    )
    return Domain(ownership=nobody, state=DomainState.RUNNING, pid=pid)


def _version(number: int) -> str:
    """Return libvirt's one number as people write it: 9000000 is 9.0.0."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
