# SPDX-License-Identifier: Apache-2.0
"""Network: a layer 2 network that virtual machines of a zone connect to."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import ApiModel, ObjectName, crd
from .conditions import Condition
from .shared import ALLOWED_NAMESPACES_RULES, AllowedNamespaces
from .zone import HostCount


class Bridge(ApiModel):
    """A Linux bridge of the same name on every host of the zone."""

    name: Annotated[
        str,
        StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_.-]*$", min_length=1, max_length=15),
    ]
    """Name of the bridge; Linux allows 15 characters."""
    management: Literal["Existing", "Managed"] = "Existing"
    """Existing: the bridge is there and Nopal never changes it. Managed: Nopal makes the bridge,
    without an uplink, and removes it with the Network."""
    mtu: Annotated[int, Field(ge=576, le=65521)] | None = None
    """MTU in bytes. Existing: a bridge with a smaller one is reported. Managed: set on the bridge;
    left out, the kernel's 1500 stays. The guest's interface gets the same."""


class NetworkSpec(ApiModel):
    """How the network is realized, and who may use it."""

    zone: Annotated[ObjectName, Field(json_schema_extra=crd(immutable=True))]
    """The zone whose hosts realize the network."""
    type: Annotated[Literal["Bridge"], Field(json_schema_extra=crd(immutable=True))]
    """Kind of network; the field of the same name holds its settings."""
    bridge: Bridge | None = None
    """Settings of a network of type Bridge."""
    allowed_namespaces: Annotated[
        AllowedNamespaces, Field(json_schema_extra=crd(rules=ALLOWED_NAMESPACES_RULES))
    ] = AllowedNamespaces()
    """Namespaces whose virtual machines may connect to the network."""


NETWORK_SPEC_RULES = (
    ("self.type == 'Bridge' ? has(self.bridge) : true", "bridge must be given when type is Bridge"),
    (
        "!has(self.bridge) || !has(oldSelf.bridge) || (self.bridge.name == oldSelf.bridge.name"
        " && self.bridge.management == oldSelf.bridge.management)",
        "bridge.name and bridge.management cannot change: make another Network instead",
    ),
)


class NetworkStatus(ApiModel):
    """Where the network is realized."""

    observed_generation: int | None = None
    """The metadata.generation that the status was computed from."""
    hosts: HostCount | None = None
    """Hosts of the zone, and those that realize the network."""
    conditions: tuple[Condition, ...] = ()
    """Ready: every ready host of the zone realizes the network."""


class Network(ApiModel):
    """A layer 2 network that virtual machines of a zone connect to."""

    spec: NetworkSpec
    """How the network is realized, and who may use it."""
    status: NetworkStatus = NetworkStatus()
    """Where it is realized."""
