# SPDX-License-Identifier: Apache-2.0
"""The hypervisor as the daemon sees it: transient domains, identified by the VM's UID."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class DomainState(Enum):
    """What the hypervisor says of a domain that exists."""

    STARTING = "Starting"
    """Its processors have never run. One that the hypervisor did not survive is given up."""
    RUNNING = "Running"
    PAUSED = "Paused"
    """Stopped on an I/O error, or by somebody."""
    SHUTTING_DOWN = "ShuttingDown"


class Exit(Enum):
    """How a domain went away."""

    GUEST_SHUTDOWN = "GuestShutdown"
    """The guest powered off by itself."""
    CRASHED = "Crashed"
    """QEMU died, or the guest panicked."""
    DESTROYED = "Destroyed"
    """We, or somebody with virsh, powered it off, or it shut down because we asked it to."""
    ABANDONED = "Abandoned"
    """The hypervisor came back and gave it up: it was not fully started, or did not answer."""
    UNKNOWN = "Unknown"
    """Nobody watched and no record tells."""


STRAY_EPOCH = 0
"""Epoch of a QEMU that runs though the hypervisor has lost it (which was killed at a bad moment):
below every assignment's, so that it is powered off like any superseded domain. The other words of
its ownership are empty."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """What a domain's metadata says: whose it is. In the XML namespace https://nopal.dev/xmlns/domain/1."""

    vm_uid: str
    epoch: int
    cluster_uid: str
    """UID of the kube-system namespace: the Kubernetes cluster that the domain belongs to."""
    host_uid: str
    """UID of the Host object when the domain was started: another one means that kube-apiserver
    lost its objects since then."""
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Domain:
    """A running (or paused) domain of ours."""

    ownership: Ownership
    state: DomainState
    pid: int | None = None
    io_error: bool = False
    """It is paused because a disk refused a write or a read."""


@dataclass(frozen=True, slots=True)
class RbdDisk:
    """A virtio disk, raw on RBD."""

    serial: str
    """What the guest sees in /dev/disk/by-id/virtio-SERIAL: at most 20 letters, digits, - . _"""
    pool: str
    namespace: str
    image: str
    monitors: tuple[str, ...]
    user: str
    key: str = field(repr=False)
    boot_order: int | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class BridgeInterface:
    """A virtio interface on a Linux bridge."""

    bridge: str
    mac: str
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """All that is needed to start a domain. Its UUID is the VM's UID, its name follows from it."""

    ownership: Ownership
    cores: int
    memory: int
    """Bytes, whole MiB."""
    disks: tuple[RbdDisk, ...]
    interfaces: tuple[BridgeInterface, ...]
    cpu_features: tuple[str, ...] = ()
    """CPU features without which the guest is not started, by libvirt's names."""


@dataclass(frozen=True, slots=True)
class HypervisorFacts:
    """What this hypervisor is."""

    libvirt_version: str
    qemu_version: str
    kvm: bool
    """KVM was tried and works."""
    kvm_message: str
    """Why it does not, and the remedy; empty when it works."""
    cpu_features: tuple[str, ...]
    """CPU features that a guest can have, by libvirt's names, sorted; none where it cannot tell."""


class Hypervisor(ABC):
    """Domains of this host. Blocking: callers run it in a bounded pool of threads.

    Every method raises `TransientError` (reason HypervisorUnreachable) when the hypervisor cannot
    be asked: that is "unknown", never "stopped".
    """

    @abstractmethod
    def facts(self) -> HypervisorFacts:
        """Return versions, whether KVM works and what a guest's processor can be.

        KVM is probed once by starting a tiny guest.
        """

    @abstractmethod
    def domains(self) -> dict[str, Domain]:
        """Return every domain of ours by VM UID. Domains without our metadata are not ours."""

    @abstractmethod
    def domain(self, vm_uid: str) -> Domain | None:
        """Return one domain, None if it is known to be absent.

        Raises ConflictError (reason ForeignDomain) if a domain with that UUID is not ours.
        """

    @abstractmethod
    def start(self, spec: DomainSpec) -> Domain:
        """Start a transient domain. One with the same UUID that is ours at the same epoch is
        success; at another epoch it is ConflictError (reason OtherEpoch).

        Raises TransientError (reason StartFailed) with the hypervisor's words: what keeps a guest
        from starting is most often its host's or its storage's; TerminalError (StartFailed,
        InvalidDomain, InvalidKey) if what was asked for can never be started.
        """  # noqa: D205 - one sentence

    @abstractmethod
    def shutdown(self, vm_uid: str) -> None:
        """Ask the guest to shut down (ACPI). Absent is success."""

    @abstractmethod
    def resume(self, vm_uid: str) -> None:
        """Let a domain that is paused on an I/O error try again. Absent or running is success."""

    @abstractmethod
    def destroy(self, vm_uid: str) -> None:
        """Power off at once and wait until QEMU is gone. Absent is success.

        Raises TransientError (reason StillRunning) if QEMU does not end.
        """

    @abstractmethod
    def forget(self, vm_uid: str) -> None:
        """Remove what is left of a stopped domain: secrets, logs, memory of its exit. Absent is
        success.

        Raises ConflictError (reason StillRunning) if it runs.
        """  # noqa: D205 - one sentence

    @abstractmethod
    def last_exit(self, vm_uid: str) -> Exit | None:
        """Return how the domain last went away: from the event, else from the host's records.

        None if it exists, or never existed as far as anybody knows.
        """

    @abstractmethod
    def console_log(self, vm_uid: str) -> str:
        """Return the path of the serial console's log, where this process sees it.

        Each start of the guest begins it anew.
        """

    @abstractmethod
    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Call back (from any thread) with the VM UID when one of our domains changes state.

        A hint only; also called with an empty string after each connect: look at everything.
        """

    @abstractmethod
    def close(self) -> None:
        """Close connections and threads. Guests run on."""
