# SPDX-License-Identifier: Apache-2.0
"""The steps that a plan consists of. Each is one effect, safe to repeat after a crash."""

from dataclasses import dataclass

from nopal_api.virtualmachine import AssignedDisk, AssignedInterface


@dataclass(frozen=True, slots=True)
class ConfirmAssignment:
    """A fresh read must still want this VM to run here at this epoch; a cache does not count."""


@dataclass(frozen=True, slots=True)
class RequireBridge:
    """The interface's bridge must be there."""

    interface: AssignedInterface


@dataclass(frozen=True, slots=True)
class EnsureDisk:
    """Make the RBD image, or find it made."""

    disk: AssignedDisk


@dataclass(frozen=True, slots=True)
class FenceDeadGuest:
    """Free the image from this host's dead QEMU, which Ceph would otherwise wait 30 s for."""

    disk: AssignedDisk


@dataclass(frozen=True, slots=True)
class RefuseWatchers:
    """Nobody may have the image open; what a dead client of this host left is cleared away."""

    disk: AssignedDisk


@dataclass(frozen=True, slots=True)
class ClaimEpoch:
    """Write the epoch into the image; a higher one there refuses the start."""

    disk: AssignedDisk


@dataclass(frozen=True, slots=True)
class ConfirmDisk:
    """The Disk, read freshly, must be claimed for this VM at this epoch; the image must hold it."""

    disk: AssignedDisk


@dataclass(frozen=True, slots=True)
class WriteSeed:
    """Write the cloud-init seed."""


@dataclass(frozen=True, slots=True)
class StartDomain:
    """Start the guest, once a last fresh read has confirmed the assignment."""


@dataclass(frozen=True, slots=True)
class ShutDownDomain:
    """Ask the guest to shut down."""


@dataclass(frozen=True, slots=True)
class DestroyDomain:
    """Power the guest off."""


@dataclass(frozen=True, slots=True)
class ResumeDomain:
    """Let a guest that is paused on an I/O error try again."""


@dataclass(frozen=True, slots=True)
class ForgetDomain:
    """Remove what the hypervisor keeps of a stopped guest."""


@dataclass(frozen=True, slots=True)
class RemoveSeed:
    """Remove the cloud-init seed."""


Step = (
    ConfirmAssignment
    | RequireBridge
    | EnsureDisk
    | FenceDeadGuest
    | RefuseWatchers
    | ClaimEpoch
    | ConfirmDisk
    | WriteSeed
    | StartDomain
    | ShutDownDomain
    | DestroyDomain
    | ResumeDomain
    | ForgetDomain
    | RemoveSeed
)
