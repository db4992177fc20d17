# SPDX-License-Identifier: Apache-2.0
"""The conditions of each kind and the reasons that they can have: for the reference.

A condition's message names the object and the remedy; here stands what each reason means.
"""

from dataclasses import dataclass

from .conditions import ConditionStatus


@dataclass(frozen=True, slots=True)
class Reason:
    """One word that a condition can have as its reason."""

    name: str
    status: ConditionStatus
    meaning: str


@dataclass(frozen=True, slots=True)
class ConditionType:
    """A condition and all its reasons."""

    type: str
    meaning: str
    reasons: tuple[Reason, ...]


def _no(name: str, meaning: str) -> Reason:
    return Reason(name, "False", meaning)


def _yes(name: str, meaning: str) -> Reason:
    return Reason(name, "True", meaning)


def _unknown(name: str, meaning: str) -> Reason:
    return Reason(name, "Unknown", meaning)


_ZONE_NOT_FOUND = _no("ZoneNotFound", "There is no Zone of that name.")
_NOT_ALLOWED = _no(
    "NamespaceNotAllowed", "The Zone, Network or Image does not allow this namespace."
)
_POOL_NOT_FOUND = _no("PoolNotFound", "The zone has no such pool, or Ceph has not.")
_SOURCE = (
    _no("ImageNotFound", "The Image that the disk starts from does not exist."),
    _no("ImageNotReady", "The Image is still being fetched, or could not be."),
    _no("ImageTooLarge", "The Image holds more than the Disk's size."),
)
_STORAGE = (
    _POOL_NOT_FOUND,
    _no("PoolFull", "The pool has no room left."),
    _no("StorageError", "Ceph reports an error of another kind; it is tried again."),
    _no("StorageUnreachable", "The host does not reach Ceph's monitors or OSDs."),
    _no("WrongCluster", "These monitors belong to a Ceph cluster with another fsid."),
    _no("AccessDenied", "Ceph refuses the host's key, or what the key may do is not enough."),
    _no("CephSecretNotFound", "The Secret, or the host's entry in it, does not exist."),
    _no("CephSecretForbidden", "The node daemon may not read the Secret with the Ceph keys."),
)
_DISK_IMAGE = (
    _no("ImageConflict", "An RBD image of that name belongs to something else."),
    _no("ParentNotFound", "The snapshot to clone from is gone."),
    _no("DataLost", "The RBD image was made before and is gone: it is never made anew."),
)
_RUNNING_TWICE = (
    _no("ForeignWatcher", "Another client has the RBD image open: the guest is not started."),
    _no("OwnershipUnclear", "The RBD image was claimed by a later assignment than this one."),
)
_NO_ZONE_YET = (
    _unknown("NoZone", "The host belongs to no zone yet, so there is no pool to try."),
    _unknown("ZoneNotFound", "The host's Zone is gone, so there is no pool to try."),
)
_ZONE_GONE = _no("ZoneNotFound", "The host's Zone is gone while something of it is on the host.")
_UNREADABLE = _unknown("Unreadable", "The kernel does not say.")
_UNREACHABLE = _unknown(
    "HostUnreachable", "The host's heartbeat is lost; its guests may run on meanwhile."
)
_HYPERVISOR = _unknown("HypervisorUnreachable", "The host's libvirt does not answer.")


def _deleting(what: str) -> ConditionType:
    return ConditionType(
        "Deleting",
        f"Whether a deletion is under way. Only there while the {what} is being deleted.",
        (
            _no("InUse", "It waits; the message says for what."),
            _yes("Removing", "What is left on hosts or in pools is being removed."),
        ),
    )


COMMON: tuple[Reason, ...] = (
    _no("ApiUnavailable", "kube-apiserver does not answer; it is tried again."),
    _no("Forbidden", "kube-apiserver refuses it: compare the roles with those of the chart."),
    _no(
        "InvalidObject", "The object is not what the schema says: are the CRDs those of the chart?"
    ),
    _no("InternalError", "Something unforeseen; the log tells what. It is tried again."),
    _no("CephLibrariesMissing", "python3-rados and python3-rbd are not installed on the host."),
    _no("LibvirtMissing", "python3-libvirt is not installed on the host."),
    _no("ModuleMissing", "The kernel lacks a module; the message names it."),
)
"""Reasons that any condition can have."""

CONDITIONS: dict[str, tuple[ConditionType, ...]] = {
    "Zone": (
        ConditionType(
            "Ready",
            "Whether the zone has a ready host, and its hosts are its own.",
            (
                _yes("HostsReady", "At least one host is ready."),
                _no("NoHosts", "No node that the selector matches has a Host."),
                _no("NoReadyHost", "No host is ready."),
                _no("ZoneConflict", "A node that the selector matches belongs to another zone."),
            ),
        ),
        ConditionType(
            "Redundant",
            "Whether the zone survives as many failures as spec.redundancy asks for. Only there"
            " where it asks for one at least; status.redundancy has each part.",
            (
                _yes("Survives", "It does: proven for virtual machines, copies and space."),
                _no("ComputeNotProven", "No proof was found that all virtual machines restart."),
                _no("ComputeImpossible", "Not all virtual machines could restart."),
                _no("HostsDown", "Hosts are lost already, with virtual machines that restart."),
                _no("TooFewCopies", "A pool keeps too few copies, or too many close together."),
                _no("TooLittleSpace", "Ceph has too little space to make lost copies anew."),
                _unknown("HostsUnclear", "Not every host has been heard of yet."),
                _unknown("PoolsUnknown", "No ready host reports on a pool."),
            ),
        ),
    ),
    "Host": (
        ConditionType(
            "Ready",
            "Whether the host can run virtual machines. False has the reason of the first check"
            " below that failed and without which no guest can run.",
            (
                _yes("Ready", "It can; the message names checks that failed all the same."),
                _no("NoZone", "No zone's selector matches the node's labels."),
                _ZONE_GONE,
                _UNREACHABLE,
                _HYPERVISOR,
            ),
        ),
        ConditionType(
            "LibvirtReachable",
            "Check: the host's libvirt answers.",
            (
                _yes("Reachable", "It answers."),
                _no("HypervisorUnreachable", "It does not."),
            ),
        ),
        ConditionType(
            "KVMUsable",
            "Check: guests run with hardware virtualization. Without it they run all the same, but"
            " slowly.",
            (
                _yes("Usable", "A tiny guest was started with KVM."),
                _no("Emulation", "It did not start with KVM."),
                _unknown("LibvirtUnreachable", "libvirt cannot be asked."),
            ),
        ),
        ConditionType(
            "CephReachable",
            "Check: every pool of the zone can be used with this host's own key.",
            (_yes("Reachable", "Every pool."), *_NO_ZONE_YET, *_STORAGE),
        ),
        ConditionType(
            "CephAddressInCIDR",
            "Check: this host talks to Ceph from an address in the zone's storageCIDRs, so that it"
            " can be fenced.",
            (
                _yes("Inside", "It does."),
                _no("OutsideStorageCIDRs", "It does not."),
                _unknown("CephUnreachable", "The address is known when it reaches Ceph."),
                *_NO_ZONE_YET,
            ),
        ),
        ConditionType(
            "OSDHostsSufficient",
            "Check: Ceph's OSDs are on three hosts at least.",
            (_yes("Sufficient", "They are."), _no("TooFewOSDHosts", "They are not.")),
        ),
        ConditionType(
            "BridgesUnfiltered",
            "Check: iptables does not filter what guests send over a bridge.",
            (
                _yes("Unfiltered", "It does not."),
                _no("BridgeNetfilter", "net.bridge.bridge-nf-call-iptables is 1."),
                _UNREADABLE,
            ),
        ),
        ConditionType(
            "ClockSynchronized",
            "Check: a time server holds the host's clock.",
            (
                _yes("Synchronized", "It does."),
                _no("NotSynchronized", "None does."),
                _UNREADABLE,
            ),
        ),
        ConditionType(
            "PodsBounded",
            "Check: what pods may take of the host's memory and what guests may take is together at"
            " most the machine. Not there where no kubelet tells what pods may take.",
            (
                _yes("Bounded", "It is."),
                _no("MemoryGivenTwice", "It is more; the message says what to set to what."),
            ),
        ),
        ConditionType(
            "InZone",
            "Which zone the host belongs to.",
            (
                _yes("Selected", "A zone's selector matches the node's labels."),
                _yes("Leaving", "The selector does not match any more, but guests are left."),
                _yes("ZoneConflict", "A second zone selects the node; it stays in its first."),
                _no("NoZone", "No zone's selector matches the node's labels."),
                _ZONE_GONE,
                _unknown("NodeNotFound", "There is no Kubernetes node of that name."),
            ),
        ),
        ConditionType(
            "OrphansHeld",
            "Whether domains without a VirtualMachine run there that Nopal does not dare to"
            " remove. Only there while it is so.",
            (_yes("OrphansHeld", "The message says why, and what to do."),),
        ),
        _deleting("Host"),
    ),
    "Network": (
        ConditionType(
            "Ready",
            "Whether every ready host of the zone realizes the network.",
            (
                _yes("Realized", "On every ready host."),
                _no("NotRealized", "Not on these hosts; see status.networks of the Host."),
                _no("NoReadyHost", "No host of the zone is ready."),
                _ZONE_NOT_FOUND,
            ),
        ),
        _deleting("Network"),
    ),
    "Image": (
        ConditionType(
            "Ready",
            "Whether every pool that needs the image has it. Where a host could not fetch it, the"
            " reason is that of the pool in status.pools.",
            (
                _yes("Fetched", "Every pool that needs it has it."),
                _no("Fetching", "A host fetches it; status.pools has the progress."),
                _no("Failed", "It could not be fetched."),
                _no("DownloadFailed", "The server did not deliver the file; it is tried again."),
                _no("DownloadRefused", "The server's answer is not followed: see the message."),
                _no("ChecksumMismatch", "The file has another SHA-256."),
                _no("FormatMismatch", "The file is not what format says, or is broken."),
                _no(
                    "UnsafeImage",
                    "The file refers to other files, is encrypted, or has an unknown feature.",
                ),
                _no("ConversionTooSlow", "Its conversion to raw took longer than hosts allow."),
                _no(
                    "ConversionKilled",
                    "qemu-img was killed or ran out of memory; it is tried again.",
                ),
                _no("QemuImgMissing", "qemu-img, or its driver for RBD, is not installed there."),
                _no("SandboxFailed", "qemu-img could not be confined, so it was not run."),
                _no("ImageTooLarge", "The file or what it holds is larger than hosts allow."),
                _no("NoReadyHost", "No host is ready to fetch it."),
                _ZONE_NOT_FOUND,
                *_STORAGE,
            ),
        ),
        _deleting("Image"),
    ),
    "Disk": (
        ConditionType(
            "Ready",
            "Whether the RBD image exists and is as asked for.",
            (
                _yes("Ready", "It exists."),
                _no("Deleted", "The Disk goes, its RBD image is in the trash for some time."),
                _no("Retained", "The Disk goes, its RBD image stays."),
                _no("NoReadyHost", "No host of the zone is ready to make it."),
                _no("VirtualMachineGone", "Its VirtualMachine is gone, but the guest still runs."),
                _no("ImageInUse", "Its VirtualMachine is gone, but a client has the image open."),
                _ZONE_NOT_FOUND,
                _NOT_ALLOWED,
                *_SOURCE,
                *_DISK_IMAGE,
                *_STORAGE,
            ),
        ),
        _deleting("Disk"),
    ),
    "VirtualMachine": (
        ConditionType(
            "Scheduled",
            "Whether it is assigned to a host. While it is not, Ready has the same reason.",
            (
                _yes("Assigned", "It has a host, and its disks are claimed."),
                _no("Unschedulable", "It fits on no host; the message says why, host by host."),
                _no(
                    "RedundancyNotKept",
                    "It fits on a host, but it is not proven that the zone survives with it what"
                    " spec.redundancy asks for, or does without it.",
                ),
                _no("Stopped", "powerState is Stopped: it takes no room."),
                _no("GuestShutdown", "The guest shut itself down and restartPolicy leaves it so."),
                _no("Crashed", "The guest crashed and restartPolicy leaves it so."),
                _no("Unknown", "The guest went down unwatched and restartPolicy leaves it so."),
                _no("DiskNotFound", "A Disk does not exist in this namespace."),
                _no("DiskInUse", "Another VirtualMachine has claimed a Disk."),
                _no("DiskInOtherZone", "A Disk is in another zone."),
                _no("NetworkNotFound", "A Network does not exist."),
                _no("NetworkInOtherZone", "A Network is in another zone."),
                _no("MACConflict", "Another interface of the network has the same MAC address."),
                _ZONE_NOT_FOUND,
                _NOT_ALLOWED,
                _POOL_NOT_FOUND,
                *_SOURCE,
            ),
        ),
        ConditionType(
            "DisksReady",
            "Whether its host has made or found every disk.",
            (
                _yes("Ready", "All are there."),
                _unknown("Pending", "Its host has not looked yet."),
                _ZONE_NOT_FOUND,
                *_DISK_IMAGE,
                *_RUNNING_TWICE,
                *_STORAGE,
            ),
        ),
        ConditionType(
            "Ready",
            "Whether the guest runs as asked.",
            (
                _yes("Running", "It runs."),
                _no("Starting", "It is being started."),
                _no("Stopping", "The guest was asked to shut down."),
                _no("Stopped", "It is stopped, as asked."),
                _no("Paused", "Somebody paused it on its host."),
                _no("DiskError", "It is paused because a disk refused a write."),
                _no("GuestShutdown", "The guest shut itself down."),
                _no("GuestCrashed", "Its QEMU process died."),
                _no("GuestGone", "It was found gone; nobody watched."),
                _no("DiskNotFound", "A Disk that was claimed is gone."),
                _no("DiskNotClaimed", "A Disk is not claimed for this assignment (yet)."),
                _no("NetworkNotRealized", "A Network's bridge is not on its host."),
                _no("StartFailed", "libvirt could not start it; it is tried again."),
                _no(
                    "NamespaceUnsupported",
                    "The disk lies in an RBD namespace, which the host's libvirt cannot attach.",
                ),
                _no("LibvirtRefused", "libvirt reports an error; it is tried again."),
                _no("InvalidDomain", "What was asked for cannot be written as a libvirt domain."),
                _no("InvalidKey", "The host's entry in the Ceph Secret is no cephx key."),
                _no("StillRunning", "The guest does not end although it was powered off."),
                _no("OtherEpoch", "A guest of another assignment runs on the host."),
                _no("NotSettling", "Its host goes round in circles; it looks again later."),
                _no("ForeignDomain", "A domain that is not Nopal's has its name or UUID."),
                _no("SecretNotFound", "The Secret of userDataSecretRef, or its key, is absent."),
                _no("SecretForbidden", "The node daemon may not read that Secret."),
                _no("LeaseNotFresh", "Its host lost touch with kube-apiserver and starts nothing."),
                _no("NotRegistered", "Its host's Host object is not made yet."),
                _no("AssignmentChanged", "The assignment changed while it was being started."),
                _unknown("EpochAhead", "It runs at a later epoch than the API knows: left alone."),
                _UNREACHABLE,
                _HYPERVISOR,
            ),
        ),
    ),
}
