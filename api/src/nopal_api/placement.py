# SPDX-License-Identifier: Apache-2.0
"""Where a virtual machine wants to be, and what becomes of it when its host is lost."""

from typing import Annotated, Literal

from pydantic import Field

from .base import ApiModel
from .selectors import MatchLabels, NodeSelector, TopologyKey

Weight = Annotated[int, Field(ge=1, le=100)]
_RULES = 8


class PlacementRule(ApiModel):
    """Near to, or away from, other virtual machines of the same namespace."""

    match_labels: MatchLabels
    """Labels of the virtual machines that are meant, all of them: their metadata.labels, as they
    were when they got their host."""
    topology_key: TopologyKey | None = None
    """Key of a node label: nodes with one value of it are one place, for example example.com/rack.
    A node without the label is no place for a required rule. Left out: single hosts."""
    weight: Weight | None = None
    """How much it is preferred, 1 to 100. Left out, the rule is required."""


class SpreadRule(PlacementRule):
    """Evenly spread among other virtual machines of the same namespace."""

    max_skew: Annotated[int, Field(ge=1, le=1000)]
    """So many more of them than in the emptiest place may be where this one is, itself included
    where it has the labels."""


_Affinity = Annotated[tuple[PlacementRule, ...], Field(max_length=_RULES)]


class PlacementRules(ApiModel):
    """What a host must be, or is best, for a virtual machine."""

    node_selector: NodeSelector | None = None
    """Only nodes with these labels."""
    affinity: _Affinity = ()
    """Each: where one of these is. Where there is none yet, one that has the labels itself may be
    the first."""
    anti_affinity: _Affinity = ()
    """Each: where none of these is. A required one keeps them away from this one, too."""
    spread: Annotated[tuple[SpreadRule, ...], Field(max_length=_RULES)] = ()
    """Each: evenly among these."""


class Placement(PlacementRules):
    """Where the virtual machine wants to be. What is placed is not moved for a change of this."""

    eviction: Literal["Allowed", "Forbidden"] = "Allowed"
    """Whether plans that balance or empty hosts may move it. Nothing moves a virtual machine by
    itself yet: `python -m nopal_scheduler balance` and `evacuate` keep to it."""


HostLoss = Literal["Restart", "Leave"]


class Availability(ApiModel):
    """What becomes of the virtual machine when its host is lost."""

    host_loss: HostLoss = "Restart"
    """Restart: the zone's spec.redundancy keeps room for it on other hosts, as much as it was
    assigned. Leave: it waits for its host, and no room is kept. Leave counts at once, Restart at
    the next start after powerState Stopped: only then is it known that there is room."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """The higher, the earlier it is restarted after a loss. Left out: 0."""
