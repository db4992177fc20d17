# SPDX-License-Identifier: Apache-2.0
"""Bounds: what shows, without any search, that nothing can make a loss good."""

from collections.abc import Iterable

import numpy as np

from ...proof import Impossible
from ...rules import Mask
from ...state import State
from ...words import amount_of


def bound(
    state: State, lost: Mask, names: Iterable[str], *, domains: tuple[str, ...]
) -> Impossible | None:
    """Return why these virtual machines cannot all restart on the hosts that are left.

    Two bounds, each true whatever is tried: all of them need more of a resource than is left on
    all hosts together; or one of them fits on no host, even on an empty rest.

    Args:
        state: The cluster before the loss.
        lost: The hosts that are lost.
        names: What was on them and restarts.
        domains: The failure domains that the lost hosts are.

    Returns:
        The bound; None if none is hit.
    """
    targets = state.takes & ~lost
    left = np.maximum(state.free[:, targets], 0)
    wanted = np.zeros(len(state.resources), dtype=np.int64)
    single = ""
    for name in names:
        vm = state.vms[name]
        needs = state.needs(vm)
        wanted += needs
        fits = (left >= needs[:, None]).all(axis=0) & state.eligible(vm)[targets]
        if not single and not fits.any():
            single = f'no host that is left has room for vm "{name}" and may take it'
    for row, resource in enumerate(state.resources):
        missing = int(wanted[row] - left[row].sum())
        if missing > 0:
            return lack(state, lost, resource, missing, domains=domains)
    return Impossible(domains, single) if single else None


def lack(
    state: State, lost: Mask, resource: str, missing: int, *, domains: tuple[str, ...]
) -> Impossible:
    """Return that so much of a resource is missing on all hosts left together."""
    if lost.all():
        return Impossible(domains, "no host is left")
    if not (state.takes & ~lost).any():
        return Impossible(domains, "no host is left that takes virtual machines")
    reason = f"the hosts left lack {amount_of(resource, missing)}"
    return Impossible(domains, reason, resource, missing)
