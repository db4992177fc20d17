# SPDX-License-Identifier: Apache-2.0
"""Labels as users write them, and what selects by them."""

from typing import Annotated

from pydantic import Field, StringConstraints

from .base import ApiModel, Rule, crd

LabelKey = Annotated[str, StringConstraints(max_length=317)]
LabelValue = Annotated[
    str,
    StringConstraints(pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", max_length=63),
]
MatchLabels = Annotated[
    dict[LabelKey, LabelValue],
    Field(
        min_length=1,
        max_length=16,
        json_schema_extra=crd(
            rules=(
                Rule(
                    "self.all(key, key.matches('^([a-z0-9.-]+/)?"
                    "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))",
                    "keys must be label keys, for example example.com/rack",
                ),
            )
        ),
    ),
]
"""Labels that something must have, all of them."""

TopologyKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        min_length=1,
        max_length=317,
    ),
    Field(
        json_schema_extra=crd(
            rules=(Rule("self != 'host'", "leave topologyKey out for single hosts"),)
        )
    ),
]
"""The key of a node label; the nodes that have one value of it belong together."""


class NodeSelector(ApiModel):
    """Selects Kubernetes nodes by their labels."""

    match_labels: MatchLabels
    """Labels that a node must have, all of them."""
