# SPDX-License-Identifier: Apache-2.0
"""A hypervisor in memory with the real one's behaviour: `FakeHypervisor(host)`.

The host (see `fake_host`) outlives the daemon, as QEMU, libvirt and their logs do; what this class
itself holds dies with the daemon.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nopal_runtime.errors import ConflictError, TransientError

from .base import Domain, DomainSpec, Exit, Hypervisor, HypervisorFacts
from .cpu_features import refuse_lacking
from .domain_xml import domain_name, domain_xml
from .fake_host import FakeDomain, FakeHostState
from .host_folders import console_log_path


class FakeHypervisor(Hypervisor):
    """One daemon's view of a fake host."""

    def __init__(self, host: FakeHostState) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._subscribers: list[Callable[[str], None]] = []
        self._exits: dict[str, Exit] = {}
        self._stopping: set[str] = set()
        host.attach(self._event)

    def facts(self) -> HypervisorFacts:
        """Return what the host was told to be."""
        with self._asking():
            return HypervisorFacts(
                libvirt_version="9.0.0",
                qemu_version="7.2.22",
                kvm=self._host.kvm,
                kvm_message="" if self._host.kvm else "this host is a fake",
                cpu_features=tuple(sorted(self._host.cpu_features)),
            )

    def domains(self) -> dict[str, Domain]:
        """Return every domain of ours by VM UID."""
        with self._asking() as host:
            return {
                uid: domain.describe() for uid, domain in host.domains.items() if not domain.foreign
            }

    def domain(self, vm_uid: str) -> Domain | None:
        """Return one domain, None if it is known to be absent."""
        with self._asking():
            found = self._owned(vm_uid)
            return found.describe() if found else None

    def start(self, spec: DomainSpec) -> Domain:
        """Start a domain, or find it started at the same epoch."""
        uid, epoch = spec.ownership.vm_uid, spec.ownership.epoch
        with self._asking() as host:
            running = self._owned(uid)
            if running is None:
                running = self._create(host, spec)
            found = running.describe()
            if found.ownership.epoch != epoch:
                raise ConflictError(
                    "OtherEpoch",
                    f"the domain {domain_name(uid)} runs at epoch {found.ownership.epoch},"
                    f" not {epoch}",
                )
            return found

    def shutdown(self, vm_uid: str) -> None:
        """Press the power button; guests obey at once, unless they ignore it."""
        with self._asking() as host:
            if self._owned(vm_uid) is None:
                return
            with host.effect("shutdown", vm_uid):
                self._stopping.add(vm_uid)
                if vm_uid not in host.ignores_acpi:
                    host.guest_powers_off(vm_uid)

    def resume(self, vm_uid: str) -> None:
        """Let a domain that is paused on an I/O error try again."""
        with self._asking() as host:
            domain = self._owned(vm_uid)
            if domain is not None and domain.io_error:
                with host.effect("resume", vm_uid):
                    host.resume(vm_uid)

    def destroy(self, vm_uid: str) -> None:
        """Power off at once."""
        with self._asking() as host:
            if self._owned(vm_uid) is not None:
                with host.effect("destroy", vm_uid):
                    host.end(vm_uid, Exit.DESTROYED)

    def forget(self, vm_uid: str) -> None:
        """Remove logs and the memory of the exit."""
        with self._asking() as host:
            if self._owned(vm_uid) is not None:
                raise ConflictError(
                    "StillRunning", f"the domain {domain_name(vm_uid)} runs: power it off first"
                )
            with host.effect("forget", vm_uid):
                host.records.pop(vm_uid, None)
                host.remove_console(vm_uid)
                self._exits.pop(vm_uid, None)
                self._stopping.discard(vm_uid)

    def last_exit(self, vm_uid: str) -> Exit | None:
        """Return how the domain last went away: from the event, else from the host's records."""
        with self._asking() as host:
            if self._owned(vm_uid) is not None:
                return None
            told = self._exits.get(vm_uid) or host.records.get(vm_uid)
            asked = vm_uid in self._stopping
            return Exit.DESTROYED if asked and told is Exit.GUEST_SHUTDOWN else told

    def console_log(self, vm_uid: str) -> str:
        """Return the path of the console's log; there is a file only if the host has a folder."""
        return str(self._host.console(vm_uid) or console_log_path(domain_name(vm_uid)))

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Call back when a domain changes state, and when the host is reachable again."""
        with self._lock:
            self._subscribers.append(callback)

    def close(self) -> None:
        """Hear of no more events."""
        self._host.detach(self._event)

    def _create(self, host: FakeHostState, spec: DomainSpec) -> FakeDomain:
        uid = spec.ownership.vm_uid
        # The real XML, for the same refusals.
        xml = domain_xml(spec, kvm=host.kvm, console_log=console_log_path(domain_name(uid)))
        with host.effect("start", uid):
            self._exits.pop(uid, None)
            self._stopping.discard(uid)
            if uid in host.refuses_start:
                raise TransientError("StartFailed", host.refuses_start[uid])
            refuse_lacking(spec.cpu_features, host.cpu_features)
            return host.run(spec, xml)

    @contextmanager
    def _asking(self) -> Iterator[FakeHostState]:
        with self._host.lock:
            if not self._host.reachable:
                raise TransientError("HypervisorUnreachable", "this fake host is unreachable")
            yield self._host

    def _owned(self, vm_uid: str) -> FakeDomain | None:
        domain = self._host.domains.get(vm_uid)
        if domain is not None and domain.foreign:
            raise ConflictError(
                "ForeignDomain",
                f"a domain with the UUID {vm_uid} is not Nopal's: it is left alone",
            )
        return domain

    def _event(self, uid: str, end: Exit | None) -> None:
        if uid and end is not None:
            self._exits[uid] = end
        with self._lock:
            subscribers = tuple(self._subscribers)
        for subscriber in subscribers:
            subscriber(uid)
