# SPDX-License-Identifier: Apache-2.0
"""What a host needs to run guests, judged from what was seen: a condition each, with its remedy.

Pure. True is always the good answer; Unknown says what could not be asked, and is no failure of the
thing itself. A message names no value that changes by itself: the status is to be steady.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from nopal_api.conditions import Condition, condition
from nopal_api.quantity import MIB
from nopal_runtime.errors import NopalError

from ..hypervisor.base import HypervisorFacts
from ..storage.base import PoolRedundancy
from .facts import HostFacts

LIBVIRT = "LibvirtReachable"
KVM = "KVMUsable"
CEPH = "CephReachable"
CEPH_ADDRESS = "CephAddressInCIDR"
OSD_HOSTS = "OSDHostsSufficient"
BRIDGES = "BridgesUnfiltered"
CLOCK = "ClockSynchronized"
PODS = "PodsBounded"

ENOUGH_OSD_HOSTS = 3
"""With fewer, one host that fails takes the storage of the others with it."""

_KVM_REMEDY = (
    "a tiny guest did not start with KVM: guests run by emulation, many times slower. Enable VT-x"
    " or AMD-V in the firmware (nested virtualization, if this host is a guest), then modprobe"
    " kvm_intel or kvm_amd, and restart the node daemon"
)


@dataclass(frozen=True, slots=True)
class PoolSeen:
    """One pool of the zone as this host reached it just now."""

    name: str
    """The zone's name for it."""
    error: NopalError | None = None
    """Why it does not work here; None if it does."""
    addresses: tuple[str, ...] = ()
    """This host's client addresses there, without port and nonce; empty if it was not reached."""
    version: str = ""
    """Version of the storage cluster; empty if it is not known."""
    osd_hosts: int | None = None
    """How many hosts carry the cluster's OSDs; None if nobody told."""
    redundancy: PoolRedundancy | None = None
    """How the cluster keeps the pool's copies; None if nobody told."""


@dataclass(frozen=True, slots=True)
class HostSeen:
    """All that was seen of this host in one look."""

    facts: HostFacts
    hypervisor: HypervisorFacts | NopalError
    """What the hypervisor says of itself, or why it could not be asked."""
    zone: str = ""
    """The zone that the host belongs to; empty if it belongs to none, or to one that is gone."""
    zone_gone: str = ""
    """The zone that the host still belongs to although there is no such Zone any more."""
    storage_cidrs: tuple[str, ...] = ()
    """The zone's networks for storage."""
    pools: tuple[PoolSeen, ...] = ()
    """The zone's pools."""
    reserved: int = 0
    """Bytes of memory that the zone keeps from guests (hostReserved)."""
    pods: int | None = None
    """Bytes of memory that pods may take (the Node's allocatable); None if nobody told."""

    @property
    def ceph_addresses(self) -> tuple[str, ...]:
        """This host's addresses towards its pools that lie in the zone's networks, sorted."""
        found = {address for pool in self.pools for address in pool.addresses}
        return tuple(sorted(a for a in found if _inside(a, self.storage_cidrs)))


def preflight(seen: HostSeen, *, generation: int = 0) -> tuple[Condition, ...]:
    """Judge each thing that a host needs, in the order in which a person would look at them."""
    verdicts = (
        _libvirt(seen),
        _kvm(seen),
        _ceph(seen),
        _ceph_address(seen),
        _osd_hosts(seen),
        _bridges(seen.facts),
        _clock(seen.facts),
        _pods(seen),
    )
    return tuple(
        c.model_copy(update={"observed_generation": generation or None}) for c in verdicts if c
    )


def _libvirt(seen: HostSeen) -> Condition:
    if isinstance(seen.hypervisor, NopalError):
        return condition(
            LIBVIRT,
            False,
            reason=seen.hypervisor.reason,
            message=f"{seen.hypervisor.message.rstrip('.')}: systemctl start libvirtd virtlogd."
            " Guests that run go on running",
        )
    return condition(LIBVIRT, True, reason="Reachable")


def _kvm(seen: HostSeen) -> Condition:
    if isinstance(seen.hypervisor, NopalError):
        return condition(
            KVM, "Unknown", reason="LibvirtUnreachable", message="libvirt cannot be asked"
        )
    if seen.hypervisor.kvm:
        return condition(KVM, True, reason="Usable")
    return condition(
        KVM, False, reason="Emulation", message=seen.hypervisor.kvm_message or _KVM_REMEDY
    )


def _ceph(seen: HostSeen) -> Condition:
    if not seen.zone:
        return _no_zone(CEPH, seen)
    failed = [pool for pool in seen.pools if pool.error is not None]
    if not failed:
        return condition(CEPH, True, reason="Reachable")
    words = [f"pool {p.name}: {p.error.message.rstrip('.')}" for p in failed if p.error is not None]
    reason = failed[0].error.reason if failed[0].error is not None else "StorageUnreachable"
    return condition(CEPH, False, reason=reason, message="; ".join(words))


def _ceph_address(seen: HostSeen) -> Condition:
    if not seen.zone:
        return _no_zone(CEPH_ADDRESS, seen)
    found = sorted({address for pool in seen.pools for address in pool.addresses})
    if not found:
        return condition(
            CEPH_ADDRESS,
            "Unknown",
            reason="CephUnreachable",
            message="this host's address is known when it reaches Ceph",
        )
    outside = [a for a in found if not _inside(a, seen.storage_cidrs)]
    if not outside:
        return condition(CEPH_ADDRESS, True, reason="Inside")
    return condition(
        CEPH_ADDRESS,
        False,
        reason="OutsideStorageCIDRs",
        message=f"this host reaches Ceph from {', '.join(outside)}, which is in none of the zone's"
        f" storageCIDRs ({', '.join(seen.storage_cidrs)}): it could not be fenced. Route the"
        f" monitors and OSDs through the storage network, or add the network to storageCIDRs of"
        f" Zone {seen.zone}",
    )


def _osd_hosts(seen: HostSeen) -> Condition | None:
    """Judge the storage's redundancy; nothing is said while nobody told the number."""
    counted = [pool.osd_hosts for pool in seen.pools if pool.osd_hosts is not None]
    if not counted:
        return None
    fewest = min(counted)
    if fewest >= ENOUGH_OSD_HOSTS:
        return condition(OSD_HOSTS, True, reason="Sufficient")
    return condition(
        OSD_HOSTS,
        False,
        reason="TooFewOSDHosts",
        message=f"the OSDs are on {fewest} hosts: when one fails, writes stop or data is lost. Add"
        f" OSDs on further hosts, {ENOUGH_OSD_HOSTS} at least (ceph osd tree)",
    )


def _bridges(facts: HostFacts) -> Condition:
    if facts.bridge_filter is None:
        return condition(BRIDGES, "Unknown", reason="Unreadable", message="the kernel does not say")
    if not facts.bridge_filter:
        return condition(BRIDGES, True, reason="Unfiltered")
    return condition(
        BRIDGES,
        False,
        reason="BridgeNetfilter",
        message="net.bridge.bridge-nf-call-iptables is 1: iptables drops or changes what guests"
        " send over a bridge when its FORWARD rules say so, as those of a container engine do."
        " sysctl -w net.bridge.bridge-nf-call-iptables=0, and the same line in a file of"
        " /etc/sysctl.d; if pods need it, accept bridged traffic: iptables -I FORWARD -m physdev"
        " --physdev-is-bridged -j ACCEPT",
    )


def _clock(facts: HostFacts) -> Condition:
    if facts.clock_synchronized is None:
        return condition(
            CLOCK, "Unknown", reason="Unreadable", message="the kernel does not say (adjtimex)"
        )
    if facts.clock_synchronized:
        return condition(CLOCK, True, reason="Synchronized")
    return condition(
        CLOCK,
        False,
        reason="NotSynchronized",
        message="no time server holds this host's clock; Ceph and certificates need it. Install one"
        " of chrony and systemd-timesyncd, then look at: timedatectl",
    )


def _pods(seen: HostSeen) -> Condition | None:
    """Judge whether pods and guests are given the same memory twice.

    Nothing is said where no guests are to run, or no kubelet tells what pods may take.
    """
    if not seen.zone or seen.pods is None:
        return None
    guests = max(0, seen.facts.memory - seen.reserved)
    too_much = seen.pods + guests - seen.facts.memory
    if too_much <= 0:
        return condition(PODS, True, reason="Bounded")
    return condition(
        PODS,
        False,
        reason="MemoryGivenTwice",
        message=f"pods may take {_mib(seen.pods)} (allocatable of the Kubernetes node) and guests"
        f" {_mib(guests)}, {_mib(too_much)} more than there is: when both do, the kernel kills"
        f" some. Raise systemReserved of the node's kubelet by {_mib(too_much)}, or hostReserved"
        f" of Zone {seen.zone} to {_mib(seen.pods)}",
    )


def _mib(count: int) -> str:
    return f"{-(-count // MIB)}Mi"


def _no_zone(kind: str, seen: HostSeen) -> Condition:
    if seen.zone_gone:
        return condition(
            kind, "Unknown", reason="ZoneNotFound", message=f'Zone "{seen.zone_gone}" is gone'
        )
    return condition(
        kind, "Unknown", reason="NoZone", message="this host belongs to no Zone: it has no pools"
    )


def _inside(address: str, cidrs: Sequence[str]) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    networks = [ip_network(cidr, strict=False) for cidr in cidrs]
    return any(ip.version == net.version and ip in net for net in networks)
