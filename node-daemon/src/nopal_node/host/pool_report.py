# SPDX-License-Identifier: Apache-2.0
"""What a host says of the zone's pools: figures that stay while the storage is at rest. Pure.

How full Ceph is changes with every write of every guest. So it is told in steps, and a step is
taken back only when it is left by a margin: else two values would alternate, a write each.
"""

from collections.abc import Sequence

from nopal_api.host import HostPool
from nopal_api.quantity import MIB
from nopal_api.redundancy import MAX_FAILURES

from ..storage.base import PoolRedundancy
from .preflight import PoolSeen

STEP = 5
"""Percent between two values of rawUsedPercent."""
MARGIN = 1
"""Percent by which it must be below the step under it to go down."""
REACH = 0.85
"""How full the rest may be after a recovery for one more loss to count: Ceph's nearfull ratio."""
KEEP = 0.90
"""Up to which a loss that was counted is still counted: Ceph's backfillfull ratio, above which it
makes no copies any more."""
_GRAIN = 64 * MIB


def pool_reports(seen: Sequence[PoolSeen], before: Sequence[HostPool]) -> tuple[HostPool, ...]:
    """Return the reports of all pools by name; one that cannot be asked keeps its last one.

    Args:
        seen: the zone's pools as they were seen just now.
        before: what the status says.
    """
    known = {pool.name: pool for pool in before}
    found = (
        known.get(pool.name)
        if pool.redundancy is None
        else _report(pool.name, pool.redundancy, known.get(pool.name))
        for pool in seen
    )
    return tuple(sorted((pool for pool in found if pool is not None), key=lambda pool: pool.name))


def _report(name: str, told: PoolRedundancy, before: HostPool | None) -> HostPool:
    return HostPool(
        name=name,
        size=told.size,
        min_size=told.min_size,
        failure_domain=told.failure_domain,
        domains=told.domains,
        copies_together=told.copies_together,
        raw_total=f"{told.raw_total // _GRAIN * (_GRAIN // MIB)}Mi",
        raw_used_percent=_percent(told, before.raw_used_percent if before else 0),
        raw_space=_space(told, before.raw_space if before else 0),
    )


def _percent(told: PoolRedundancy, before: int) -> int:
    used = 100 * told.raw_used / told.raw_total if told.raw_total else 0.0
    if before - STEP - MARGIN < used <= before:
        return before
    return min(100, -int(-used // STEP) * STEP)


def _space(told: PoolRedundancy, before: int) -> int:
    """Return how many of the largest domains may go so that what is left holds all copies."""
    space = 0
    for lost in range(1, MAX_FAILURES + 1):
        if _fill(told, lost) > (KEEP if lost <= before else REACH):
            break
        space = lost
    return space


def _fill(told: PoolRedundancy, lost: int) -> float:
    """Return how full the rest is, 0 to 1 and more, after a loss and all that Ceph does about it.

    Where fewer domains are left than copies are kept, Ceph does not make all copies anew.
    """
    left = told.shares[lost:]
    if not left or not told.raw_total:
        return float("inf")
    per_domain = max(1, told.copies_together)
    now = min(told.size, len(told.shares) * per_domain)
    then = min(told.size, len(left) * per_domain)
    return told.raw_used * then / now / (told.raw_total * sum(left))
