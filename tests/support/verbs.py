# SPDX-License-Identifier: Apache-2.0
"""What the roles of the operator and the daemons grant, against what they were used for."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from nopal_dev.audit import Allowed, resource
from nopal_dev.cluster import Cluster

_REASON = re.compile(
    r'allowed by (?:ClusterRole|Role)Binding "[^"/]+(?:/(?P<namespace>[^"]+))?"'
    r' of (?P<kind>ClusterRole|Role) "(?P<role>[^"]+)"'
)


class Grant(NamedTuple):
    """One verb on one resource in one role."""

    role: str
    """``ClusterRole NAME`` or ``Role NAMESPACE/NAME``."""
    verb: str
    resource: str

    def __str__(self) -> str:
        return f"{self.role}: {self.verb} {self.resource}"


_AFTER_A_CONFLICT = "the operator reads an object again whose status somebody else wrote first"

BY_CHANCE = {
    Grant("ClusterRole nopal-operator", "get", f"{plural}.nopal.dev"): _AFTER_A_CONFLICT
    for plural in ("zones", "hosts", "networks", "images", "disks")
}
"""What may go unused in a whole run, and why it is needed nevertheless."""


def granted(roles: Iterable[Mapping[str, Any]]) -> Iterator[Grant]:
    """What the roles allow."""
    for body in roles:
        meta = body["metadata"]
        where = f"{meta['namespace']}/" if meta.get("namespace") else ""
        for rule in body["rules"]:
            for group in rule["apiGroups"]:
                for each in rule["resources"]:
                    plural, _, subresource = each.partition("/")
                    whole = resource(plural, group, subresource)
                    for verb in rule["verbs"]:
                        yield Grant(f"{body['kind']} {where}{meta['name']}", verb, whole)


def used(requests: Iterable[Allowed]) -> set[Grant]:
    """What of the roles was needed: kube-apiserver says for each request which one allowed it."""
    found = set()
    for request in requests:
        if told := _REASON.search(request.reason):
            where = f"{told['namespace']}/" if told["kind"] == "Role" else ""
            role = f"{told['kind']} {where}{told['role']}"
            found.add(Grant(role, request.verb, request.resource))
    return found


def unused(roles: Iterable[Mapping[str, Any]], requests: Iterable[Allowed]) -> list[Grant]:
    """What is granted, not excused, and was not used; and what is excused but not granted."""
    allowed = set(granted(roles))
    return sorted((allowed - used(requests) - BY_CHANCE.keys()) | (BY_CHANCE.keys() - allowed))


def needless(cluster: Cluster) -> list[Grant]:
    """What the chart's roles grant to Nopal in this cluster and nothing in it has needed."""
    # The roles for people are no component's.
    chart = "app.kubernetes.io/name=nopal,app.kubernetes.io/component"
    roles = cluster.kubectl.get("clusterroles,roles", "-A", "-l", chart)["items"]
    return unused(roles, cluster.control_plane.audit.allowed())
