# SPDX-License-Identifier: Apache-2.0
"""What is said of N+k: a proof that anyone can check, or what stands against it.

A proof answers one question: any k failure domains are lost at once, where does every virtual
machine that restarts go, with nothing else moved? It is plain data; `checker` verifies it without
any code of the search.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .model import Redundancy


@dataclass(frozen=True, slots=True)
class Case:
    """One loss, and where everything goes then."""

    lost: tuple[str, ...]
    """The failure domains that are lost, sorted by name: see `model.failure_domain`."""
    restarts: Mapping[str, str] = field(default_factory=dict)
    """Host by virtual machine, for every one that was in the lost domains and restarts."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Where every virtual machine that restarts goes, in one of two forms.

    With `cases`, one for each set of 1 to k failure domains. Without, by `backups`: a virtual
    machine goes to the first host of its list whose failure domain is not lost.
    """

    redundancy: Redundancy
    cases: tuple[Case, ...] = ()
    backups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotProven:
    """The search found no proof; there may be one."""

    worst: Case
    """The loss for which it got least far, with what it could place."""
    unplaced: tuple[str, ...]
    """The virtual machines that it found no host for then."""
    reason: str = ""
    """Why, where it was not for room alone; for people."""

    @property
    def message(self) -> str:
        """Return the sentence for people."""
        lost, count = ", ".join(self.worst.lost), len(self.unplaced)
        why = f": {self.reason}" if self.reason else ""
        return (
            f"not proven: after the loss of {lost} no new host was found for {count} of"
            f" {count + len(self.worst.restarts)} virtual machines{why}"
        )


@dataclass(frozen=True, slots=True)
class Impossible:
    """A bound shows that there is no proof."""

    lost: tuple[str, ...]
    """The failure domains whose loss nothing could make good."""
    reason: str
    """The bound, for people: for example "memory for 3Gi is missing on the hosts that are left"."""

    @property
    def message(self) -> str:
        """Return the sentence for people."""
        return f"impossible: after the loss of {', '.join(self.lost)} {self.reason}"


Verdict = Proof | NotProven | Impossible
