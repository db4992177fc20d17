# SPDX-License-Identifier: Apache-2.0
"""The hypervisor as the daemon sees it: transient domains, identified by the VM's UID."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class DomainState(Enum):
    """What the hypervisor says of a domain that exists."""

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
    UNKNOWN = "Unknown"
    """Nobody watched and no record tells."""


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
    """All that is needed to start a domain. UUID is the VM's UID; the domain's name is derived from it."""

    ownership: Ownership
    cores: int
    memory: int
    """Bytes, whole MiB."""
    disks: tuple[RbdDisk, ...]
    interfaces: tuple[BridgeInterface, ...]


@dataclass(frozen=True, slots=True)
class HypervisorFacts:
    """What this hypervisor is."""

    libvirt_version: str
    qemu_version: str
    kvm: bool
    """KVM was tried and works."""
    kvm_message: str
    """Why it does not, and the remedy; empty when it works."""


class Hypervisor(ABC):
    """Domains of this host. Blocking: callers run it in a bounded pool of threads.

    Every method raises `TransientError` (reason HypervisorUnreachable) when the hypervisor cannot
    be asked: that is "unknown", never "stopped".
    """

    @abstractmethod
    def facts(self) -> HypervisorFacts:
        """Return versions and whether KVM works. KVM is probed once by starting a tiny guest."""

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
        """Start a transient domain. One with the same UUID that is ours at the same epoch is success;
        at another epoch it is ConflictError (reason OtherEpoch).

        Raises TerminalError (reason StartFailed) with the hypervisor's words.
        """  # noqa: D205 - one sentence

    @abstractmethod
    def shutdown(self, vm_uid: str) -> None:
        """Ask the guest to shut down (ACPI). Absent is success."""

    @abstractmethod
    def resume(self, vm_uid: str) -> None:
        """Let a domain that is paused on an I/O error try again. Absent or running is success."""

    @abstractmethod
    def destroy(self, vm_uid: str) -> None:
        """Power off at once and wait until QEMU is gone. Absent is success."""

    @abstractmethod
    def forget(self, vm_uid: str) -> None:
        """Remove what is left of a stopped domain: secrets, console log. Absent is success."""

    @abstractmethod
    def last_exit(self, vm_uid: str) -> Exit | None:
        """Return how the domain last went away: from the event, else from the host's records.

        None if it exists, or never existed as far as anybody knows.
        """

    @abstractmethod
    def console_log(self, vm_uid: str) -> str:
        """Return the path of the serial console's log on this host."""

    @abstractmethod
    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Call back (from any thread) with the VM UID when one of our domains changes state.

        A hint only; also called with an empty string after a reconnect: look at everything.
        """

    @abstractmethod
    def close(self) -> None:
        """Close connections and threads. Guests run on."""
