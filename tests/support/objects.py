# SPDX-License-Identifier: Apache-2.0
"""Objects for tests, as a user would write them."""

from typing import Any

FSID = "11111111-2222-4333-8444-555555555555"


def zone(name: str = "z1", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {
            "nodeSelector": {"matchLabels": {"zone": name}},
            "pools": [
                {
                    "name": "main",
                    "type": "Ceph",
                    "ceph": {
                        "fsid": FSID,
                        "monitors": ["10.0.0.1:6789"],
                        "pool": "vms",
                        "secretRef": {"namespace": "nopal-system", "name": "ceph"},
                    },
                }
            ],
            "storageCIDRs": ["10.0.0.0/24"],
            **spec,
        },
    }


def vm(name: str = "vm1", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"zone": "z1", "cpu": {"cores": 1}, "memory": {"size": "1Gi"}, **spec},
    }


def disk(name: str = "disk1", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"zone": "z1", "size": "1Gi", **spec},
    }


def image(name: str = "image1", **spec: Any) -> dict[str, Any]:
    source = {"url": "http://example.org/a.qcow2", "sha256": "0" * 64, "format": "qcow2"}
    return {"metadata": {"name": name}, "spec": {"source": source, **spec}}


def host(name: str = "node-1", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {**spec}}


def uses(*disks: str) -> list[dict[str, Any]]:
    """A VM's disks."""
    return [{"name": name, "disk": {"name": name}} for name in disks]


def on(*networks: str, **more: Any) -> list[dict[str, Any]]:
    """A VM's interfaces, one in each network."""
    return [{"name": f"eth{i}", "network": {"name": n}, **more} for i, n in enumerate(networks)]
