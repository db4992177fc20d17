# SPDX-License-Identifier: Apache-2.0
"""Which hosts are alive: their Leases, counted on the operator's own clock."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nopal_api.kinds import HOST
from nopal_operator.places import not_usable
from nopal_operator.world import World
from nopal_runtime.kube.api import Body

_DEFAULT_SPAN = 15.0


@dataclass(slots=True)
class _Seen:
    renewed: str
    since: float
    span: float
    moved: bool


class Liveness:
    """Keeps the world's heartbeats and down times, from complete lists of the hosts' Leases.

    - A host is silent when its Lease has not changed for the span that the Lease names, counted
      from when the last change was seen: never by the host's clock.
    - While the lists fail nothing is concluded. After such a gap every span that has not run out
      begins anew, because the hosts could not renew either.
    - A Lease that was only ever seen standing still proves nothing: its host may have died before
      the operator started. It gets no new work until its Lease moves, and is not called silent
      before a whole span has passed. A Host without a Lease is as one whose Lease stands still.

    Args:
        world: gets the findings.
        clock: monotonic seconds, the same that the world's times are of.
        longest_gap: seconds between two lists, above which the operator was cut off.
    """

    def __init__(
        self, world: World, *, clock: Callable[[], float], longest_gap: float = 5.0
    ) -> None:
        self._world, self._clock, self._longest_gap = world, clock, longest_gap
        self._seen: dict[str, _Seen] = {}
        self._listed_at: float | None = None

    def observe(self, leases: Iterable[Body]) -> tuple[str, ...]:
        """Take in a complete list; return the nodes whose heartbeat was lost or found by it."""
        now = self._clock()
        is_first = self._listed_at is None
        if self._listed_at is not None and now - self._listed_at > self._longest_gap:
            for name, seen in self._seen.items():
                if self._world.heartbeats.get(name) is not False:
                    seen.since = now
        self._listed_at = now
        for lease in leases:
            self._take(lease, now, is_first=is_first)
        for host in self._world.keys(HOST):
            self._seen.setdefault(host.name, _Seen("", now, _DEFAULT_SPAN, moved=False))
        return tuple(name for name in sorted(self._seen) if self._refresh(name, now))

    def note_hosts(self, names: Iterable[str]) -> None:
        """See since when each of these hosts has not been usable."""
        down = self._world.times.down_since
        for name in names:
            host = self._world.host(name)
            if host is None or not not_usable(self._world, host):
                down.pop(name, None)
            else:
                down.setdefault(name, self._clock())

    def age(self) -> float:
        """Return the seconds since the last complete list; infinite before the first."""
        return float("inf") if self._listed_at is None else self._clock() - self._listed_at

    def _take(self, lease: Body, now: float, *, is_first: bool) -> None:
        name, spec = lease["metadata"]["name"], lease.get("spec") or {}
        renewed = str(spec.get("renewTime") or "")
        span = float(spec.get("leaseDurationSeconds") or _DEFAULT_SPAN)
        seen = self._seen.get(name)
        if seen is None:
            # One that an earlier list did not have was made just now: a sign of life.
            self._seen[name] = _Seen(renewed, now, span, moved=not is_first)
        elif seen.renewed != renewed:
            self._seen[name] = _Seen(renewed, now, span, moved=True)

    def _refresh(self, name: str, now: float) -> bool:
        seen = self._seen[name]
        state: bool | None = now < seen.since + seen.span
        if state and not seen.moved:
            state = None
        before = self._world.heartbeats.get(name)
        self._world.heartbeats[name] = state
        if state != before:
            self.note_hosts((name,))
        return state != before
