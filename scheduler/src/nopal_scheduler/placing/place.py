# SPDX-License-Identifier: Apache-2.0
"""Place one virtual machine: of the hosts that fit the best, or why none does.

Best is what satisfies most of its preferences, then the least loaded host, then the first by name.
"""

from collections.abc import Iterable, Sequence
from functools import reduce

import numpy as np
import numpy.typing as npt

from ..answer import NoPlacement, Placement, Refusal
from ..model import Vm
from ..rules import Counts, Mask
from ..state import Amounts, State
from .explain import refusals

__all__ = ["NoPlacement", "Placement", "Refusal", "no_placement", "place", "ranking"]

_Share = npt.NDArray[np.float64]


def place(state: State, vm: Vm) -> Placement | NoPlacement:
    """Return the best host that fits, or why none does; the state stays as it is.

    Args:
        state: Where everything else is.
        vm: One that the state does not have; a `host` in it is not looked at.

    Raises:
        ValueError: the state has a virtual machine of that name.
    """
    fits = _fitting(state, vm)
    if not fits.any():
        return no_placement(state, vm)
    if _prefers(vm):
        score = _preference(state, vm)
        fits &= score == score[fits].max()
    shares = _shares(state, vm, state.free)
    fuller = np.where(fits, reduce(np.maximum, shares), np.inf)
    best = (fuller == fuller.min()).nonzero()[0]
    if best.size > 1:
        best = best[[_sum([share[best] for share in shares]).argmin()]]
    return Placement(state.hosts[best[0]].name)


def ranking(
    state: State, vm: Vm, *, fullest: bool = False, held: Amounts | None = None
) -> Sequence[int]:
    """Return every host that fits, best first; the first is that of `place`.

    Args:
        state: Where everything else is.
        vm: One that the state does not have.
        fullest: Take the most loaded host first where preferences are equal: it packs tighter.
        held: What every host keeps free for others, by resource: it counts as load.

    Raises:
        ValueError: the state has a virtual machine of that name.
    """
    hosts = _fitting(state, vm).nonzero()[0]
    if not hosts.size:
        return []
    free = state.free if held is None else state.free - held
    shares = [share[hosts] for share in _shares(state, vm, free)]
    sign = -1.0 if fullest else 1.0
    keys = [sign * _sum(shares), sign * reduce(np.maximum, shares)]
    if _prefers(vm):
        keys.append(-_preference(state, vm)[hosts].astype(np.float64))
    # lexsort is stable and takes its last key first: equals stay in the order of their names.
    order: list[int] = hosts[np.lexsort(keys)].tolist()
    return order


def no_placement(state: State, vm: Vm, more: Iterable[Refusal] = ()) -> NoPlacement:
    """Return why no host takes a virtual machine.

    Args:
        state: Where everything else is.
        vm: One that the state does not have.
        more: Refusals of hosts that do fit, by whoever asks for more than that: see
            `explain.not_admitted`.
    """
    every = (*refusals(state, vm), *more)
    return NoPlacement(len(state.hosts), tuple(sorted(every, key=lambda r: (r.host, r.reason))))


def _fitting(state: State, vm: Vm) -> Mask:
    if vm.name in state.vms:
        # Its own room and its own labels would count against it.
        raise ValueError(f'there is a vm "{vm.name}" already')
    return state.fits(vm)


def _prefers(vm: Vm) -> bool:
    return any(not rule.required for rule in vm.rules)


def _preference(state: State, vm: Vm) -> Counts:
    return state.rules.preference(vm, state.eligible(vm))


def _shares(state: State, vm: Vm, free: Amounts) -> list[_Share]:
    """Return how full every host would be of each resource that it takes, cpu and memory first.

    Further resources count only for who needs them: GPUs that are all in use are no reason to keep
    a virtual machine without one away.
    """
    rows = [0, 1, *(r for r, n in enumerate(state.resources[2:], 2) if vm.needs.more.get(n))]
    needs = state.needs(vm)
    return [(state.capacity[r] - free[r] + needs[r]) / state.scale[r] for r in rows]


def _sum(shares: list[_Share]) -> _Share:
    return reduce(np.add, shares)
