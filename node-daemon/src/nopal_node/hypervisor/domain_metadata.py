# SPDX-License-Identifier: Apache-2.0
"""Whose a domain is, read back from the metadata that it carries. Pure."""

from xml.etree import ElementTree as ET

from .base import Ownership
from .domain_xml import NAMESPACE


def parse_ownership(metadata: str) -> Ownership | None:
    """Return what our metadata element says, None if it is not ours, or not whole.

    Args:
        metadata: the element as libvirt gives it, or a whole domain's XML.
    """
    try:
        # libvirt's own output, which libvirt has parsed: no entities, no external references.
        root = ET.fromstring(metadata)  # noqa: S314
    except ET.ParseError:
        return None
    tag = f"{{{NAMESPACE}}}owner"
    owner = root if root.tag in (tag, "owner") else root.find(f"metadata/{tag}")
    if owner is None:
        return None
    words = owner.attrib
    try:
        return Ownership(
            vm_uid=words["vmUID"],
            epoch=int(words["epoch"]),
            cluster_uid=words["clusterUID"],
            host_uid=words["hostUID"],
            namespace=words["namespace"],
            name=words["name"],
        )
    except (KeyError, ValueError):
        return None
