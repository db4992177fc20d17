# SPDX-License-Identifier: Apache-2.0
"""Zone: a set of nodes that share storage and networks, and the rules for placing VMs there."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from .base import (
    ApiModel,
    DnsLabel,
    Generation,
    ObjectName,
    Quantity,
    Rule,
    crd,
    within,
)
from .conditions import Conditions
from .redundancy import Fit, Redundancy, RedundancyStatus, StandardSize
from .selectors import NodeSelector
from .shared import AllowedNamespaces, Resources

_STAYS = "cannot change, disks live there: add a pool instead"


class SecretRef(ApiModel):
    """Points to a Secret."""

    namespace: DnsLabel
    """Namespace of the Secret."""
    name: ObjectName
    """Name of the Secret."""


class CephPool(ApiModel):
    """An RBD pool of a Ceph cluster."""

    fsid: Annotated[
        str,
        StringConstraints(
            pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", min_length=36, max_length=36
        ),
        Field(json_schema_extra=crd(immutable=f"fsid {_STAYS}")),
    ]
    """The Ceph cluster's fsid, as `ceph fsid` prints it. A host that reaches another cluster under
    these monitors refuses to use it."""
    monitors: Annotated[
        tuple[
            Annotated[
                str,
                StringConstraints(
                    pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$",
                    min_length=3,
                    max_length=262,
                ),
            ],
            ...,
        ],
        Field(min_length=1, max_length=15, json_schema_extra=crd(list_set=True)),
    ]
    """Monitor addresses as host:port, for example 10.0.0.1:3300 or [fd00::1]:3300; every host of
    the zone must reach them."""
    pool: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", min_length=1, max_length=128),
        Field(json_schema_extra=crd(immutable=f"pool {_STAYS}")),
    ]
    """The RBD pool; make it with `ceph osd pool create` and `rbd pool init`."""
    secret_ref: SecretRef
    """A Secret with one entry for each host: the key is the node's name, the value is the cephx
    key of the user client.nopal.NODE. One host never uses another host's key."""


class Pool(ApiModel):
    """A place where disks live."""

    model_config = ConfigDict(
        json_schema_extra=crd(
            rules=(
                Rule(
                    "has(self.ceph) == (self.type == 'Ceph')",
                    "ceph must be given when type is Ceph, and only then",
                    field=".ceph",
                ),
            )
        )
    )

    name: DnsLabel
    """Name of the pool inside this zone; disks refer to it."""
    type: Annotated[Literal["Ceph"], Field(json_schema_extra=crd(immutable=f"type {_STAYS}"))]
    """Kind of storage; the field of the same name, in lower case, holds its settings."""
    ceph: CephPool | None = None
    """Settings of a pool of type Ceph."""


class HostReserved(ApiModel):
    """What every host keeps for itself: the operating system, Ceph's daemons and pods."""

    cpu: Annotated[int, Field(ge=0, le=4096)] = 0
    """Host threads that are not given to virtual machines."""
    memory: Annotated[Quantity, Field(json_schema_extra=crd(rules=within("1Mi", "16Ti")))] = "2Gi"
    """Memory that is not given to virtual machines, for example 8Gi."""


class ZoneSpec(ApiModel):
    """What a zone consists of."""

    model_config = ConfigDict(
        json_schema_extra=crd(
            rules=(
                Rule(
                    "!has(self.defaultPool) || self.pools.exists(p, p.name == self.defaultPool)",
                    "defaultPool must name one of the pools",
                    field=".defaultPool",
                ),
                Rule(
                    "has(self.defaultPool) || size(self.pools) == 1",
                    "defaultPool must be given when there is more than one pool",
                    field=".defaultPool",
                ),
            )
        )
    )

    node_selector: NodeSelector
    """Which Kubernetes nodes belong to the zone. A node that an older zone has already selected
    stays there."""
    pools: Annotated[
        tuple[Pool, ...],
        Field(min_length=1, max_length=16, json_schema_extra=crd(list_map=("name",))),
    ]
    """The storage that every host of the zone reaches."""
    default_pool: DnsLabel | None = None
    """The pool of disks that name none; with a single pool it may be left out."""
    cpu_overcommit_percent: Annotated[int, Field(ge=100, le=3200)] = 400
    """Virtual CPUs for each host thread, in percent: 400 gives 4 for each thread. Memory is never
    overcommitted."""
    host_reserved: HostReserved = HostReserved()
    """What every host keeps for itself: the operating system, Ceph's daemons and pods."""
    redundancy: Redundancy | None = None
    """How many hosts, or racks, may fail. Left out: none, and room is given away to the last."""
    standard_sizes: Annotated[
        tuple[StandardSize, ...],
        Field(max_length=8, json_schema_extra=crd(list_map=("name",))),
    ] = ()
    """Sizes of virtual machines for which status.fits says how many more there is room for."""
    storage_cidrs: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=4, max_length=43)], ...],
        Field(
            min_length=1,
            max_length=16,
            alias="storageCIDRs",
            json_schema_extra=crd(
                list_set=True,
                item_rules=(
                    Rule(
                        "isCIDR(self)",
                        "must be a network in CIDR notation, for example 10.0.0.0/24",
                    ),
                    Rule(
                        "!isCIDR(self) || (cidr(self) == cidr(self).masked()"
                        " && cidr(self).prefixLength() > 0)",
                        "must be a network, without host bits and smaller than /0",
                    ),
                ),
            ),
        ),
    ]
    """Networks that the hosts' Ceph clients have their addresses in, for example 10.0.0.0/24. A
    host is fenced by these addresses, so a host without one is not used."""
    allowed_namespaces: AllowedNamespaces = AllowedNamespaces()
    """Namespaces whose virtual machines and disks may use the zone."""


class HostCount(ApiModel):
    """How many hosts there are."""

    total: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Hosts of the zone."""
    ready: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Hosts that are ready."""


class ZoneStatus(ApiModel):
    """What the operator sees of a zone."""

    observed_generation: Generation | None = None
    """The metadata.generation that the status was computed from."""
    hosts: HostCount | None = None
    """Hosts of the zone."""
    capacity: Resources | None = None
    """What virtual machines may use on the ready hosts, overcommit included."""
    allocated: Resources | None = None
    """What the assigned virtual machines take, overhead included."""
    redundancy: RedundancyStatus | None = None
    """What the zone survives, where spec.redundancy asks for it."""
    fits: Annotated[
        tuple[Fit, ...], Field(max_length=8, json_schema_extra=crd(list_map=("name",)))
    ] = ()
    """How many more virtual machines of each standard size fit, one size at a time."""
    conditions: Conditions = ()
    """Ready: the zone has a ready host and its hosts are its own. Redundant: it survives what
    spec.redundancy asks for."""


class Zone(ApiModel):
    """A set of nodes that share storage and networks, and the rules for placing virtual machines.

    Everything else names a zone: disks live in one, virtual machines run in one and never leave it.
    """

    spec: ZoneSpec
    """What the zone consists of."""
    status: ZoneStatus = ZoneStatus()
    """What the operator sees."""
