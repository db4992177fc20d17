# SPDX-License-Identifier: Apache-2.0
"""What of a fake host outlives its daemon: domains, their ends, consoles. Hosts share nothing.

Tests make guests misbehave here (`guest_powers_off`, `kill`, `pause_on_io_error`, `lose`...) and
put faults between the daemon's effects (`intercept`).
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from .base import STRAY_EPOCH, Domain, DomainSpec, DomainState, Exit, Ownership
from .domain_metadata import parse_ownership

Listener = Callable[[str, Exit | None], None]
_FIRST_PID = 1000


@dataclass(frozen=True, slots=True)
class Effect:
    """One change of the host that the daemon makes: start, shutdown, resume, destroy, forget."""

    name: str
    vm_uid: str
    done: bool
    """False just before it, True just after it, when the daemon has not yet heard of it."""


@dataclass(frozen=True, slots=True)
class FakeDomain:
    """One guest with its QEMU."""

    uid: str
    pid: int
    xml: str
    spec: DomainSpec | None
    """None for a foreign domain."""
    state: DomainState = DomainState.RUNNING
    io_error: bool = False
    lost: bool = False
    """QEMU runs, but libvirt knows nothing of it."""

    @property
    def foreign(self) -> bool:
        """Whether it is somebody else's."""
        return self.spec is None

    def describe(self) -> Domain:
        """Return what the daemon is told."""
        ownership = None if self.lost else parse_ownership(self.xml)
        if ownership is None:
            ownership = Ownership(
                vm_uid=self.uid,
                epoch=STRAY_EPOCH,
                cluster_uid="",
                host_uid="",
                namespace="",
                name="",
            )
        return Domain(ownership, self.state, pid=self.pid, io_error=self.io_error)


@dataclass(slots=True)
class FakeHostState:
    """One host. Change it from any thread."""

    kvm: bool = False
    cpu_features: tuple[str, ...] = ("avx2", "sse4.2")
    """CPU features that a guest can have."""
    folder: Path | None = None
    """Where console logs are written, if at all."""
    reachable: bool = True
    domains: dict[str, FakeDomain] = field(default_factory=dict)
    records: dict[str, Exit] = field(default_factory=dict)
    """How domains ended, as libvirt's logs tell."""
    starts: list[tuple[str, int]] = field(default_factory=list)
    """Every start there ever was: VM UID and epoch."""
    ignores_acpi: set[str] = field(default_factory=set)
    """Guests that do not react to the power button."""
    refuses_start: dict[str, str] = field(default_factory=dict)
    """Guests that cannot be started, and why."""
    intercept: Callable[[Effect], None] = field(default=lambda _effect: None)
    """Is called before and after every effect; what it raises, the daemon gets."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    _listeners: list[Listener] = field(default_factory=list)
    _next_pid: int = _FIRST_PID

    # What befalls guests

    def guest_powers_off(self, uid: str) -> None:
        """The guest powers itself off."""
        self.end(uid, Exit.GUEST_SHUTDOWN)

    def kill(self, uid: str) -> None:
        """`kill -9` its QEMU; or the guest panics."""
        self.end(uid, Exit.CRASHED)

    def pause_on_io_error(self, uid: str) -> None:
        """A disk refuses a write."""
        self._change(uid, state=DomainState.PAUSED, io_error=True)

    def pause(self, uid: str) -> None:
        """Somebody pauses it with virsh."""
        self._change(uid, state=DomainState.PAUSED, io_error=False)

    def resume(self, uid: str) -> None:
        """It runs on."""
        self._change(uid, state=DomainState.RUNNING, io_error=False)

    def lose(self, uid: str) -> None:
        """Lose its QEMU: libvirtd was killed before it could write down that it started it."""
        with self.lock:
            self.domains[uid] = replace(self.domains[uid], lost=True)

    def add_foreign(self, uid: str) -> FakeDomain:
        """Somebody runs a domain of his own with this UUID."""
        with self.lock:
            self.domains[uid] = FakeDomain(uid, self._pid(), xml="<domain/>", spec=None)
            return self.domains[uid]

    # What befalls the host

    def power_cut(self) -> None:
        """Everything stops, and nobody could write anything down."""
        with self.lock:
            for uid in self.domains:
                self.records[uid] = Exit.UNKNOWN
            self.domains.clear()
            self._listeners.clear()

    def daemon_dies(self) -> None:
        """`kill -9` of the daemon: nobody listens any more, guests run on."""
        with self.lock:
            self._listeners.clear()

    def libvirt_goes(self) -> None:
        """Take libvirtd down: nothing can be asked and no event comes."""
        with self.lock:
            self.reachable = False

    def libvirt_returns(self) -> None:
        """Bring libvirtd back: listeners look at everything."""
        with self.lock:
            self.reachable = True
        self._publish("", None)

    def open_images(self) -> dict[str, int]:
        """Return pool/namespace/image of each disk that a guest may write, with its QEMU's pid."""
        with self.lock:
            return {
                "/".join(part for part in (disk.pool, disk.namespace, disk.image) if part): it.pid
                for it in self.domains.values()
                if it.spec is not None
                for disk in it.spec.disks
                if not disk.read_only
            }

    # What the backend needs

    def attach(self, listener: Listener) -> None:
        """Tell the listener of changes: VM UID, and how it ended."""
        with self.lock:
            self._listeners.append(listener)

    def detach(self, listener: Listener) -> None:
        """Tell the listener no more."""
        with self.lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    @contextmanager
    def effect(self, name: str, uid: str) -> Iterator[None]:
        """Surround an effect with the test's interception."""
        self.intercept(Effect(name, uid, done=False))
        yield
        self.intercept(Effect(name, uid, done=True))

    def run(self, spec: DomainSpec, xml: str) -> FakeDomain:
        """Start a guest."""
        uid = spec.ownership.vm_uid
        with self.lock:
            domain = FakeDomain(uid, self._pid(), xml, spec)
            self.domains[uid] = domain
            self.records.pop(uid, None)
            self.starts.append((uid, spec.ownership.epoch))
            if path := self.console(uid):
                path.write_text("nopal: boot\n")
        self._publish(uid, None)
        return domain

    def end(self, uid: str, how: Exit) -> None:
        """A guest is gone."""
        with self.lock:
            gone = self.domains.pop(uid)
            self.records[uid] = Exit.UNKNOWN if gone.lost else how
        if not gone.lost:
            self._publish(uid, how)

    def console(self, uid: str) -> Path | None:
        """Return the file of a console's log, if this host writes any."""
        return None if self.folder is None else self.folder / f"{uid}.console"

    def remove_console(self, uid: str) -> None:
        """Remove a console's log."""
        if path := self.console(uid):
            path.unlink(missing_ok=True)

    def _change(self, uid: str, *, state: DomainState, io_error: bool) -> None:
        with self.lock:
            self.domains[uid] = replace(self.domains[uid], state=state, io_error=io_error)
        self._publish(uid, None)

    def _publish(self, uid: str, end: Exit | None) -> None:
        with self.lock:
            listeners = tuple(self._listeners) if self.reachable else ()
        for listener in listeners:
            listener(uid, end)

    def _pid(self) -> int:
        self._next_pid += 1
        return self._next_pid
