# SPDX-License-Identifier: Apache-2.0
"""Leases: a host's sign of life, and who of several operators leads.

Every span is counted on one's own clock. A Lease that one renewed counts from before the request
was sent; a Lease of somebody else counts from after its change was seen. So whoever holds it stops
before anybody else begins, whatever the machines' times of day say.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any, NoReturn

import structlog

from nopal_api.kinds import LEASE
from nopal_api.names import HOST_LEASE_NAMESPACE
from nopal_runtime.errors import ConflictError, NopalError, NotFoundError, TransientError
from nopal_runtime.kube.api import Body, KubeApi

Clock = Callable[[], float]
log = structlog.get_logger("nopal.lease")


def boot_clock() -> float:
    """Return seconds since boot, suspended time included: a sleeping machine's right runs out."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def micro_time() -> str:
    """Return the time of day as a Lease carries it. For people: nothing here compares it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class LeaseClient:
    """Reads and writes one Lease, with a time-out of its own on every request."""

    def __init__(self, api: KubeApi, *, namespace: str, name: str, timeout: float) -> None:
        self._api, self._namespace, self._name, self._timeout = api, namespace, name, timeout

    async def read(self) -> Body | None:
        """Return the Lease, or None if there is none."""
        try:
            return await self._bounded(
                self._api.get(LEASE, namespace=self._namespace, name=self._name)
            )
        except NotFoundError:
            return None

    async def write(self, known: Body | None, spec: Mapping[str, Any]) -> Body:
        """Create the Lease, or replace exactly the known version of it.

        Raises:
            ConflictError: somebody else was there first.
        """
        meta = {"namespace": self._namespace, "name": self._name}
        if known is None:
            return await self._bounded(self._api.create(LEASE, {"metadata": meta, "spec": spec}))
        return await self._bounded(self._api.replace(LEASE, {**known, "spec": spec}))

    async def _bounded(self, request: Any) -> Body:
        try:
            async with asyncio.timeout(self._timeout):
                body: Body = await request
                return body
        except TimeoutError as error:
            raise TransientError(
                "ApiUnavailable", f"kube-apiserver did not answer within {self._timeout:g} s."
            ) from error


class Heartbeat:
    """A host's Lease, renewed by its daemon.

    Args:
        node_name: the Lease's name and holder.
        renew_seconds: seconds between renewals; a request is given up after as long.
        lease_seconds: how long a renewal counts.
    """

    def __init__(
        self,
        api: KubeApi,
        node_name: str,
        *,
        renew_seconds: float = 5.0,
        lease_seconds: float = 15.0,
        namespace: str = HOST_LEASE_NAMESPACE,
        clock: Clock = boot_clock,
    ) -> None:
        self._lease = LeaseClient(api, namespace=namespace, name=node_name, timeout=renew_seconds)
        self._node, self._renew, self._span = node_name, renew_seconds, lease_seconds
        self._clock = clock
        self._known: Body | None = None
        self._valid_until = float("-inf")

    async def run(self) -> NoReturn:
        """Renew for ever; failures are logged and tried again at the next turn."""
        while True:
            started = self._clock()
            try:
                await self.renew()
            except NopalError as error:
                log.warning("lease not renewed", reason=error.reason, message=str(error))
            await asyncio.sleep(max(0.0, self._renew - (self._clock() - started)))

    async def renew(self) -> None:
        """Renew once. Raises what KubeApi raises; the Lease then counts as before."""
        if self._known is None:
            self._known = await self._lease.read()
        started = self._clock()
        spec = {
            "holderIdentity": self._node,
            "leaseDurationSeconds": max(1, ceil(self._span)),
            "renewTime": micro_time(),
        }
        try:
            self._known = await self._lease.write(self._known, spec)
        except NopalError:
            self._known = None  # what is there now is unknown: read it before the next write
            raise
        self._valid_until = started + self._span

    def fresh(self) -> bool:
        """Tell whether the Lease is valid now: everybody who watches it sees this host alive."""
        return self._clock() < self._valid_until


class LeaseWatch:
    """Which hosts renew their Leases, as the operator sees it.

    Counts from the moment a change of the Lease was seen, so a host is never declared silent
    because of its clock, nor before the operator itself has watched for a whole span.
    """

    def __init__(self, *, clock: Clock = boot_clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[str, float, float]] = {}

    def observe(self, lease: Body) -> None:
        """Take note of a Lease as read or as an event brought it."""
        spec = lease.get("spec", {})
        name, renewed = lease["metadata"]["name"], str(spec.get("renewTime", ""))
        span = float(spec.get("leaseDurationSeconds") or 15)
        known = self._seen.get(name)
        since = self._clock() if known is None or known[0] != renewed else known[1]
        self._seen[name] = (renewed, since, span)

    def forget(self, name: str) -> None:
        """Forget a Lease that is gone."""
        self._seen.pop(name, None)

    def fresh(self, name: str) -> bool | None:
        """Tell whether the Lease was seen to change within its span; None if it was never seen."""
        known = self._seen.get(name)
        return None if known is None else self._clock() < known[1] + known[2]

    def expires_in(self, name: str) -> float:
        """Return the seconds until the Lease goes stale; 0 if it is, or was never seen."""
        known = self._seen.get(name)
        return 0.0 if known is None else max(0.0, known[1] + known[2] - self._clock())


class Elector:
    """Makes one of several operators the leader.

    Give it a loop and a client of its own (`OwnLoop`) where the main loop computes: a loop that is
    blocked for longer than the deadline would renew nothing, and every leader with the same work
    would end itself in its turn. That keeps the promise that there are never two, because
    `leading` does not stand on who renews: it compares the clock with the deadline of the last
    renewal at the moment of each write, in whatever thread, and `on_lost` ends the whole process
    from this one, however busy the others are. What it does not tell is a main loop that hangs for
    ever: that is for the liveness probe, which the main loop answers.

    Args:
        identity: unique for each process start: a restarted one waits like everybody else.
        on_lost: is called at once when the right is lost; it must end the process.
        lease_seconds: how long the others wait for a silent leader.
        renew_seconds: seconds between renewals.
        deadline_seconds: a leader that could not renew for so long has lost; below lease_seconds
            by more than the clocks of two machines can drift apart in that time.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        api: KubeApi,
        *,
        identity: str,
        on_lost: Callable[[], None],
        namespace: str,
        name: str,
        lease_seconds: float = 15.0,
        renew_seconds: float = 2.0,
        deadline_seconds: float = 10.0,
        clock: Clock = boot_clock,
    ) -> None:
        if not renew_seconds < deadline_seconds < lease_seconds:
            raise ValueError("renew_seconds < deadline_seconds < lease_seconds must hold")
        timeout = min(renew_seconds, deadline_seconds / 2)
        self._lease = LeaseClient(api, namespace=namespace, name=name, timeout=timeout)
        self._identity, self._on_lost, self._clock = identity, on_lost, clock
        self._span, self._renew, self._deadline = lease_seconds, renew_seconds, deadline_seconds
        self._seen: tuple[str, float] | None = None
        self._held: Body | None = None
        self._valid_until = float("-inf")

    def leading(self) -> bool:
        """Tell whether this process may act as the leader at this very moment; from any thread."""
        return self._clock() < self._valid_until

    async def acquire(self) -> None:
        """Return when this process leads."""
        while not await self._try():  # noqa: ASYNC110
            await asyncio.sleep(self._renew)
        log.info("leading", identity=self._identity)

    async def keep(self) -> NoReturn:
        """Renew for ever; call on_lost as soon as the right is lost."""
        pause = self._renew
        while True:
            left = self._valid_until - self._clock()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    await asyncio.sleep(pause)
                    pause = self._renew / 4  # after a failure there is less time to lose
                    await self._renew_once()
                    pause = self._renew
            except TimeoutError:
                pass
            except ConflictError as error:
                log.error("leadership taken by another", message=str(error))
                self._valid_until = float("-inf")
            except NopalError as error:
                log.warning("lease not renewed", reason=error.reason, message=str(error))
            if not self.leading():
                log.error("leadership lost", identity=self._identity)
                self._valid_until = float("-inf")
                self._on_lost()
                raise TransientError("NotLeading", "Leadership was lost.")

    async def release(self) -> None:
        """Give the Lease up, so that the next one need not wait. Stop all work before."""
        held, self._valid_until = self._held, float("-inf")
        if held is not None:
            self._held = None
            spec = {**held["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            try:
                await self._lease.write(held, spec)
            except NopalError as error:
                log.warning("lease not released", reason=error.reason, message=str(error))

    async def _try(self) -> bool:
        try:
            found = await self._lease.read()
            if not self._free(found):
                return False
            started = self._clock()
            self._held = await self._lease.write(found, self._spec(found))
        except NopalError as error:
            log.warning("lease not acquired", reason=error.reason, message=str(error))
            return False
        self._valid_until = started + self._deadline
        return True

    def _free(self, lease: Body | None) -> bool:
        if lease is None:
            return True
        spec = lease.get("spec", {})
        if spec.get("holderIdentity", "") in ("", self._identity):
            return True  # given up, or our own write whose answer was lost
        version, now = lease["metadata"]["resourceVersion"], self._clock()
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        span = max(self._span, float(spec.get("leaseDurationSeconds") or 0))
        return now - self._seen[1] > span

    async def _renew_once(self) -> None:
        """Renew, and tell an answer that was lost from another holder."""
        started = self._clock()
        try:
            self._held = await self._lease.write(self._held, self._spec(self._held))
        except ConflictError:
            found = await self._lease.read()
            if found is None or found.get("spec", {}).get("holderIdentity") != self._identity:
                raise
            # Our own write whose answer was lost. It does not count, the next one will.
            self._held = found
            return
        self._valid_until = started + self._deadline

    def _spec(self, before: Body | None) -> dict[str, Any]:
        old = dict(before.get("spec", {})) if before else {}
        now = micro_time()
        mine = old.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, ceil(self._span)),
            "acquireTime": old.get("acquireTime", now) if mine else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if mine else 1),
        }
