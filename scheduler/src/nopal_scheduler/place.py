# SPDX-License-Identifier: Apache-2.0
"""Place one virtual machine: of the hosts that fit the best, or why none does.

Best is what satisfies most of its preferences, then the least loaded host, then the first by name.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from .answer import NoPlacement, Placement, Refusal
from .explain import refusals
from .model import Vm
from .rules import Counts
from .state import State

__all__ = ["NoPlacement", "Placement", "Refusal", "no_placement", "place", "ranking"]

_Hosts = npt.NDArray[np.intp]
_Shares = npt.NDArray[np.float64]


def place(state: State, vm: Vm) -> Placement | NoPlacement:
    """Return the best host that fits, or why none does; the state stays as it is.

    Args:
        state: Where everything else is.
        vm: One that the state does not have; a `host` in it is not looked at.

    Raises:
        ValueError: the state has a virtual machine of that name.
    """
    hosts = _preferred(state, vm, _fitting(state, vm))
    if not hosts.size:
        return no_placement(state, vm)
    shares = _shares(state, vm, hosts)
    fuller = shares.max(axis=0)
    ties = np.flatnonzero(fuller == fuller.min())
    best = ties[0] if ties.size == 1 else ties[shares[:, ties].sum(axis=0).argmin()]
    return Placement(state.hosts[hosts[best]].name)


def ranking(state: State, vm: Vm) -> Sequence[int]:
    """Return every host that fits, best first; the first is that of `place`.

    Raises:
        ValueError: the state has a virtual machine of that name.
    """
    hosts = _fitting(state, vm)
    shares = _shares(state, vm, hosts)
    keys = [shares.sum(axis=0), shares.max(axis=0)] if hosts.size else []
    if hosts.size and _prefers(vm):
        keys.append(-_preference(state, vm)[hosts])
    # lexsort is stable and takes its last key first: equals stay in the order of their names.
    order: list[int] = hosts[np.lexsort(keys)].tolist() if keys else []
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


def _fitting(state: State, vm: Vm) -> _Hosts:
    if vm.name in state.vms:
        # Its own room and its own labels would count against it.
        raise ValueError(f'there is a vm "{vm.name}" already')
    return state.fits(vm).nonzero()[0]


def _preferred(state: State, vm: Vm, hosts: _Hosts) -> _Hosts:
    """Return those of the hosts that satisfy the most of its preferences."""
    if hosts.size < 2 or not _prefers(vm):
        return hosts
    score = _preference(state, vm)[hosts]
    return hosts[score == score.max()]


def _prefers(vm: Vm) -> bool:
    return any(not rule.required for rule in vm.rules)


def _preference(state: State, vm: Vm) -> Counts:
    return state.rules.preference(vm, state.eligible(vm))


def _shares(state: State, vm: Vm, hosts: _Hosts) -> _Shares:
    """Return how full the hosts would be: a row for each resource that it takes, cpu and memory.

    Further resources count only for who needs them: GPUs that are all in use are no reason to keep
    a virtual machine without one away.
    """
    rows = [0, 1, *(r for r, n in enumerate(state.resources[2:], 2) if vm.needs.more.get(n))]
    if len(rows) == len(state.resources):
        used, scale = state.capacity - state.free, state.scale
    else:
        used, scale = state.capacity[rows] - state.free[rows], state.scale[rows]
    needs = state.needs(vm)[rows] if hosts.size else np.zeros(len(rows), dtype=np.int64)
    shares: _Shares = (used[:, hosts] + needs[:, None]) / scale[:, hosts]
    return shares
