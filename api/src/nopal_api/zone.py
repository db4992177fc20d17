# SPDX-License-Identifier: Apache-2.0
"""Zone: a set of nodes that share storage and networks, and the rules for placing VMs there."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import ApiModel, DnsLabel, ObjectName, Quantity, crd
from .conditions import Condition
from .shared import ALLOWED_NAMESPACES_RULES, AllowedNamespaces, Resources

LabelKey = Annotated[str, StringConstraints(max_length=317)]
LabelValue = Annotated[str, StringConstraints(max_length=63)]


class NodeSelector(ApiModel):
    """Selects Kubernetes nodes by their labels."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(min_length=1, max_length=16)]
    """Labels that a node must have, all of them."""


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
        StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", max_length=36),
    ]
    """The Ceph cluster's fsid, as `ceph fsid` prints it. A host that reaches another cluster
    under these monitors refuses to use it."""
    monitors: Annotated[
        tuple[
            Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.:\[\]-]+$", max_length=262)], ...
        ],
        Field(min_length=1, max_length=15, json_schema_extra=crd(list_set=True)),
    ]
    """Monitor addresses as host:port; every host of the zone must reach them."""
    pool: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", min_length=1, max_length=128)
    ]
    """The RBD pool; make it with `ceph osd pool create` and `rbd pool init`."""
    namespace: (
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", min_length=1, max_length=64)]
        | None
    ) = None
    """An RBD namespace inside the pool; leave it out for the default one."""
    secret_ref: SecretRef
    """A Secret with one entry for each host: the key is the node's name, the value is the cephx
    key of the user client.nopal.NODE. One host never uses another host's key."""


class Pool(ApiModel):
    """A place where disks live."""

    name: DnsLabel
    """Name of the pool inside this zone; disks refer to it."""
    type: Literal["Ceph"]
    """Kind of storage; the field of the same name holds its settings."""
    ceph: CephPool | None = None
    """Settings of a pool of type Ceph."""


class HostReserved(ApiModel):
    """What every host keeps for itself: the operating system, Ceph's daemons and pods."""

    cpu: Annotated[int, Field(ge=0, le=4096)] = 0
    """Host threads that are not given to virtual machines."""
    memory: Quantity = "2Gi"
    """Memory that is not given to virtual machines."""


class ZoneSpec(ApiModel):
    """What a zone consists of."""

    node_selector: NodeSelector
    """Which Kubernetes nodes belong to the zone."""
    pools: Annotated[
        tuple[Pool, ...],
        Field(
            min_length=1,
            max_length=16,
            json_schema_extra=crd(
                list_map=("name",),
                item_rules=(
                    (
                        "self.type == 'Ceph' ? has(self.ceph) : true",
                        "ceph must be given when type is Ceph",
                    ),
                ),
            ),
        ),
    ]
    """The storage that every host of the zone reaches."""
    default_pool: DnsLabel | None = None
    """The pool of disks that name none; with a single pool it may be left out."""
    cpu_overcommit_percent: Annotated[int, Field(ge=100, le=3200)] = 400
    """Virtual CPUs for each host thread, in percent: 400 gives 4 for each thread. Memory is never
    overcommitted."""
    host_reserved: HostReserved = HostReserved()
    """What every host keeps for itself."""
    storage_cidrs: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=43)], ...],
        Field(
            min_length=1,
            max_length=16,
            alias="storageCIDRs",
            json_schema_extra=crd(
                list_set=True,
                item_rules=(
                    ("isCIDR(self)", "must be a network in CIDR notation, for example 10.0.0.0/24"),
                ),
            ),
        ),
    ]
    """Networks that the hosts' Ceph clients have their addresses in. A host is fenced by these
    addresses, so a host without one is not used."""
    allowed_namespaces: Annotated[
        AllowedNamespaces, Field(json_schema_extra=crd(rules=ALLOWED_NAMESPACES_RULES))
    ] = AllowedNamespaces()
    """Namespaces whose virtual machines and disks may use the zone."""


ZONE_SPEC_RULES = (
    (
        "!has(self.defaultPool) || self.pools.exists(p, p.name == self.defaultPool)",
        "defaultPool must name one of the pools",
    ),
    (
        "has(self.defaultPool) || size(self.pools) == 1",
        "defaultPool must be given when there is more than one pool",
    ),
    (
        "oldSelf.pools.all(o, self.pools.all(p, p.name != o.name || p.type != 'Ceph' || o.type != 'Ceph'"
        " || (p.ceph.fsid == o.ceph.fsid && p.ceph.pool == o.ceph.pool)))",
        "fsid and pool of a pool cannot change: disks live there; add a pool instead",
    ),
)


class HostCount(ApiModel):
    """How many hosts there are."""

    total: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Hosts of the zone."""
    ready: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Hosts that are ready."""


class ZoneStatus(ApiModel):
    """What the operator sees of a zone."""

    observed_generation: int | None = None
    """The metadata.generation that the status was computed from."""
    hosts: HostCount | None = None
    """Hosts of the zone."""
    capacity: Resources | None = None
    """What virtual machines may use on the ready hosts, overcommit included."""
    allocated: Resources | None = None
    """What the assigned virtual machines take, overhead included."""
    conditions: tuple[Condition, ...] = ()
    """Ready: the zone has a ready host and its hosts are its own."""


class Zone(ApiModel):
    """A set of nodes that share storage and networks, and the rules for placing virtual machines."""

    spec: ZoneSpec
    """What the zone consists of."""
    status: ZoneStatus = ZoneStatus()
    """What the operator sees."""
