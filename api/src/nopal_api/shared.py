# SPDX-License-Identifier: Apache-2.0
"""Small shapes that more than one kind uses."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from .base import ApiModel, Bytes, DnsLabel, Epoch, ObjectName, Rule, Uid, crd


class NameRef(ApiModel):
    """Points to an object by its name."""

    name: ObjectName
    """Name of the object."""


class AllowedNamespaces(ApiModel):
    """Which namespaces may use a cluster-scoped object."""

    model_config = ConfigDict(
        json_schema_extra=crd(
            rules=(
                Rule(
                    "self.from == 'Listed' ? has(self.names) && size(self.names) > 0"
                    " : !has(self.names)",
                    "names must be given when from is Listed, and only then",
                    field=".names",
                ),
            )
        )
    )

    from_: Literal["All", "Listed"] = Field(default="All", alias="from")
    """All namespaces, or only those listed in names."""
    names: Annotated[
        tuple[DnsLabel, ...], Field(max_length=256, json_schema_extra=crd(list_set=True))
    ] = ()
    """The namespaces that may use it, when from is Listed."""

    def allows(self, namespace: str) -> bool:
        """Tell whether that namespace may use the object."""
        return self.from_ == "All" or namespace in self.names


class Location(ApiModel):
    """Where an RBD image is. Written once; the image is never looked up by any other name."""

    fsid: Annotated[
        str, StringConstraints(pattern=r"^[0-9a-f-]{36}$", min_length=36, max_length=36)
    ]
    """The Ceph cluster's fsid."""
    pool: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", min_length=1, max_length=128)
    ]
    """The RBD pool."""
    namespace: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]*$", max_length=64)] = ""
    """The RADOS namespace inside the pool; empty for the default one."""
    image: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", min_length=1, max_length=128)
    ]
    """The RBD image."""


class Parent(ApiModel):
    """The snapshot that a disk is cloned from, copy-on-write."""

    location: Location
    """The image that has the snapshot."""
    snapshot: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """The snapshot's name."""


class Executor(ApiModel):
    """The host that carries out the work on an object."""

    node_name: ObjectName
    """The Kubernetes node of the host."""
    epoch: Epoch
    """Counts the executors of the object."""


class VmClaim(ApiModel):
    """The one virtual machine that may use a disk, and where it was assigned to."""

    vm_name: DnsLabel
    """Name of the virtual machine, for people."""
    vm_uid: Uid = Field(alias="vmUID")
    """UID of the virtual machine: a new one with the same name does not inherit the claim."""
    node_name: ObjectName
    """The node that the virtual machine is assigned to."""
    epoch: Epoch
    """The epoch of that assignment."""


CpuFeature = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", min_length=1, max_length=64),
]
"""A CPU feature as libvirt names it (cpu_map/x86_features.xml), for example avx2 or sse4.2."""


class Resources(ApiModel):
    """An amount of CPU and memory."""

    cpu: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """CPUs: host threads of a Host; of a Zone, host threads times the overcommit."""
    memory: Bytes = "0"
    """Memory in bytes, as a quantity."""
