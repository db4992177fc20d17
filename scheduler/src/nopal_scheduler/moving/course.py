# SPDX-License-Identifier: Apache-2.0
"""Moves one after another, each of which keeps the proof; a refused one leaves no trace."""

from collections.abc import Callable, Sequence

from ..model import Vm
from ..proof import Impossible, NotProven, Verdict
from ..proving.prover import Prover
from ..state import State
from .board import copy_of
from .measure import Measure
from .plan import Move
from .score import Score, Weights

ProverOf = Callable[[State], Prover]
"""Makes the prover of a state, for example `scheduler.prover_for`."""


class Course:
    """A copy of the zone on which moves are made as they would be in life.

    Args:
        state: Where everything is; it is copied.
        weights: What the parts of the score count.
        prover: Makes the prover of the copy.
        leave: Hosts to be emptied besides those that are draining, by index.
    """

    def __init__(
        self, state: State, weights: Weights, prover: ProverOf, *, leave: tuple[int, ...] = ()
    ) -> None:
        self._prover_of = prover
        self._weights = weights
        self._leave = leave
        self.moved: set[str] = set()
        self._begin(state)
        self._unplaced = self._unplaced_at_first = tuple(self._prover.unplaced)
        self._before: list[tuple[str, ...]] = []
        """Who had no new host before each of the moves."""

    @property
    def proven(self) -> bool:
        """Tell whether everything is proven; from then on every move keeps it."""
        return not self._unplaced

    @property
    def unplaced(self) -> Sequence[str]:
        """Return who has no new host, each once for every loss in which it has none."""
        return self._unplaced

    def verdict(self) -> Verdict:
        """Return the proof as things are now, or what stands against it."""
        return self._prover.verdict()

    def score(self) -> Score:
        """Return the score as things are now."""
        return self.measure.score(len(set(self._unplaced)))

    def move(self, name: str, target: int) -> NotProven | Impossible | None:
        """Move a virtual machine if the proof allows it; else change nothing and say why.

        Where nothing was proven before, a move may not leave more without proof than there were;
        off a host that is to be empty it always may.

        Args:
            name: One that has room on the target, within the rules.
            target: Index of the host.
        """
        vm, source = self.state.vms[name], self.state.host_of(name)
        left: tuple[str, ...] = ()
        self._prover.remove(name)
        if self.proven:
            refusal = self._prover.admit(vm, target)
            if refusal is not None:
                self._prover.add(vm, source)
                self._renew()
                return refusal
        else:
            self._prover.add(vm, target)
            left = tuple(self._prover.unplaced)
            if len(set(left)) > len(set(self._unplaced)) and not self.measure.leave[source]:
                verdict = self._prover.verdict()
                self._prover.remove(name)
                self._prover.add(vm, source)
                if self._prover.is_proven:
                    self._unplaced = ()
                return verdict if isinstance(verdict, NotProven | Impossible) else None
        self._before.append(self._unplaced)
        self._unplaced = left
        self.measure.moved(vm, source, target)
        self.moved.add(name)
        return None

    def undo(self, name: str, host: int) -> None:
        """Take a move back; the last one first, so that the proof is of what was proven then."""
        self._shift(name, host)
        self.moved.discard(name)
        self._unplaced = self._before.pop()
        self._renew()

    def repeat(self, move: Move) -> None:
        """Make a move again that was made and taken back, with everything before it as it was."""
        self._shift(move.vm, self.state.index[move.target])
        if not self.proven and self._prover.is_proven:
            self._unplaced = ()
        self._renew()

    def rewind(self, moves: Sequence[Move]) -> None:
        """Take all moves back: everything is as it was at the beginning, the proof included."""
        for move in reversed(moves):
            self._shift(move.vm, self.state.index[move.source])
        self.moved.clear()
        self._before.clear()
        self._unplaced = self._unplaced_at_first
        self._renew()

    def is_kept_without(self, others: Sequence[Move], move: Move) -> bool:
        """Tell whether all stays proven if a move ends before others that were made already."""
        index = self.state.index
        for each in others:
            self._shift(each.vm, index[each.source])
        self._shift(move.vm, index[move.target])
        kept = not self.proven or self._prover.is_proven
        self._shift(move.vm, index[move.source])
        for each in others:
            self._shift(each.vm, index[each.target])
        self._renew()
        return kept

    def _shift(self, name: str, host: int) -> None:
        """Have a virtual machine on another host, whatever follows for the proof."""
        vm, source = self.state.vms[name], self.state.host_of(name)
        self._prover.remove(name)
        self._prover.add(vm, host)
        self.measure.moved(vm, source, host)

    def is_ruled(self, name: str) -> bool:
        """Tell whether rules have a say in where it goes, or see where it is."""
        vm = self.state.vms[name]
        return self.measure.standing.concerns(vm) or self.state.rules.concerns(vm)

    def takes(self, vm: Vm, host: int) -> NotProven | Impossible | None:
        """Tell why one more virtual machine, which has room there, is not admitted; None if it is.

        Where nothing is proven, room is enough.
        """
        if not self.proven:
            return None
        refusal = self._prover.admit(vm, host)
        if refusal is None:
            self._prover.remove(vm.name)
        return refusal

    def _renew(self) -> None:
        """Begin a new proof if the old one is lost for an arrangement that was proven before."""
        if self.proven and not self._prover.is_proven:
            # The search that keeps the proof up to date lost its way while a virtual machine was
            # out. A new one begins from nothing; if it fails too, no further move is admitted.
            self._begin(self.state)

    def _begin(self, state: State) -> None:
        self.state = copy_of(state)
        """Where everything is by now; read only."""
        self.measure = Measure(self.state, self._weights, leave=self._leave)
        self._prover = self._prover_of(self.state)
