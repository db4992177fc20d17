# SPDX-License-Identifier: Apache-2.0
"""A running Nopal as its users see it: objects, guests and the bytes that the guests wrote."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nopal_dev.bootsector import BootSector, Counter, read_counter
from nopal_dev.cluster import Cluster
from nopal_dev.hosts import Host

Object = dict[str, Any]

ZONE = "home"
NETWORK = "guests"

SETTINGS = {
    "NOPAL_LEASE_RENEW_SECONDS": "1",
    "NOPAL_LEASE_SECONDS": "6",
    "NOPAL_LEADER_LEASE_SECONDS": "6",
    "NOPAL_POLL_SECONDS": "2",
    "NOPAL_RESYNC_SECONDS": "20",
    "NOPAL_RESTART_BACKOFF_SECONDS": "1",
    "NOPAL_RETRY_LIMIT_SECONDS": "3",
    "NOPAL_ZONE_STATUS_SECONDS": "1",
    "NOPAL_ORPHAN_WAIT_SECONDS": "4",
    "NOPAL_TRASH_DELAY_SECONDS": "0",
    "NOPAL_CEPH_OPERATION_SECONDS": "10",
}
"""Time limits, short enough for a test to wait for them."""

PATIENCE = 60.0
"""Seconds that a test waits for what must happen: a limit, never a figure."""


class Site:
    """One cluster with the operator and the daemons running in it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def start(self, settings: Mapping[str, str] = SETTINGS) -> None:
        """Start the operator and the daemons, and make a zone with a network."""
        self.cluster.workloads.start(settings)
        self.cluster.image_server.up()
        self.apply(self.zone(), self.network())
        wait(lambda: self.ready("zone", ZONE) and self.ready("network", NETWORK), "zone is ready")

    # Objects ---------------------------------------------------------------------------------

    def zone(self, name: str = ZONE, **spec: Any) -> Object:
        ceph = self.cluster.ceph
        pool = {
            "name": "main",
            "type": "Ceph",
            "ceph": {
                "fsid": self.cluster.state.fsid,
                "monitors": ceph.monitors,
                "pool": "nopal",
                "secretRef": {"namespace": "nopal-system", "name": "ceph"},
            },
        }
        default = {
            "nodeSelector": {"matchLabels": {"kubernetes.io/os": "linux"}},
            "pools": [pool],
            "storageCIDRs": [self.cluster.network.cidr],
            "hostReserved": {"memory": "1Gi"},
        }
        return _object("Zone", name, spec=default | spec)

    def network(self, name: str = NETWORK, **spec: Any) -> Object:
        default = {"zone": ZONE, "type": "Bridge", "bridge": {"name": "br-guest"}}
        return _object("Network", name, spec=default | spec)

    def image(self, name: str, guest: BootSector | None = None, **source: Any) -> Object:
        """An Image of a guest of 512 bytes, served by the cluster's image server."""
        server = self.cluster.image_server
        made = (guest or BootSector()).image(server.folder / f"{name}.raw")
        default = {"url": server.url(made.path.name), "sha256": made.sha256, "format": "raw"}
        return _object("Image", name, spec={"source": default | source})

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.cluster.kubectl.apply(list(objects))

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """The object, None if there is none."""
        where = ["-n", namespace] if namespace else []
        out = self.cluster.kubectl.run(
            "get", kind, name, *where, "--ignore-not-found", "-o", "json"
        )
        return json.loads(out) if out.strip() else None

    def delete(self, kind: str, name: str, namespace: str = "", *, wait: bool = True) -> None:
        where = ["-n", namespace] if namespace else []
        waiting = ["--timeout=60s"] if wait else ["--wait=false"]
        self.cluster.kubectl.run("delete", kind, name, *where, "--ignore-not-found", *waiting)

    def ready(self, kind: str, name: str, namespace: str = "") -> bool:
        found = self.get(kind, name, namespace)
        return found is not None and status_of(found, "Ready") == "True"

    # Hosts -----------------------------------------------------------------------------------

    def host_of(self, uid: str) -> Host | None:
        """The host that runs the VM's domain; a test fails where two do."""
        found = [
            host
            for host in self.cluster.hosts.values()
            if uid in host.virsh("list", "--uuid", check=False).split()
        ]
        assert len(found) < 2, f"{uid} runs on {[host.name for host in found]}"
        return found[0] if found else None

    def images(self) -> set[str]:
        """The RBD images of the pool, those in the trash included."""
        ceph = self.cluster.ceph
        listed = json.loads(ceph.rbd("ls", "nopal", "--format", "json"))
        trash = json.loads(ceph.rbd("trash", "ls", "nopal", "--format", "json"))
        return {*listed, *(f"trash:{entry['name']}" for entry in trash)}

    def counter(self, image: str) -> Counter | None:
        """What the guest of 512 bytes last wrote, read from Ceph by somebody else."""
        return read_counter(self.cluster.ceph.read(image, 0, 1024))


@dataclass
class Space:
    """A namespace of one test, with its virtual machines and disks."""

    site: Site
    namespace: str
    made: list[str] = field(default_factory=list)

    def disk(
        self, name: str, *, image: str | None = "counter", size: str = "4Mi", **spec: Any
    ) -> Object:
        source = {"source": {"image": {"name": image}}} if image else {}
        default = {"zone": ZONE, "size": size, **source}
        return _object("Disk", name, self.namespace, spec=default | spec)

    def vm(self, name: str, *disks: str, **spec: Any) -> Object:
        """A small VM with these disks; the first one boots."""
        default = {
            "zone": ZONE,
            "cpu": {"cores": 1},
            "memory": {"size": "32Mi"},
            "disks": [{"name": f"d{i}", "disk": {"name": d}} for i, d in enumerate(disks)],
            "shutdown": {"gracePeriodSeconds": 3},
        }
        return _object("VirtualMachine", name, self.namespace, spec=default | spec)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.site.apply(*objects)

    def get(self, kind: str, name: str) -> Object:
        found = self.site.get(kind, name, self.namespace)
        assert found is not None, f"{kind} {name} does not exist"
        return found

    def find(self, kind: str, name: str) -> Object | None:
        return self.site.get(kind, name, self.namespace)

    def delete(self, kind: str, name: str, *, wait: bool = True) -> None:
        self.site.delete(kind, name, self.namespace, wait=wait)

    def patch(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        """Change a part of the spec, as kubectl patch does."""
        self.site.cluster.kubectl.run(
            "patch", kind, name, "-n", self.namespace, "--type=merge",
            "-p", json.dumps({"spec": spec}),
        )  # fmt: skip

    def running(self, name: str) -> Object:
        """Wait until the VM is Ready, and give it."""
        return self.until(name, lambda vm: status_of(vm, "Ready") == "True", "is Ready")

    def until(
        self,
        name: str,
        true: Callable[[Object], bool],
        what: str,
        kind: str = "vm",
        *,
        seconds: float = PATIENCE,
    ) -> Object:
        """Wait until something is true of the object, and give it."""
        last: Object = {}

        def look() -> bool:
            nonlocal last
            last = self.get(kind, name)
            return true(last)

        try:
            wait(look, f"{kind} {name} {what}", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; status: {json.dumps(last.get('status'))}") from None
        return last

    def domain(self, vm: Mapping[str, Any]) -> tuple[Host, int]:
        """The host and the QEMU process of a running VM."""
        uid = vm["metadata"]["uid"]
        host = self.site.host_of(uid)
        assert host is not None, f"no host runs {uid}"
        pids = [pid for pid in host.qemu_pids() if uid in _command(pid)]
        assert len(pids) == 1, f"QEMU processes of {uid}: {pids}"
        return host, pids[0]

    def image(self, disk: str) -> str:
        """The RBD image of a disk."""
        return str(self.get("disk", disk)["status"]["location"]["image"])

    def counts(self, disk: str) -> Counter:
        """Wait until the guest has written to the disk once more, and give what it wrote."""
        image, site = self.image(disk), self.site
        before = site.counter(image)
        wait(lambda: site.counter(image) not in (None, before), f"the guest writes to {disk}")
        after = site.counter(image)
        assert after is not None
        return after


def condition(found: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The condition of that type; empty if there is none."""
    conditions = found.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


def status_of(found: Mapping[str, Any], kind: str) -> str:
    """True, False, Unknown, or nothing."""
    return str(condition(found, kind).get("status", ""))


def reason_of(found: Mapping[str, Any], kind: str) -> str:
    return str(condition(found, kind).get("reason", ""))


def wait(true: Callable[[], bool], what: str, *, seconds: float = PATIENCE) -> None:
    """Wait until it is true; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain until {what}"
        time.sleep(0.2)


def _object(kind: str, name: str, namespace: str = "", *, spec: Mapping[str, Any]) -> Object:
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "nopal.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": dict(spec)}


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:
        return ""
