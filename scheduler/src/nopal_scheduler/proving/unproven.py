# SPDX-License-Identifier: Apache-2.0
"""The prover of a cluster that is to survive nothing."""

from ..model import Vm
from ..proof import Proof
from ..state import State


class PlainProver:
    """A `Prover` for k = 0: nothing is lost, so nothing is to be proven."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._proof = Proof(state.redundancy)

    def admit(self, vm: Vm, host: int) -> None:
        """Add a virtual machine."""
        self._state.add(vm, host)

    def add(self, vm: Vm, host: int) -> None:
        """Add a virtual machine that is there already."""
        self._state.add(vm, host)

    def remove(self, name: str) -> None:
        """Take a virtual machine away; raises KeyError."""
        self._state.remove(name)

    def verdict(self) -> Proof:
        """Return the empty proof."""
        return self._proof

    @property
    def is_proven(self) -> bool:
        """Tell that nothing is to be proven."""
        return True

    @property
    def unplaced(self) -> tuple[str, ...]:
        """Return nobody."""
        return ()
