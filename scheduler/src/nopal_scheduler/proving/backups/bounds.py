# SPDX-License-Identifier: Apache-2.0
"""What no list and no packing can get around: bounds that show that k failures are too many."""

import numpy as np

from ...model import Vm
from ...proof import Impossible
from ...rules import Counts
from ...state import Amounts, State
from ..cases.bounds import lack


def room_bound(state: State, domain: Counts, to_restart: Amounts) -> Impossible | None:
    """Tell whether for some loss of k domains less is free on all other hosts than is needed.

    What is lost counts once as need and once as free room that is gone: the k domains with the
    largest sum of both are the worst there can be, for each resource on its own.

    Args:
        state: Where everything is.
        domain: The failure domain of each host, as index in `lost_with`; there are more than k.
        to_restart: By resource and failure domain the needs of what restarts.
    """
    names = state.domain_names
    free = np.where(state.takes, np.maximum(state.free, 0), 0)
    count = state.redundancy.failures
    for r, resource in enumerate(state.resources):
        freed = np.zeros(len(names), dtype=np.int64)
        np.add.at(freed, domain, free[r])
        worst = np.argsort(-(freed + to_restart[r]), kind="stable")[:count]
        needed = int(to_restart[r, worst].sum())
        left = int(freed.sum() - freed[worst].sum())
        if needed > left:
            lost = tuple(sorted(names[d] for d in worst))
            gone = np.isin(domain, worst)
            return lack(state, gone, resource, needed - left, domains=lost)
    return None


def host_bound(state: State, domain: Counts, vm: Vm) -> Impossible | None:
    """Tell whether every host with room for one virtual machine can be lost together with its own.

    Nothing else is moved, so that no host gets more room than it has.
    """
    home = int(domain[state.host_of(vm.name)])
    enough = (state.free >= state.needs(vm)[:, None]).all(axis=0) & state.eligible(vm)
    others = set(domain[enough].tolist()) - {home}
    if len(others) >= state.redundancy.failures:
        return None
    names = state.domain_names
    return Impossible(
        tuple(sorted(names[d] for d in (home, *others))),
        f'no host that is left has room for vm "{vm.name}" and may take it',
    )
