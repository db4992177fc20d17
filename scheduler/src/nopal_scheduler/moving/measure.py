# SPDX-License-Identifier: Apache-2.0
"""The score of a state, and its upkeep while virtual machines are moved one by one."""

import numpy as np

from ..model import Vm
from ..rules import Counts, Mask
from ..state import State
from .levels import Levels
from .score import DEFAULT_WEIGHTS, Score, Weights
from .standing import Standing


class Measure:
    """The score of everything but the proof, kept up to date.

    Args:
        state: Where everything is; whoever changes it says so by `moved`.
        weights: What each part counts.
        leave: Hosts to be emptied besides those that are draining, by index.
    """

    def __init__(
        self, state: State, weights: Weights = DEFAULT_WEIGHTS, *, leave: tuple[int, ...] = ()
    ) -> None:
        self._state = state
        self.weights = weights
        self.open: Mask = state.takes.copy()
        """The hosts that take virtual machines; only their evenness counts."""
        self.open[list(leave)] = False
        self.leave: Mask = np.array([host.draining for host in state.hosts], dtype=np.bool_)
        """The hosts that are to be empty."""
        self.leave[list(leave)] = True
        self.levels = Levels(state, self.open, weights)
        self.standing = Standing(state, self.open)
        self._awake: Mask = np.array([not host.blocked for host in state.hosts], dtype=np.bool_)
        self._awake[list(leave)] = True
        self._shapes: dict[object, int] = {}
        self._shape_needs: list[Counts] = []
        self._shape_places: list[Mask] = []
        self._leaving = 0
        found: dict[tuple[int, int], int] = {}
        for name in sorted(state.vms):
            vm, host = state.vms[name], state.host_of(name)
            key = (self._shape(vm), host)
            found[key] = found.get(key, 0) + 1
            self._leaving += vm.movable and bool(self.leave[host])
        self._there: Counts = np.zeros((len(self._shapes), len(state.hosts)), dtype=np.int64)
        """How many of each shape are on each host."""
        for (shape, host), count in found.items():
            self._there[shape, host] = count
        self._needs: Counts = np.array(self._shape_needs).reshape(-1, len(state.resources))
        self._places: Mask = np.array(self._shape_places, dtype=np.bool_)
        self._places = self._places.reshape(-1, len(state.hosts))

    def moved(self, vm: Vm, source: int, target: int) -> None:
        """Follow one virtual machine that the state has on its new host already."""
        self.levels.move(self._state.needs(vm), source, target)
        self.standing.move(vm, source, target)
        shape = self._shape(vm)
        self._there[shape, source] -= 1
        self._there[shape, target] += 1
        self._leaving += int(vm.movable) * (int(self.leave[target]) - int(self.leave[source]))

    def score(self, without_proof: int = 0) -> Score:
        """Return the score, with so many virtual machines without a new host after some loss."""
        return Score(
            spread=self.levels.spread(),
            leaving=self._leaving,
            stuck=self.stuck(),
            required=self.standing.required,
            preferred=self.standing.preferred,
            unproven=without_proof,
            weights=self.weights,
        )

    @property
    def total(self) -> float:
        """Return the score without the proof."""
        return self.score().total

    def stuck(self) -> int:
        """Return how many hosts cannot be emptied, by a bound: see `Score.stuck`."""
        if not len(self._needs):
            return 0
        free = self._state.free
        fits = self._places & (free[None] >= self._needs[:, :, None]).all(axis=1)
        elsewhere = fits.sum(axis=1, keepdims=True) - fits
        alone = ((self._there > 0) & (elsewhere == 0)).any(axis=0)
        room = np.where(self.open, np.maximum(free, 0), 0)
        too_much = (self._needs.T @ self._there > room.sum(axis=1, keepdims=True) - room).any(
            axis=0
        )
        return int(((alone | too_much) & self._awake).sum())

    def _shape(self, vm: Vm) -> int:
        """Return the number of its shape: equal needs, equal places."""
        places = self._state.eligible(vm)
        needs = self._state.needs(vm)
        key = (needs.tobytes(), id(places))
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = len(self._shapes)
            self._shape_needs.append(needs)
            self._shape_places.append(places & self.open)
        return shape


def score(state: State, without_proof: int = 0, weights: Weights = DEFAULT_WEIGHTS) -> Score:
    """Return the score of a state.

    Args:
        state: Where everything is.
        without_proof: How many virtual machines have no new host after some loss.
        weights: What each part counts.
    """
    return Measure(state, weights).score(without_proof)
