# SPDX-License-Identifier: Apache-2.0
"""Write status by server-side apply, and only if something would change."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from nopal_api.base import ApiModel
from nopal_api.conditions import Condition, stamp
from nopal_api.kinds import KINDS, Kind
from nopal_runtime.kube.api import KubeApi
from nopal_runtime.kube.cache import ObjectCache, Record, make_record
from nopal_runtime.kube.fields import digest, leaves, status_shape

_KINDS = {kind.kind: kind for kind in KINDS}


def rfc3339_now() -> str:
    """Return the time of day as conditions carry it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class StatusWriter:
    """Applies a manager's complete set of status fields when it differs from what is there.

    Nothing is remembered: the object itself tells which fields the manager owns
    (metadata.managedFields) and what they hold, so a restarted process writes nothing either.
    """

    def __init__(
        self, api: KubeApi, cache: ObjectCache, *, now: Callable[[], str] = rfc3339_now
    ) -> None:
        self._api, self._cache, self._now = api, cache, now

    async def write(
        self, record: Record, *, manager: str, status: ApiModel | Mapping[str, Any]
    ) -> Record:
        """Make the status show exactly this set for the manager; return the object's newest record.

        Conditions without a time get one: the known one while their status stays, else now. Fields
        that are None are left out, so the manager gives them up.

        Raises:
            ConflictError: the object is not at the record's version any more: look again and plan
                again. Every other error of `KubeApi.apply_status` as well.
        """
        kind = _KINDS[record.key.kind]
        current = record.body.get("status", {})
        wire = status.wire() if isinstance(status, ApiModel) else dict(status)
        wanted = _stamped(wire, current, self._now)
        if is_applied(kind, record, manager=manager, wanted=wanted, current=current):
            return record
        body = await self._api.apply_status(
            kind,
            namespace=record.key.namespace,
            name=record.key.name,
            manager=manager,
            resource_version=record.resource_version,
            status=wanted,
        )
        self._cache.offer(kind, body)
        return make_record(kind, body)


def is_applied(
    kind: Kind,
    record: Record,
    *,
    manager: str,
    wanted: Mapping[str, Any],
    current: Mapping[str, Any],
) -> bool:
    """Tell whether an apply of `wanted` would change nothing: neither a value nor an owner."""
    shape = status_shape(kind)
    fields = dict(leaves(wanted, shape)) if wanted else {}
    if not fields:
        return manager not in record.owned
    if record.owned.get(manager) != digest(fields):
        return False
    there = dict(leaves(current, shape))
    return all(path in there and there[path] == value for path, value in fields.items())


def _stamped(
    wire: dict[str, Any], current: Mapping[str, Any], now: Callable[[], str]
) -> dict[str, Any]:
    conditions = [Condition.model_validate(c) for c in wire.get("conditions", ())]
    if not conditions:
        wire.pop("conditions", None)
        return wire
    old = [Condition.model_validate(c) for c in current.get("conditions", ())]
    fresh = {c.type: c for c in stamp(conditions, old, now=now())}
    times = [c if c.last_transition_time else fresh[c.type] for c in conditions]
    return {**wire, "conditions": [c.wire() for c in times]}
