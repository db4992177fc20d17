# SPDX-License-Identifier: Apache-2.0
"""What a placement answers: the host, or why none, host by host, in words."""

from collections import defaultdict
from dataclasses import dataclass, field, replace

from .proof import Impossible, NotProven
from .words import quantity


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why one host does not fit.

    Reasons of one kind are counted together; what differs between hosts is the figure.
    """

    host: str
    reason: str
    """For example "insufficient memory", "not ready" or "N+1 not proven"."""
    needs: int | None = None
    """What the virtual machine needs of it, for a reason about an amount."""
    free: int | None = None
    """What the host has left of it."""
    detail: str = ""
    """More on this one host, for people; one of a group is shown."""
    against: NotProven | Impossible | None = field(default=None, compare=False)
    """What stands against the redundancy, where that is the reason: the same as data."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The host that takes the virtual machine."""

    host: str


@dataclass(frozen=True, slots=True)
class NoPlacement:
    """No host fits, and why, host by host."""

    hosts: int
    refusals: tuple[Refusal, ...]

    @property
    def message(self) -> str:
        """Return the sentence for people, as kube-scheduler words it.

        For example "0/2 hosts fit: 1 insufficient memory (needs 8Gi, 3Gi free), 1 not ready". A
        host that lacks two things is counted under both; the free amount is the best of the group.
        """
        if not self.refusals:
            return "0/0 hosts fit: there is no host"
        groups: dict[str, list[Refusal]] = defaultdict(list)
        for refusal in self.refusals:
            groups[refusal.reason].append(refusal)
        ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
        parts = [f"{len(group)} {_words(reason, group)}" for reason, group in ordered]
        return f"0/{self.hosts} hosts fit: {', '.join(parts)}"

    def nameless(self, name: str) -> "NoPlacement":
        """Return the same without the name of who asked, for words that begin with it."""
        refusals = (
            replace(r, detail=r.detail.replace(f'vm "{name}"', "it")) for r in self.refusals
        )
        return replace(self, refusals=tuple(refusals))


def _words(reason: str, group: list[Refusal]) -> str:
    needs = group[0].needs
    if needs is None:
        details = sorted({refusal.detail for refusal in group if refusal.detail})
        example = "for example " if len(details) > 1 else ""
        return f"{reason} ({example}{details[0]})" if details else reason
    resource = reason.removeprefix("insufficient ")
    free = max(refusal.free or 0 for refusal in group)
    most = "at most " if len(group) > 1 and free else ""
    needed, left = quantity(resource, needs, up=True), quantity(resource, free, up=False)
    return f"{reason} (needs {needed}, {most}{left} free)"
