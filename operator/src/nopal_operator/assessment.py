# SPDX-License-Identifier: Apache-2.0
"""What the scheduler says of a whole zone: what it survives, and what more fits.

These figures cost more than a placement, so they are made anew only where something has changed,
and their work is bounded: nothing else is planned meanwhile.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from nopal_api.quantity import whole_mib
from nopal_api.redundancy import FIT_LIMIT, Fit, StandardSize
from nopal_operator.candidates import NAMESPACE
from nopal_operator.schedulers import Schedulers, Site
from nopal_scheduler import (
    Cluster,
    NoPlacement,
    Proof,
    Redundancy,
    Scheduler,
    Verdict,
    Vm,
    vm_cost,
)
from nopal_scheduler.model import failure_domain

LOWER_LIMIT = 5_000
"""Virtual machines up to which it is tried whether a zone survives at least fewer failures than it
is to: each try is a search from the start."""
TRIALS = 50_000
"""Hosts times trial placements for all standard sizes together: 0.3 s in a zone of 1,000 hosts."""
_LEAST_TRIALS = 10
_MESSAGE = 512


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was found out about one zone at one moment."""

    verdict: Verdict
    """On what spec.redundancy asks for."""
    proven: int
    """Losses at once that are proven to be survived, hosts that are down among them."""
    down: tuple[str, ...]
    """Failure domains that are lost already, with virtual machines that restart."""
    fits: tuple[Fit, ...]


class Assessments:
    """The zones' assessments, each made anew only where something has changed.

    Args:
        schedulers: who is asked.
    """

    def __init__(self, schedulers: Schedulers) -> None:
        self._schedulers = schedulers
        self._made: dict[str, tuple[tuple[object, ...], Assessment, float]] = {}

    def of(
        self,
        zone: str,
        site: Site,
        *,
        sizes: tuple[StandardSize, ...],
        silent: frozenset[str],
        now: float,
        pause: float,
    ) -> tuple[Assessment, float | None]:
        """Return a zone's assessment, and after how many seconds to ask for a newer one.

        Args:
            zone: its name.
            site: its hosts, and what it is to survive.
            sizes: its standard sizes.
            silent: hosts without a heartbeat.
            now: seconds of a monotonic clock.
            pause: seconds between two assessments.
        """
        asked = (site.redundancy, sizes, silent)
        stamp = (self._schedulers.changes(zone, site), *asked)
        known = self._made.get(zone)
        if known is not None:
            before, made, at = known
            wait = at + pause - now
            if before == stamp:
                return made, None
            if wait > 0 and before[1:] == asked:
                return made, wait
        scheduler = self._schedulers.scheduler(zone, site)
        verdict = scheduler.verdict()
        made = Assessment(
            verdict=verdict,
            proven=_proven(verdict, self._schedulers.cluster(site)),
            down=_down(silent, scheduler),
            fits=_fits(scheduler, sizes),
        )
        self._made[zone] = (stamp, made, now)
        return made, None


def _proven(verdict: Verdict, cluster: Cluster) -> int:
    wanted = cluster.redundancy
    if isinstance(verdict, Proof):
        return wanted.failures
    if len(cluster.vms) > LOWER_LIMIT:
        return 0
    for failures in range(wanted.failures - 1, 0, -1):
        fewer = replace(cluster, redundancy=Redundancy(failures, wanted.topology))
        if isinstance(Scheduler(fewer).verdict(), Proof):
            return failures
    return 0


def _down(silent: frozenset[str], scheduler: Scheduler) -> tuple[str, ...]:
    state = scheduler.state
    return tuple(
        sorted(
            {
                failure_domain(host, state.redundancy.topology)
                for host, names in zip(state.hosts, state.on, strict=True)
                if host.name in silent and any(state.vms[name].restarts for name in names)
            }
        )
    )


def _fits(scheduler: Scheduler, sizes: Iterable[StandardSize]) -> tuple[Fit, ...]:
    wanted = tuple(sizes)
    if not wanted:
        return ()
    each = TRIALS // (max(1, len(scheduler.state.hosts)) * len(wanted))
    most = max(_LEAST_TRIALS, min(FIT_LIMIT, each))
    return tuple(_fit(scheduler, size, most) for size in wanted)


def _fit(scheduler: Scheduler, size: StandardSize, most: int) -> Fit:
    """Put in as many as fit, and take them out again."""
    needs = vm_cost(size.cores, whole_mib(size.memory))
    placed: list[str] = []
    limit = ""
    try:
        while len(placed) < most:
            # No user's label: no rule of anybody's selects it.
            name = f"{NAMESPACE}/{len(placed)}"
            answer = scheduler.admit(Vm(name=name, needs=needs))
            if isinstance(answer, NoPlacement):
                limit = answer.message[:_MESSAGE]
                break
            placed.append(name)
    finally:
        for name in reversed(placed):
            scheduler.remove(name)
    return Fit(name=size.name, count=len(placed), limit=limit)
