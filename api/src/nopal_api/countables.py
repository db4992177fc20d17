# SPDX-License-Identifier: Apache-2.0
"""Countable things by name that a host has and virtual machines take, besides CPU and memory."""

from typing import Annotated

from pydantic import Field, StringConstraints

from .base import Rule, crd

Counted = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=317)],
        Annotated[int, Field(ge=0, le=1_000_000_000)],
    ],
    Field(max_length=16),
]
"""How many of each, as Nopal reports it. A name that is not there is as good as 0."""

Countables = Annotated[
    Counted,
    Field(
        json_schema_extra=crd(
            rules=(
                Rule(
                    "self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?"
                    "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))",
                    "names must be like label keys, for example example.com/licence",
                ),
                Rule(
                    "!('cpu' in self) && !('memory' in self)",
                    "cpu and memory are counted by themselves: choose another name",
                ),
            )
        ),
    ),
]
"""The same as people write it."""
