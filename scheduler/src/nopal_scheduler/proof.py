# SPDX-License-Identifier: Apache-2.0
"""What is said of N+k: a proof that anyone can check, or what stands against it.

A proof answers one question: any k failure domains are lost at once, where does every virtual
machine that restarts go, with nothing else moved? It is plain data; `checker` verifies it without
any code of the search.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .model import Redundancy
from .words import counted


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
    """Why, where it was not for room alone; for people. Who got no list, where `unplaced` is empty:
    then everyone has a host after this loss, but not a list that does for every loss."""

    @property
    def explanation(self) -> str:
        """Return why, without the verdict, for people."""
        lost, count = ", ".join(self.worst.lost), len(self.unplaced)
        if not count:  # what is missing is a list that does for every loss
            loss = f"for the loss of {lost} " if lost else ""
            return f"{loss}{self.reason or 'no way was found for all'}"
        of = counted(count + len(self.worst.restarts), "virtual machine")
        why = f": {self.reason}" if self.reason else ""
        return f"after the loss of {lost} no new host was found for {count} of {of}{why}"

    @property
    def message(self) -> str:
        """Return the sentence for people."""
        return f"not proven: {self.explanation}"


@dataclass(frozen=True, slots=True)
class Impossible:
    """A bound shows that there is no proof."""

    lost: tuple[str, ...]
    """The failure domains whose loss nothing could make good."""
    reason: str
    """The bound, for people: for example "the hosts left lack 3Gi of memory"."""
    resource: str = ""
    """What all hosts left together have too little of, where that is the bound."""
    missing: int = 0
    """How much of it is missing."""

    @property
    def explanation(self) -> str:
        """Return why, without the verdict, for people."""
        return f"after the loss of {', '.join(self.lost)} {self.reason}"

    @property
    def message(self) -> str:
        """Return the sentence for people."""
        return f"impossible: {self.explanation}"


Verdict = Proof | NotProven | Impossible
