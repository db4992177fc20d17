# SPDX-License-Identifier: Apache-2.0
"""Carry out a plan: one step after the other, each against the version it was computed from."""

from collections.abc import Callable
from typing import Any

import structlog

from nopal_api.kinds import KINDS, VIRTUAL_MACHINE, ZONE
from nopal_operator.reconcile.plan import (
    ApplyStatus,
    ConfirmGone,
    Plan,
    Reserve,
    SetFinalizers,
    Step,
)
from nopal_operator.reconcile.virtual_machine import UNREACHABLE
from nopal_operator.world import World
from nopal_runtime.errors import ConflictError, NopalError, NotFoundError, TransientError
from nopal_runtime.kube.api import Key, KubeApi
from nopal_runtime.kube.cache import ObjectCache, Record
from nopal_runtime.kube.status import StatusWriter

log = structlog.get_logger("nopal.operator")

_KINDS = {kind.kind: kind for kind in KINDS}

# After a conflict the object was read again: look at it at once, but never in a tight loop.
_AFTER_CONFLICT = 0.05


class Effects:
    """The operator's hand on kube-apiserver.

    Args:
        api: reads and writes.
        cache: gets every answer, so that the next plan sees what this one wrote.
        world: holds the room that was given and the times of writes.
        on_change: is told the key of every object that an answer brought news of.
        clock: monotonic seconds, the same that the world's times are of.
    """

    def __init__(
        self,
        api: KubeApi,
        *,
        cache: ObjectCache,
        world: World,
        on_change: Callable[[Key], None],
        clock: Callable[[], float],
    ) -> None:
        self._api, self._cache, self._world = api, cache, world
        self._on_change, self._clock = on_change, clock
        self._writer = StatusWriter(api, cache)

    async def carry_out(self, key: Key, plan: Plan) -> float | None:
        """Carry the plan for an object out; return the seconds after which to look again.

        A reservation is the first step and is made before anything is awaited: no other plan is
        made between the decision and its reservation.

        Raises:
            NopalError: a step failed and looking at once would not help.
        """
        reserved = next((s.hold.vm.name for s in plan.steps if isinstance(s, Reserve)), None)
        written: dict[Key, Record] = {}
        for step in plan.steps:
            try:
                await self._step(step, written)
            except (ConflictError, NotFoundError) as error:
                if reserved is not None:
                    self._world.schedulers.drop(reserved)
                if await self._read_again(step):
                    return _AFTER_CONFLICT
                raise ConflictError(error.reason, error.message) from error
            except NopalError as error:
                # A write without an answer may have landed: then the room stays held until the
                # object is seen again.
                unknown = isinstance(error, TransientError) and _key_of(step) == key
                if reserved is not None and not unknown:
                    self._world.schedulers.drop(reserved)
                raise
        if reserved is None and key.kind == VIRTUAL_MACHINE.kind:
            vm = self._cache.get(key)
            if vm is not None:
                self._world.schedulers.drop(vm.uid)
        return plan.requeue_after

    async def _step(self, step: Step, written: dict[Key, Record]) -> None:
        if isinstance(step, Reserve):
            self._world.schedulers.assume(step.hold)
        elif isinstance(step, ApplyStatus):
            await self._apply(step, written)
        elif isinstance(step, SetFinalizers):
            await self._finalize(written.get(step.record.key, step.record), step.finalizers)
        elif isinstance(step, ConfirmGone):
            await self._confirm_gone(step)
        else:
            await self._confirm_unchanged(written.get(step.record.key, step.record))

    async def _apply(self, step: ApplyStatus, written: dict[Key, Record]) -> None:
        """Write a status. A second write in one plan follows on the version that the first made."""
        record = written.get(step.record.key, step.record)
        after = await self._writer.write(record, manager=step.manager, status=step.status)
        if after is record:
            return
        written[record.key] = after
        if record.key.kind == ZONE.kind:
            self._world.times.zone_written[record.name] = self._clock()
        if any(c["reason"] == UNREACHABLE for c in step.status.get("conditions", ())):
            self._world.times.unreachable_said[record.uid] = self._clock()
        log.info(
            "status written",
            key=str(record.key),
            manager=step.manager,
            said=[f"{c['type']}={c['reason']}" for c in step.status.get("conditions", ())],
        )
        self._on_change(record.key)

    async def _finalize(self, record: Record, finalizers: tuple[str, ...]) -> None:
        """Write the finalizers, and know at once what came of it.

        The watch tells it too, but not before others that change by it have asked about the object:
        until then it would be written again, and refused.
        """
        kind = _KINDS[record.key.kind]
        after = await self._api.set_finalizers(
            kind,
            namespace=record.namespace,
            name=record.name,
            uid=record.uid,
            resource_version=record.resource_version,
            finalizers=finalizers,
        )
        log.info("finalizers written", key=str(record.key), finalizers=list(finalizers))
        if record.deleting and not finalizers:
            news = self._cache.offer_deleted(kind, record.body)
        else:
            news = self._cache.offer(kind, after)
        if news:
            self._on_change(record.key)

    async def _confirm_gone(self, step: ConfirmGone) -> None:
        body = await self._read(step.key)
        if body is not None and body["metadata"]["uid"] == step.uid:
            raise ConflictError("StillThere", f"{step.key} exists after all: look again.")

    async def _confirm_unchanged(self, record: Record) -> None:
        body = await self._read(record.key)
        version = None if body is None else body["metadata"]["resourceVersion"]
        if version != record.resource_version:
            raise ConflictError("Changed", f"{record.key} has changed: look again.")

    async def _read(self, key: Key) -> dict[str, Any] | None:
        """Return the object as a quorum knows it, None if it is known to be absent."""
        kind = _KINDS[key.kind]
        known = self._cache.get(key)
        try:
            body = await self._api.get(kind, namespace=key.namespace, name=key.name)
        except NotFoundError:
            if known is not None and self._cache.offer_deleted(kind, known.body):
                self._on_change(key)
            return None
        if self._cache.offer(kind, body):
            self._on_change(key)
        return dict(body)

    async def _read_again(self, step: Step) -> bool:
        """Read the object again after a conflict; tell whether it is another than planned for."""
        key = _key_of(step)
        if key is None:
            return False
        body = await self._read(key)
        if isinstance(step, Reserve | ConfirmGone):
            return self._cache.get(key) is not None
        version = None if body is None else body["metadata"]["resourceVersion"]
        return bool(version != step.record.resource_version)


def _key_of(step: Step) -> Key | None:
    if isinstance(step, Reserve):
        return None
    return step.key if isinstance(step, ConfirmGone) else step.record.key
