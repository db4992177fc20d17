# SPDX-License-Identifier: Apache-2.0
"""A plan: the steps that bring one object nearer to what is asked for, in their order.

Steps are data. Each write carries the record that it was computed from, so that it fails where the
object has changed since. The first step that fails ends the plan; the object is looked at again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nopal_api.base import ApiModel
from nopal_api.conditions import Condition
from nopal_api.names import FINALIZER
from nopal_operator.schedulers import Hold
from nopal_runtime.errors import NopalError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import Record


@dataclass(frozen=True, slots=True)
class ApplyStatus:
    """Make the status hold exactly this set of the manager's; nothing is written if it does."""

    record: Record
    manager: str
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SetFinalizers:
    """Replace the finalizers of exactly this object at exactly this version."""

    record: Record
    finalizers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConfirmGone:
    """Go on only if a fresh read knows no object of that UID under that name."""

    key: Key
    uid: str


@dataclass(frozen=True, slots=True)
class ConfirmUnchanged:
    """Go on only if a fresh read gives the object at the record's version."""

    record: Record


@dataclass(frozen=True, slots=True)
class Reserve:
    """Hold the room from now on, until the assignment is seen or known not to be written."""

    hold: Hold


Step = ApplyStatus | SetFinalizers | ConfirmGone | ConfirmUnchanged | Reserve


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps, in order, and when to look again."""

    steps: tuple[Step, ...] = ()
    requeue_after: float | None = None
    """Seconds after which to look again although nothing changed."""


class UnmetError(NopalError):
    """Something that the object needs is not there, or not ready: the condition says what."""


def wire(**fields: object) -> dict[str, Any]:
    """Return a set of status fields as it goes to kube-apiserver; empty fields are left out.

    Field names are given as they are on the wire.
    """
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, ApiModel):
            found[name] = value.wire()
        elif isinstance(value, list | tuple):
            if value:
                found[name] = [v.wire() if isinstance(v, ApiModel) else v for v in value]
        elif value is not None:
            found[name] = value
    return found


def conditions(*wanted: Condition | None) -> tuple[Condition, ...]:
    """Return those conditions that are to be shown."""
    return tuple(c for c in wanted if c is not None)


def repair_finalizer(record: Record) -> SetFinalizers | None:
    """Return the step that adds Nopal's finalizer where it is absent."""
    if record.deleting or FINALIZER in record.finalizers:
        return None
    return SetFinalizers(record, (*record.finalizers, FINALIZER))


def remove_finalizer(record: Record) -> SetFinalizers:
    """Return the step that lets the object go: nothing of it is left anywhere."""
    return SetFinalizers(record, tuple(f for f in record.finalizers if f != FINALIZER))
