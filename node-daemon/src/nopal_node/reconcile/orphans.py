# SPDX-License-Identifier: Apache-2.0
"""Which domains may be removed because nobody wants them any more. Pure.

A missing API object alone is no reason: the daemon may talk to another or a restored cluster, or
the CRDs may be gone. See docs/architecture.md, "Orphans".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..hypervisor.base import Domain

FEW = 0.10
"""Share of the host's domains that may be orphans before all of them are held."""


@dataclass(frozen=True, slots=True)
class OrphanView:
    """What was just read, freshly, about the domains of this host."""

    domains: Mapping[str, Domain]
    """Every domain of ours by VM UID."""
    unknown: frozenset[str]
    """UIDs that a fresh read of kube-apiserver does not know."""
    cluster_uid: str
    """UID of the kube-system namespace of the cluster that was asked."""
    host_uid: str
    """UID of this host's Host object now."""
    now: float
    """Monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do."""

    remove: tuple[str, ...] = ()
    """UIDs of the domains to remove."""
    held: tuple[str, ...] = ()
    """UIDs of the domains that nobody wants but that are not removed."""
    message: str = ""
    """Why they are held, and the remedy."""
    first_seen: Mapping[str, float] = field(default_factory=dict)
    """When each orphan was first seen: to be handed in the next time."""


def judge(view: OrphanView, first_seen: Mapping[str, float], *, wait: float) -> Verdict:
    """Tell which orphans may go: missed twice by fresh reads, at least `wait` seconds apart."""
    orphans = sorted(uid for uid in view.domains if uid in view.unknown)
    seen = {uid: first_seen.get(uid, view.now) for uid in orphans}
    if not orphans:
        return Verdict(first_seen=seen)
    strays = [u for u in orphans if not view.domains[u].ownership.name]
    foreign = [u for u in orphans if view.domains[u].ownership.cluster_uid != view.cluster_uid]
    lost = [u for u in orphans if view.domains[u].ownership.host_uid != view.host_uid]
    limit = max(1, int(len(view.domains) * FEW))
    if strays:
        pids = ", ".join(str(view.domains[u].pid) for u in strays[:3])
        held = (
            f"libvirt has lost {len(strays)} QEMU processes that no VirtualMachine is known of, so"
            f" nobody can tell whose they are: kill them if nobody needs them (pid {pids})"
        )
    elif foreign:
        held = (
            f"{len(foreign)} domains belong to another Kubernetes cluster than the one this daemon"
            " talks to: check its kubeconfig"
        )
    elif lost:
        held = (
            f"{len(lost)} domains were started before this Host object was made anew, so"
            " kube-apiserver may have lost its objects (were the CRDs deleted?): apply the"
            " VirtualMachines again, or power these domains off with virsh destroy"
        )
    elif len(orphans) > limit:
        held = (
            f"{len(orphans)} of {len(view.domains)} domains have no VirtualMachine, more than"
            f" {limit}: if that is right, power them off one by one with virsh destroy"
        )
    else:
        ripe = tuple(u for u in orphans if view.now - seen[u] >= wait)
        return Verdict(remove=ripe, first_seen=seen)
    return Verdict(held=tuple(orphans), message=held, first_seen=seen)
