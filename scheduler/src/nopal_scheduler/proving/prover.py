# SPDX-License-Identifier: Apache-2.0
"""What keeps a proof up to date while virtual machines come and go."""

from collections.abc import Sequence
from typing import Protocol

from ..model import Vm
from ..proof import Impossible, NotProven, Verdict


class Prover(Protocol):
    """Owns a `State` and the proof of what is in it: whoever has a prover changes neither itself.

    Same input, same answer. Between two changes the verdict costs nothing to ask for again.
    """

    def admit(self, vm: Vm, host: int) -> NotProven | Impossible | None:
        """Add a virtual machine if everything is proven with it; else change nothing and say why.

        Args:
            vm: One that the state does not have yet and that fits on the host.
            host: Index of the host.
        """

    def add(self, vm: Vm, host: int) -> None:
        """Add a virtual machine that is there already, whatever follows for the proof."""

    def remove(self, name: str) -> None:
        """Take a virtual machine away; raises KeyError."""

    def verdict(self) -> Verdict:
        """Return the proof of the whole, or what stands against it."""

    @property
    def is_proven(self) -> bool:
        """Tell whether the whole is proven, without writing the proof down."""

    @property
    def unplaced(self) -> Sequence[str]:
        """Return who has no new host, each once for every loss in which it has none.

        By name; where a list has to do for all losses, once in all. Empty where all is proven.
        """
