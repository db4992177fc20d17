# SPDX-License-Identifier: Apache-2.0
"""What never changes: kube-apiserver refuses the update and says so."""

import json
import re
import secrets
from typing import Any

import pytest

from support.kubectl import Api
from support.manifests import changed, good

pytestmark = pytest.mark.real

# kind, where, new value (None takes the field out), what the message must say
FIXED: dict[str, tuple[str, str, Any, str]] = {
    "Zone: fsid of a pool": (
        "Zone",
        "spec.pools.0.ceph.fsid",
        "11111111-2222-4333-8444-666666666666",
        "fsid cannot change, disks live there: add a pool instead",
    ),
    "Zone: RBD pool": ("Zone", "spec.pools.0.ceph.pool", "other", "pool cannot change"),
    "Network: zone": ("Network", "spec.zone", "other", "zone cannot change"),
    "Network: bridge": ("Network", "spec.bridge.name", "br1", "name cannot change"),
    "Network: management": (
        "Network",
        "spec.bridge.management",
        "Existing",
        "management cannot change",
    ),
    "Network: management goes": (
        "Network",
        "spec.bridge.management",
        None,
        "management cannot change",
    ),
    "Image: URL": (
        "Image",
        "spec.source.url",
        "http://h/other",
        "source cannot change: make another",
    ),
    "Image: checksum": ("Image", "spec.source.sha256", "1" * 64, "source cannot change"),
    "Disk: zone": ("Disk", "spec.zone", "other", "zone cannot change"),
    "Disk: pool": ("Disk", "spec.pool", "other", "pool cannot change"),
    "Disk: pool goes": ("Disk", "spec.pool", None, "pool cannot change"),
    "Disk: size grows": ("Disk", "spec.size", "20Gi", "size cannot change"),
    "Disk: size shrinks": ("Disk", "spec.size", "5Gi", "size cannot change"),
    "Disk: source": ("Disk", "spec.source.image.name", "other", "source cannot change"),
    "Disk: source goes": ("Disk", "spec.source", None, "source cannot change"),
    "VirtualMachine: zone": ("VirtualMachine", "spec.zone", "other", "zone cannot change"),
}
FREE: dict[str, tuple[str, str, Any]] = {
    "Zone: monitors": ("Zone", "spec.pools.0.ceph.monitors", ["10.0.0.9:6789"]),
    "Zone: overcommit": ("Zone", "spec.cpuOvercommitPercent", 100),
    "Host: scheduling": ("Host", "spec.scheduling", "Enabled"),
    "Network: MTU": ("Network", "spec.bridge.mtu", 1500),
    "Image: namespaces": ("Image", "spec.allowedNamespaces", {"from": "Listed", "names": ["a"]}),
    "Disk: reclaim policy": ("Disk", "spec.reclaimPolicy", "Delete"),
    "VirtualMachine: power": ("VirtualMachine", "spec.powerState", "Running"),
    "VirtualMachine: memory": ("VirtualMachine", "spec.memory.size", "2Gi"),
    "VirtualMachine: no disks": ("VirtualMachine", "spec.disks", None),
}


def own(kind: str) -> str:
    return f"{kind.lower()[:8]}-{secrets.token_hex(3)}"


@pytest.mark.parametrize("case", FIXED)
def test_a_fixed_field_stays(api: Api, case: str) -> None:
    kind, path, value, says = FIXED[case]
    made = api.make(good(kind, own(kind)))
    message = api.refusal(changed(made, path, value), verb="replace")
    assert says in message, message or "accepted"
    field = says.partition(" ")[0]
    assert re.search(rf"spec\S*\.{field}: Invalid value", message), message


@pytest.mark.parametrize("case", FREE)
def test_a_free_field_changes(api: Api, case: str) -> None:
    kind, path, value = FREE[case]
    made = api.make(good(kind, own(kind)))
    assert not api.refusal(changed(made, path, value), verb="replace")


def test_a_fixed_field_is_not_added_later(api: Api) -> None:
    body = changed(changed(good("Disk", own("Disk")), "spec.pool", None), "spec.source", None)
    made = api.make(body)
    assert "pool cannot change" in api.refusal(changed(made, "spec.pool", "x"), verb="replace")
    source = {"image": {"name": "x"}}
    message = api.refusal(changed(made, "spec.source", source), verb="replace")
    assert "source cannot change" in message


def test_a_status_is_not_written_with_the_spec(api: Api) -> None:
    body = good("Disk", own("Disk")) | {"status": {"size": "1Gi"}}
    assert "status" not in api.make(body)
    kept = api.kubectl("get", "disk", body["metadata"]["name"], "-n", api.namespace, "-o", "json")
    assert "status" not in json.loads(kept)
