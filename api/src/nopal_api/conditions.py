# SPDX-License-Identifier: Apache-2.0
"""Conditions: what a person reads to learn how an object is, and why.

The shape is Kubernetes' own (metav1.Condition). Conditions are a list-map by type, so several
field managers own different conditions of one object.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import ApiModel, Generation, Time, crd

ConditionStatus = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT = 1024


class Condition(ApiModel):
    """One aspect of the object's state, when it last changed, and why."""

    type: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=64)]
    """What the condition tells, for example Ready."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: Generation | None = None
    """The metadata.generation that the condition was computed from."""
    last_transition_time: Time = ""
    """When the status last changed, RFC 3339."""
    reason: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=64)]
    """One CamelCase word for programs."""
    message: Annotated[str, StringConstraints(max_length=MESSAGE_LIMIT)] = ""
    """One sentence for people: what is wrong and what to do about it."""


Conditions = Annotated[
    tuple[Condition, ...], Field(max_length=16, json_schema_extra=crd(list_map=("type",)))
]
"""The conditions of one object: a list-map, so that each field manager owns its own types."""


def condition(
    kind: str,
    status: ConditionStatus | bool,
    *,
    reason: str,
    message: str = "",
    generation: int = 0,
) -> Condition:
    """Make a condition without a time: `stamp` adds it when the status is written."""
    word: ConditionStatus = status if isinstance(status, str) else ("True" if status else "False")
    if len(message) > MESSAGE_LIMIT:
        message = message[: MESSAGE_LIMIT - 3] + "..."
    return Condition(
        type=kind,
        status=word,
        reason=reason,
        message=message,
        observed_generation=generation or None,
    )


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """Return the condition of that type, or None."""
    return next((c for c in conditions if c.type == kind), None)


def is_true(conditions: Iterable[Condition], kind: str) -> bool:
    """Tell whether the condition of that type is there and True."""
    found = find(conditions, kind)
    return found is not None and found.status == "True"


def stamp(
    wanted: Iterable[Condition], current: Iterable[Condition], *, now: str
) -> tuple[Condition, ...]:
    """Give each wanted condition its transition time: kept while the status stays, else `now`."""
    known = {c.type: c for c in current}
    result = []
    for c in wanted:
        old = known.get(c.type)
        same = old is not None and old.status == c.status and old.last_transition_time
        time = old.last_transition_time if old is not None and same else now
        result.append(c.model_copy(update={"last_transition_time": time}))
    return tuple(result)
