# SPDX-License-Identifier: Apache-2.0
"""What a zone is to survive, what it does survive, and how much more fits with that kept."""

from typing import Annotated

from pydantic import Field, StringConstraints

from .base import ApiModel, DnsLabel, Quantity, crd, within
from .selectors import TopologyKey

MAX_FAILURES = 3
FIT_LIMIT = 100
"""Up to which it is counted what more fits."""
LIMIT_LENGTH = 512
Failures = Annotated[int, Field(ge=0, le=MAX_FAILURES)]


class Redundancy(ApiModel):
    """How many hosts, or racks, may fail at once with room for every virtual machine elsewhere."""

    failures: Failures = 0
    """How many may be lost at once, 0 to 3. A virtual machine gets a host only if it is proven
    that after any such loss every one that restarts finds a host again, with nothing else moved.
    Left out or 0: none."""
    topology_key: TopologyKey | None = None
    """Key of a node label whose value names what fails as a whole, for example example.com/rack.
    Left out: single hosts. A node without the label stands alone."""


class StandardSize(ApiModel):
    """A size of virtual machines that is often asked for."""

    name: DnsLabel
    """Name of the size."""
    cores: Annotated[int, Field(ge=1, le=255)]
    """Virtual CPUs."""
    memory: Annotated[Quantity, Field(json_schema_extra=crd(rules=within("16Mi", "16Ti")))]
    """Memory that the guest sees, for example 4Gi: between 16Mi and 16Ti."""


class PoolRedundancy(ApiModel):
    """What one pool of the zone survives, as its hosts report it."""

    name: DnsLabel
    """Name of the pool inside the zone."""
    size: Annotated[int, Field(ge=1, le=64)]
    """Copies of each object that Ceph keeps (the pool's size)."""
    min_size: Annotated[int, Field(ge=1, le=64)]
    """Copies without which Ceph refuses to write (the pool's min_size)."""
    copies: Failures
    """Losses at once after which every object still has minSize copies, 3 at most: size - minSize,
    where no two copies of an object are in what is lost together."""
    raw_space: Failures
    """Losses of the largest of what the pool's CRUSH rule keeps copies apart by (of hosts, where
    that is OSDs) after which the rest of the cluster has space for the copies that Ceph makes anew,
    3 at most; all OSDs count, at most 85 % full afterwards. A figure that was reached is kept up to
    90 %. With a topologyKey it is not counted in that: a rack may be more than one of these."""


class RedundancyStatus(ApiModel):
    """What the zone survives: the least of what is proven for its parts."""

    failures: Failures | None = None
    """Losses at once that the whole zone survives: the least of compute, copies and rawSpace. At
    most what spec.redundancy asks for, because more is not looked for; left out while no ready host
    has reported on a pool."""
    compute: Failures
    """Losses for which it is proven that every virtual machine that restarts finds another host;
    hosts that are down with such virtual machines are lost already."""
    pools: Annotated[
        tuple[PoolRedundancy, ...],
        Field(max_length=16, json_schema_extra=crd(list_map=("name",))),
    ] = ()
    """The zone's pools, as far as a ready host has reported them."""


class Fit(ApiModel):
    """How many more virtual machines of one size fit."""

    name: DnsLabel
    """Name of the standard size."""
    count: Annotated[int, Field(ge=0, le=FIT_LIMIT)]
    """So many more, with spec.redundancy kept: just so many where limit is given, else at least so
    many. Counting ends at 100, and earlier where it would take long, as in large zones."""
    limit: Annotated[str, StringConstraints(max_length=LIMIT_LENGTH)] = ""
    """What the next one lacks; empty where counting ended before one was refused."""
