# SPDX-License-Identifier: Apache-2.0
"""Where one virtual machine may be by its list, and in which losses two are at the same time.

After the loss of S it is at its first stop whose failure domain is not in S. So it is at a stop in
exactly those losses in which all earlier stops are lost and this one is not; and two virtual
machines can be at two stops in one loss of at most k if what must be lost for both is at most k
domains and neither stop is among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ...rules import Counts

NOWHERE = -1
"""The stop of what is lost and does not restart."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A host where a virtual machine may be."""

    host: int
    """Or NOWHERE."""
    domain: int
    """The host's failure domain, or NOWHERE."""
    lost: frozenset[int]
    """The failure domains that must be lost for that: those of all stops before."""

    def meets(self, other: "Stop", failures: int) -> bool:
        """Tell whether in some loss of at most k one is at this stop and another at the other."""
        return (
            self.domain not in other.lost
            and other.domain not in self.lost
            and len(self.lost | other.lost) <= failures
        )


def stops(hosts: Sequence[int], domain: Counts, *, ends: bool = False) -> tuple[Stop, ...]:
    """Return the stops of a virtual machine: its home first, then its list.

    Args:
        hosts: Home and list.
        domain: The failure domain of each host.
        ends: Whether it is gone for good once all of them are lost.
    """
    found, lost = [], frozenset[int]()
    for host in hosts:
        at = int(domain[host])
        found.append(Stop(host, at, lost))
        lost |= {at}
    return (*found, Stop(NOWHERE, NOWHERE, lost)) if ends else tuple(found)
