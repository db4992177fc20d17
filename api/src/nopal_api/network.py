# SPDX-License-Identifier: Apache-2.0
"""Network: a layer 2 network that virtual machines of a zone connect to."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from .base import ApiModel, DnsLabel, Generation, Rule, crd
from .conditions import Conditions
from .shared import AllowedNamespaces
from .zone import HostCount


class Bridge(ApiModel):
    """A Linux bridge of the same name on every host of the zone."""

    name: Annotated[
        str,
        StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_.-]*$", min_length=1, max_length=15),
        Field(json_schema_extra=crd(immutable="name cannot change: make another Network instead")),
    ]
    """Name of the bridge; Linux allows 15 characters."""
    management: Annotated[
        Literal["Existing", "Managed"],
        Field(
            json_schema_extra=crd(
                immutable="management cannot change: make another Network instead"
            )
        ),
    ] = "Existing"
    """Existing: the bridge is there and Nopal never changes it. Managed: Nopal makes the bridge,
    without an uplink, and removes it with the Network."""
    mtu: Annotated[int, Field(ge=576, le=65521)] | None = None
    """MTU in bytes. Existing: a bridge with a smaller one is reported. Managed: set on the bridge;
    left out, the kernel's 1500 stays. The guest's interface gets the same."""


class NetworkSpec(ApiModel):
    """How the network is realized, and who may use it."""

    model_config = ConfigDict(
        json_schema_extra=crd(
            rules=(
                Rule(
                    "has(self.bridge) == (self.type == 'Bridge')",
                    "bridge must be given when type is Bridge, and only then",
                    field=".bridge",
                ),
            )
        )
    )

    zone: Annotated[DnsLabel, Field(json_schema_extra=crd(immutable="zone cannot change"))]
    """The zone whose hosts realize the network."""
    type: Annotated[Literal["Bridge"], Field(json_schema_extra=crd(immutable="type cannot change"))]
    """Kind of network; the field of the same name, in lower case, holds its settings."""
    bridge: Bridge | None = None
    """Settings of a network of type Bridge: a Linux bridge of the same name on every host of the
    zone."""
    allowed_namespaces: AllowedNamespaces = AllowedNamespaces()
    """Namespaces whose virtual machines may connect to the network."""


class NetworkStatus(ApiModel):
    """Where the network is realized."""

    observed_generation: Generation | None = None
    """The metadata.generation that the status was computed from."""
    hosts: HostCount | None = None
    """Hosts of the zone, and those that realize the network."""
    conditions: Conditions = ()
    """Ready: every ready host of the zone realizes the network."""


class Network(ApiModel):
    """A layer 2 network that virtual machines of a zone connect to."""

    spec: NetworkSpec
    """How the network is realized, and who may use it."""
    status: NetworkStatus = NetworkStatus()
    """Where it is realized."""
