# SPDX-License-Identifier: Apache-2.0
"""What every model of the API is built from: camelCase, frozen, unknown fields ignored.

Unknown fields are ignored on reading because kube-apiserver has already pruned what the schema
does not know; a process of an older release must not fall over a field of a newer one.
"""

from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """A frozen model whose fields are camelCase on the wire."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    def wire(self) -> dict[str, Any]:
        """Return the object as it goes to kube-apiserver: by alias, absent fields left out."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")


class Rule(NamedTuple):
    """One CEL rule of a schema node."""

    cel: str
    """The expression; `self` is the node. One that reads `oldSelf` is checked on updates only."""
    message: str
    """What kube-apiserver says after the node's path when the expression is false."""
    field: str = ""
    """The field below the node that the message is about, for example `.pool`."""


def crd(
    *,
    rules: tuple[Rule, ...] = (),
    item_rules: tuple[Rule, ...] = (),
    list_map: tuple[str, ...] = (),
    list_set: bool = False,
    immutable: str = "",
) -> dict[str, Any]:
    """Return schema extras for the CRD generator (`crd_schema`).

    Give them to a field by `Field(json_schema_extra=crd(...))` or to a whole model by
    `model_config = ConfigDict(json_schema_extra=crd(rules=...))`.

    Args:
        rules: CEL rules of the field or model.
        item_rules: CEL rules of each item of a list.
        list_map: makes the list a list-map by these keys.
        list_set: makes the list a set. A list is atomic otherwise.
        immutable: the field never changes, is never added nor removed by an update; the text says
            so to a person and follows the field's path.
    """
    given = {
        "rules": rules,
        "item_rules": item_rules,
        "list_map": list_map,
        "list_set": list_set,
        "immutable": immutable,
    }
    return {"x-nopal": {key: value for key, value in given.items() if value}}


DnsLabel = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63),
]
"""A name that is local to one object, a Kubernetes namespace, or the name of a Zone or VM."""

ObjectName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        min_length=1,
        max_length=253,
    ),
]
"""The name of a Kubernetes object."""

Quantity = Annotated[
    str,
    StringConstraints(
        pattern=r"^[1-9][0-9]{0,17}(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$", min_length=1, max_length=20
    ),
]
"""An amount of bytes as Kubernetes writes it: 10Gi, 512Mi, 10G, 1073741824."""

Bytes = Annotated[
    str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(k|[KMGTP]i?)?$", max_length=20)
]
"""An amount of bytes that Nopal reports, as a quantity; 0 is one."""

MacAddress = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f][26ae](:[0-9a-f]{2}){5}$", max_length=17)
]
"""A locally administered unicast MAC address, lower case: its second digit is 2, 6, a or e."""

Uid = Annotated[str, StringConstraints(min_length=1, max_length=63)]
"""A Kubernetes UID."""

Epoch = Annotated[int, Field(ge=1, le=2**53)]
"""Counts the assignments of one object; a higher epoch supersedes every lower one."""

Generation = Annotated[int, Field(ge=1, le=2**53)]
"""A metadata.generation."""

Time = Annotated[
    str, StringConstraints(max_length=32), Field(json_schema_extra={"format": "date-time"})
]
"""A time, RFC 3339 in UTC."""


def within(smallest: str, largest: str) -> tuple[Rule, ...]:
    """Return the rules that a quantity lies between two others, both included."""
    return (
        Rule(
            f"!isQuantity(self) || quantity(self).compareTo(quantity('{smallest}')) >= 0",
            f"must be at least {smallest}",
        ),
        Rule(
            f"!isQuantity(self) || quantity(self).compareTo(quantity('{largest}')) <= 0",
            f"must be at most {largest}",
        ),
    )
