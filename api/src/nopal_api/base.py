# SPDX-License-Identifier: Apache-2.0
"""What every model of the API is built from: camelCase, frozen, unknown fields ignored.

Unknown fields are ignored on reading because kube-apiserver has already pruned what the schema
does not know; a process of an older release must not fall over a field of a newer one.
"""

from typing import Annotated, Any

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


def crd(**extra: Any) -> dict[str, Any]:
    """Return schema extras for the CRD generator.

    `rules=((cel, message), ...)` become x-kubernetes-validations, `list_map=("name",)` a list-map
    by these keys, `list_set=True` a set, `atomic=True` an atomic list or map, `immutable=True`
    the rule that the value never changes.
    """
    return {"x-nopal": extra}


DnsLabel = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63),
]
"""A name that is local to one object, or a Kubernetes namespace."""

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
    str, StringConstraints(pattern=r"^[1-9][0-9]{0,17}(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$", max_length=20)
]
"""An amount of bytes as Kubernetes writes it: 10Gi, 512Mi, 10G, 1073741824."""

MacAddress = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f][26ae](:[0-9a-f]{2}){5}$", max_length=17)
]
"""A locally administered unicast MAC address, lower case: its second digit is 2, 6, a or e."""

Uid = Annotated[str, StringConstraints(min_length=1, max_length=63)]
"""A Kubernetes UID."""

Epoch = Annotated[int, Field(ge=1, le=2**53)]
"""Counts the assignments of one object; a higher epoch supersedes every lower one."""
