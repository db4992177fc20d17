# SPDX-License-Identifier: Apache-2.0
"""What the scheduler says of a whole zone: what it survives, and what more fits.

These figures cost more than a placement, so they are made anew only where something has changed,
and their work is bounded: nothing else is planned meanwhile. What is not counted in one turn is
counted in the next.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from nopal_api.quantity import whole_mib
from nopal_api.redundancy import FIT_LIMIT, Fit, StandardSize
from nopal_operator.candidates import NAMESPACE
from nopal_operator.premises import Premises
from nopal_operator.schedulers import Schedulers, SearchingError
from nopal_scheduler import (
    Impossible,
    NoPlacement,
    NotProven,
    Proof,
    Scheduler,
    Vm,
    vm_cost,
)
from nopal_scheduler.model import failure_domain
from nopal_scheduler.proving.cases.prover import count_cases

RESTARTS = 10_000
"""Restarts in all losses together up to which it is tried whether a zone survives at least fewer
failures than it is to: each try is a search from the start, some 15 us for each restart, and with
rules several times that."""
COUNTING = 0.3
"""Seconds of computing for the trial placements of one turn. One placement may take as long again
in a nearly full zone with many losses, and the first of a turn is always made."""
_MESSAGE = 512


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was found out about one zone at one moment."""

    verdict: NotProven | Impossible | None
    """What stands against what spec.redundancy asks for; None where that is proven."""
    proven: int
    """Losses at once that are proven to be survived, hosts that are down among them."""
    down: tuple[str, ...]
    """Failure domains that are lost already, with virtual machines that restart."""
    fits: tuple[Fit, ...]


@dataclass(frozen=True, slots=True)
class _Made:
    asked: tuple[object, ...]
    """What a person asked for: another answer to that does not wait."""
    stamp: tuple[object, ...]
    """What else it was made from."""
    assessment: Assessment
    at: float
    counted: Mapping[StandardSize, Fit]
    waiting: tuple[StandardSize, ...]
    """Sizes that nobody had the time to count since."""


class Assessments:
    """The zones' assessments, each made anew only where something has changed.

    Args:
        schedulers: who is asked.
        computed: seconds of computing so far; without it counting never ends early.
    """

    def __init__(
        self, schedulers: Schedulers, *, computed: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._schedulers, self._computed = schedulers, computed
        self._made: dict[str, _Made] = {}
        self._begun: dict[str, dict[int, Future[Scheduler]]] = {}
        """By zone and failures: searches whether it survives fewer than it is to."""

    def of(
        self,
        zone: str,
        premises: Premises,
        *,
        sizes: tuple[StandardSize, ...],
        silent: frozenset[str],
        now: float,
        pause: float,
    ) -> tuple[Assessment, float | None]:
        """Return a zone's assessment, and after how many seconds to ask for a newer one.

        Args:
            zone: its name.
            premises: its hosts, and what it is to survive.
            sizes: its standard sizes.
            silent: hosts without a heartbeat, its own and others.
            now: seconds of a monotonic clock.
            pause: seconds between two assessments.

        Raises:
            SearchingError: that takes long and is being searched aside.
        """
        asked = (premises.redundancy, sizes)
        silent = silent.intersection(host.name for host in premises.hosts)
        stamp = (self._schedulers.changes(zone, premises), silent)
        known = self._made.get(zone)
        if known is not None and known.asked == asked:
            if known.stamp == stamp and not known.waiting:
                return known.assessment, None
            wait = known.at + pause - now
            if wait > 0:
                return known.assessment, wait
        scheduler = self._schedulers.scheduler(zone, premises)
        against, proven = _against(scheduler), premises.redundancy.failures
        if against is not None:
            proven = self._fewer(zone, scheduler, premises)
        else:
            self._begun.pop(zone, None)
        waiting = known.waiting if known is not None else ()
        wanted = tuple(size for size in waiting if size in sizes)
        if known is None or (known.asked, known.stamp) != (asked, stamp):
            wanted += tuple(size for size in sizes if size not in wanted)
        found = self._count(scheduler, wanted)
        before = known.counted if known is not None else {}
        counted = {s: found.get(s) or before.get(s) or Fit(name=s.name, count=0) for s in sizes}
        made = Assessment(
            verdict=against,
            proven=proven,
            down=_down(silent, scheduler),
            fits=tuple(counted[size] for size in sizes),
        )
        waiting = tuple(size for size in wanted if size not in found)
        self._made[zone] = _Made(asked, stamp, made, now, counted, waiting)
        return made, pause if waiting else None

    def forget(self, zone: str) -> None:
        """Forget a zone that is gone."""
        self._made.pop(zone, None)
        self._begun.pop(zone, None)

    def _fewer(self, zone: str, scheduler: Scheduler, premises: Premises) -> int:
        """Return how many failures, fewer than asked for, are proven to be survived.

        Raises:
            SearchingError: that is being searched aside.
        """
        state, wanted = scheduler.state, premises.redundancy
        domains, restarting = len(state.lost_with), sum(vm.restarts for vm in state.vms.values())
        begun, found = self._begun.setdefault(zone, {}), 0
        for failures in range(min(wanted.failures, domains) - 1, 0, -1):
            lost = restarting * failures / domains
            if count_cases(domains, failures) * lost <= RESTARTS:
                if failures not in begun:
                    begun[failures] = self._schedulers.search(zone, premises, failures)
                if not begun[failures].done():
                    raise SearchingError(zone)
                if begun[failures].result().is_proven:
                    found = failures
                    break
        del self._begun[zone]
        return found

    def _count(
        self, scheduler: Scheduler, sizes: tuple[StandardSize, ...]
    ) -> Mapping[StandardSize, Fit]:
        """Count what fits of the first sizes, of as many as there is time for."""
        found: dict[StandardSize, Fit] = {}
        end = self._computed() + COUNTING
        for size in sizes:
            left = end - self._computed()
            if left <= 0:
                break
            until = end - left + left / (len(sizes) - len(found))
            found[size] = self._fit(scheduler, size, until)
        return found

    def _fit(self, scheduler: Scheduler, size: StandardSize, until: float) -> Fit:
        """Put in as many as fit and as there is time for, and take them out again."""
        needs = vm_cost(size.cores, whole_mib(size.memory))
        placed: list[str] = []
        limit = ""
        try:
            while len(placed) < FIT_LIMIT and (not placed or self._computed() < until):
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


def _against(scheduler: Scheduler) -> NotProven | Impossible | None:
    verdict = None if scheduler.is_proven else scheduler.verdict()
    return None if isinstance(verdict, Proof) else verdict


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
