# SPDX-License-Identifier: Apache-2.0
"""The daemon's whole part of a Host's status, from what was seen. Pure.

What cannot be asked just now keeps its last known value: versions do not vanish because libvirt
restarts, and the Ceph addresses, by which a host is fenced, must be there exactly when it is ill.
"""

from collections.abc import Iterable, Sequence

from nopal_api.conditions import Condition, condition, find, is_true
from nopal_api.host import HostNetwork, HostStatus, HostVersions
from nopal_api.quantity import MIB
from nopal_api.shared import Resources

from ..hypervisor.base import HypervisorFacts
from .pool_report import pool_reports
from .preflight import (
    BRIDGES,
    CEPH,
    CEPH_ADDRESS,
    CLOCK,
    KVM,
    LIBVIRT,
    OSD_HOSTS,
    PODS,
    HostSeen,
    preflight,
)

READY = "Ready"
REQUIRED = (LIBVIRT, CEPH, CEPH_ADDRESS)
"""Without these no guest can be started here, or none that could be fenced."""
ADVISORY = (KVM, OSD_HOSTS, BRIDGES, CLOCK, PODS)
"""A host works without these, worse."""


def host_status(
    seen: HostSeen,
    *,
    previous: HostStatus,
    node_uid: str,
    networks: Iterable[HostNetwork] = (),
    ceph_version: str = "",
    extra: Sequence[Condition] = (),
    generation: int = 0,
) -> HostStatus:
    """Return what the daemon reports: all of its fields, and none of the operator's.

    Args:
        seen: What was seen just now.
        previous: The status as it is; for what cannot be asked now.
        node_uid: UID of the Kubernetes Node.
        networks: The zone's networks as this host realizes them.
        ceph_version: Version of the Ceph client libraries; empty if it is not known.
        extra: Further conditions of the daemon's, such as OrphansHeld.
        generation: The Host's metadata.generation.
    """
    checks = preflight(seen, generation=generation)
    hypervisor = seen.hypervisor if isinstance(seen.hypervisor, HypervisorFacts) else None
    before = previous.versions or HostVersions()
    acceleration = previous.acceleration
    if hypervisor is not None:
        acceleration = "KVM" if hypervisor.kvm else "Emulation"
    return HostStatus(
        node_uid=node_uid,
        boot_id=seen.facts.boot_id,
        capacity=Resources(cpu=seen.facts.cpu_threads, memory=f"{seen.facts.memory // MIB}Mi"),
        versions=HostVersions(
            libvirt=hypervisor.libvirt_version if hypervisor else before.libvirt,
            qemu=hypervisor.qemu_version if hypervisor else before.qemu,
            ceph=ceph_version or before.ceph,
            kernel=seen.facts.kernel,
        ),
        acceleration=acceleration,
        cpu_features=hypervisor.cpu_features if hypervisor else previous.cpu_features,
        ceph_addresses=_addresses(seen, previous.ceph_addresses),
        networks=tuple(sorted(networks, key=lambda network: network.name)),
        pools=pool_reports(seen.pools, previous.pools),
        conditions=(summary(seen, checks, generation=generation), *checks, *extra),
    )


def _addresses(seen: HostSeen, before: tuple[str, ...]) -> tuple[str, ...]:
    """Return this host's addresses towards Ceph: none is forgotten while a pool is out of reach."""
    if seen.pools and all(pool.addresses for pool in seen.pools):
        return seen.ceph_addresses
    return tuple(sorted({*seen.ceph_addresses, *before}))


def summary(seen: HostSeen, checks: Sequence[Condition], *, generation: int = 0) -> Condition:
    """Return the condition Ready: whether guests can be started here, and if not, why."""
    if seen.zone_gone:
        return condition(
            READY,
            False,
            reason="ZoneNotFound",
            message=f'Zone "{seen.zone_gone}" of this host is gone: create it again with the same'
            " pools",
            generation=generation,
        )
    if not seen.zone:
        return condition(
            READY,
            False,
            reason="NoZone",
            message="no Zone selects this node: give it the labels of a Zone's nodeSelector"
            " (kubectl label node), or make a Zone",
            generation=generation,
        )
    for kind in REQUIRED:
        failed = find(checks, kind)
        if failed is None or failed.status != "True":
            return condition(
                READY,
                False,
                reason=failed.reason if failed else "Unknown",
                message=f"{kind}: {failed.message}" if failed else f"{kind} is not known",
                generation=generation,
            )
    worse = [k for k in ADVISORY if find(checks, k) is not None and not is_true(checks, k)]
    return condition(
        READY,
        True,
        reason="Ready",
        message=f"look at {', '.join(worse)}" if worse else "",
        generation=generation,
    )
