# SPDX-License-Identifier: Apache-2.0
"""Good manifests, complete ones: every test of a bad one changes one thing of these."""

from copy import deepcopy
from typing import Any

from nopal_api.names import API_VERSION

Body = dict[str, Any]

_POOL: Body = {
    "name": "main",
    "type": "Ceph",
    "ceph": {
        "fsid": "11111111-2222-4333-8444-555555555555",
        "monitors": ["10.0.0.1:6789", "[fd00::1]:3300"],
        "pool": "vms",
        "secretRef": {"namespace": "nopal-system", "name": "ceph"},
    },
}
_SPECS: dict[str, Body] = {
    "Zone": {
        "nodeSelector": {"matchLabels": {"example.com/rack": "r1"}},
        "pools": [_POOL],
        "defaultPool": "main",
        "cpuOvercommitPercent": 200,
        "hostReserved": {"cpu": 1, "memory": "2Gi"},
        "redundancy": {"failures": 1, "topologyKey": "example.com/rack"},
        "standardSizes": [{"name": "small", "cores": 2, "memory": "4Gi"}],
        "storageCIDRs": ["10.0.0.0/24", "fd00::/64"],
        "allowedNamespaces": {"from": "Listed", "names": ["team-a"]},
    },
    "Host": {"scheduling": "Disabled", "resources": {"example.com/licence": 4}},
    "Network": {
        "zone": "z1",
        "type": "Bridge",
        "bridge": {"name": "br0", "management": "Managed", "mtu": 9000},
        "allowedNamespaces": {"from": "All"},
    },
    "Image": {
        "source": {
            "url": "https://images.example.com:8443/debian.qcow2?x=1",
            "sha256": "0" * 64,
            "format": "qcow2",
        },
    },
    "Disk": {
        "zone": "z1",
        "pool": "main",
        "size": "10Gi",
        "source": {"image": {"name": "debian-12.7"}},
        "reclaimPolicy": "Retain",
    },
    "VirtualMachine": {
        "zone": "z1",
        "powerState": "Stopped",
        "restartPolicy": "OnCrash",
        "cpu": {"cores": 2, "features": ["avx2", "sse4.2"]},
        "memory": {"size": "1Gi"},
        "disks": [
            {"name": "root", "disk": {"name": "root-disk"}, "bootOrder": 1},
            {"name": "data", "disk": {"name": "data-disk"}},
        ],
        "interfaces": [
            {"name": "lan", "network": {"name": "n1"}, "mac": "02:00:00:00:00:01"},
            {"name": "wan", "network": {"name": "n1"}},
        ],
        "cloudInit": {"userData": "#cloud-config\n", "networkData": "version: 2\n"},
        "resources": {"example.com/licence": 1},
        "placement": {
            "nodeSelector": {"matchLabels": {"example.com/disk": "nvme"}},
            "affinity": [
                {"matchLabels": {"app": "web"}, "topologyKey": "example.com/rack", "weight": 100}
            ],
            "antiAffinity": [
                {"matchLabels": {"app": "db"}, "topologyKey": "example.com/rack", "weight": 50}
            ],
            "spread": [
                {
                    "matchLabels": {"app": "db"},
                    "topologyKey": "example.com/rack",
                    "maxSkew": 1,
                    "weight": 1,
                }
            ],
            "eviction": "Forbidden",
        },
        "availability": {"hostLoss": "Leave", "priority": -10},
        "shutdown": {"gracePeriodSeconds": 0},
    },
}


def good(kind: str, name: str = "good", **spec: Any) -> Body:
    """Return a manifest that uses every field; `spec` replaces fields."""
    body = deepcopy(_SPECS[kind]) | spec
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": body}


def changed(body: Body, path: str, value: Any) -> Body:
    """Return the manifest with one value put in; None takes the field out.

    Args:
        body: stays as it is.
        path: dotted, a number is an index: "spec.disks.0.name".
        value: what to put there.
    """
    out = deepcopy(body)
    *way, last = path.split(".")
    place: Any = out
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    if value is None:
        del place[last]
    elif isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return out
