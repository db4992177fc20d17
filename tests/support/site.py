# SPDX-License-Identifier: Apache-2.0
"""A running Nopal as its users see it: objects, guests and the bytes that the guests wrote."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from nopal_dev.bootsector import BootSector, Counter, read_counter
from nopal_dev.cluster import Cluster
from nopal_dev.errors import CommandError
from nopal_dev.hosts import Host
from support.waiting import PATIENCE, wait

Object = dict[str, Any]

ZONE = "home"
NETWORK = "guests"
HOSTS = "hosts.nopal.dev"

SETTINGS = {
    "NOPAL_LEASE_RENEW_SECONDS": "1",
    "NOPAL_LEASE_SECONDS": "12",
    "NOPAL_LEADER_LEASE_SECONDS": "15",
    "NOPAL_POLL_SECONDS": "2",
    "NOPAL_RESYNC_SECONDS": "20",
    "NOPAL_RESTART_BACKOFF_SECONDS": "8",
    "NOPAL_RETRY_LIMIT_SECONDS": "3",
    "NOPAL_ZONE_STATUS_SECONDS": "1",
    "NOPAL_ORPHAN_WAIT_SECONDS": "4",
    "NOPAL_TRASH_DELAY_SECONDS": "0",
    "NOPAL_CEPH_OPERATION_SECONDS": "10",
}
"""Time limits, short enough for a test to wait for them.

Not shorter: on a busy machine a host that renewed late would be called unreachable, an operator
would end that could not renew, and a back-off would be over before anybody had seen it.
"""


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

    def apply_zone(self, **spec: Any) -> None:
        """Change the zone, and wait until the operator plans by what it is now."""
        self.apply(self.zone(**spec))
        wait(self.zone_seen, "the operator has seen the zone")

    def zone_seen(self) -> bool:
        """Whether the operator has seen the zone as it is now."""
        found = self.get("zone", ZONE)
        return found is not None and _seen(found, found.get("status", {}))

    def whole(self) -> bool:
        """Whether the zone is seen as it is now, and every host is ready."""
        found = self.get("zone", ZONE)
        if found is None:
            return False
        status, count = found.get("status", {}), len(self.cluster.hosts)
        return _seen(found, status) and status.get("hosts") == {"total": count, "ready": count}

    def patch_host(self, name: str, spec: Mapping[str, Any]) -> None:
        """Change a Host's spec, and wait until the operator plans by what it is now."""
        body = json.dumps({"spec": spec})
        self.cluster.kubectl.run("patch", HOSTS, name, "--type=merge", "-p", body)

        def seen() -> bool:
            found = self.get(HOSTS, name)
            return found is not None and _seen(found, condition(found, "InZone"))

        wait(seen, f"the operator has seen the Host {name}")

    def leader(self) -> str:
        """Who leads among the operators; nothing if nobody does."""
        lease = self.get("lease", "nopal-operator", "nopal-system")
        return str(lease["spec"].get("holderIdentity", "")) if lease else ""

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """The object, None if there is none."""
        where = ["-n", namespace] if namespace else []
        out = self.cluster.kubectl.run(
            "get", kind, name, *where, "--ignore-not-found", "-o", "json"
        )
        return json.loads(out) if out.strip() else None

    def delete(self, kind: str, name: str, namespace: str = "", *, wait: bool = True) -> None:
        where = ["-n", namespace] if namespace else []
        waiting = [f"--timeout={PATIENCE:g}s"] if wait else ["--wait=false"]
        self.cluster.kubectl.run(
            "delete", kind, name, *where, "--ignore-not-found", *waiting, timeout=PATIENCE + 20.0
        )

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

    def remove_image(self, image: str) -> None:
        """Remove an RBD image; Ceph remembers for 30 s who had it open and was killed."""

        def removed() -> bool:
            with suppress(CommandError):
                self.cluster.ceph.rbd("rm", f"nopal/{image}", "--no-progress")
            return image not in self.images()

        wait(removed, f"{image} can be removed")

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

    def says(
        self,
        name: str,
        reason: str,
        *words: str,
        kind: str = "Scheduled",
        seconds: float = PATIENCE,
    ) -> Object:
        """Wait until a condition of the VM has that reason and says all these words; give the VM.

        Before all hosts are usable, and before all changes are seen, it may say other ones.
        """

        def true(vm: Object) -> bool:
            said = condition(vm, kind).get("message", "")
            return reason_of(vm, kind) == reason and all(each in said for each in words)

        return self.until(name, true, f"says {' ... '.join((reason, *words))}", seconds=seconds)

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


def _seen(found: Mapping[str, Any], by: Mapping[str, Any]) -> bool:
    """Whether what was said of an object was said of it as it is now."""
    return bool(by.get("observedGeneration") == found["metadata"]["generation"])


def _object(kind: str, name: str, namespace: str = "", *, spec: Mapping[str, Any]) -> Object:
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "nopal.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": dict(spec)}


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:
        return ""
