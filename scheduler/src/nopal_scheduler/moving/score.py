# SPDX-License-Identifier: Apache-2.0
"""How well a zone is arranged: one number, lower is better, and the parts that it is made of.

What is even is measured by the standard deviation of shares, so most moves change it by a few
thousandths; what is wrong (somebody has to leave, a rule is broken, no proof) is counted,
and one of them weighs more than any unevenness.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

CPU, MEMORY, VMS = "cpu", "memory", "vms"


@dataclass(frozen=True, slots=True)
class Weights:
    """What one unit of each part adds to the score."""

    cpu: float = 1.0
    """For each 1.0 of standard deviation of the used share of CPU. CPU and memory alike: which of
    them runs out first differs from zone to zone."""
    memory: float = 1.0
    """The same of memory."""
    more: float = 0.25
    """The same of every other resource: few virtual machines use them, and they have no other
    choice, so evenness there helps little."""
    vms: float = 0.25
    """The same of the number of virtual machines, as a share of the mean. It stands for the load
    that nobody measures, and for how many restart at once when the host is lost."""
    leaving: float = 1.0
    """For each virtual machine that is still on a host which is to be empty: above all evenness,
    because somebody waits for that host."""
    stuck: float = 0.1
    """For each host that could not be emptied. About what ten good moves win: it is no damage, but
    no maintenance is possible there."""
    required: float = 1.0
    """For each required rule that is broken."""
    preferred: float = 0.0002
    """For each point of weight of a preferred rule that is broken: with the full 100 points as much
    as a few good moves; with one point it decides between equals."""
    unproven: float = 1.0
    """For each virtual machine that has no new host after some loss of up to k failure domains.
    Above all evenness too: while there is one, nothing new is placed."""


DEFAULT_WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Score:
    """The parts of the score; `total` is their weighted sum."""

    spread: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Standard deviation, over the hosts that take virtual machines, of the used share by resource;
    under "vms" that of their number as a share of the mean."""
    leaving: int = 0
    """Movable virtual machines on draining hosts, or on hosts that are being evacuated."""
    stuck: int = 0
    """Hosts that cannot be emptied: one of their virtual machines fits nowhere else as things are,
    or all of them are more than what is free elsewhere. A lower bound, room alone."""
    required: int = 0
    """Required rules that are broken, counted for each virtual machine that has one."""
    preferred: int = 0
    """Weights of the preferred rules that are broken, added up."""
    unproven: int = 0
    """Virtual machines without a new host after some loss, as far as the search found hosts; on
    large zones those without a list of backups."""
    weights: Weights = DEFAULT_WEIGHTS

    @property
    def parts(self) -> Mapping[str, float]:
        """Return what every part adds to the total, by name."""
        weights = self.weights
        spread = {
            f"spread of {name}": weight_of(weights, name) * value
            for name, value in self.spread.items()
        }
        return {
            **spread,
            "vms on hosts to be emptied": weights.leaving * self.leaving,
            "hosts that cannot be emptied": weights.stuck * self.stuck,
            "broken required rules": weights.required * self.required,
            "broken preferred rules": weights.preferred * self.preferred,
            "vms without proof": weights.unproven * self.unproven,
        }

    @property
    def total(self) -> float:
        """Return the score."""
        return sum(self.parts.values())


def weight_of(weights: Weights, resource: str) -> float:
    """Return the weight of a resource's spread, or of that of the number of virtual machines."""
    known = {CPU: weights.cpu, MEMORY: weights.memory, VMS: weights.vms}
    return known.get(resource, weights.more)
