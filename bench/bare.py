# SPDX-License-Identifier: Apache-2.0
"""The limit: what clone and createXML alone take, with nothing of Nopal in between."""

import base64
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from xml.etree import ElementTree

import libvirt
import rados
import rbd

from nopal_dev.cluster import Cluster

SNAPSHOT = "bench"


@dataclass(frozen=True, slots=True)
class Rate:
    """How long a number of starts took together."""

    count: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


class Bare:
    """Clones of one image, started on one host by libvirt with the XML of a real VM."""

    def __init__(
        self, cluster: Cluster, *, node: str, parent: str, snapshot: str, xml: str
    ) -> None:
        self._cluster = cluster
        self._parent, self._snapshot, self._template = parent, snapshot, xml
        clone_v2 = {"rbd_default_clone_format": "2"}
        self._rados = rados.Rados(conffile=str(cluster.ceph.conf), conf=clone_v2)
        self._rados.connect()
        self._ioctx = self._rados.open_ioctx("nopal")
        self._libvirt = libvirt.open(cluster.hosts[node].uri)
        self._secret = self._make_secret(node)
        self._lock = threading.Lock()
        self._started: list[tuple[str, str]] = []

    def start_one(self) -> float:
        """Clone and start; return the seconds that it took."""
        name, identity = f"bench-{uuid.uuid4()}", str(uuid.uuid4())
        xml = self._xml(name, identity)
        begun = time.monotonic()
        rbd.RBD().clone(
            self._ioctx, self._parent, self._snapshot, self._ioctx, name,
            features=rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK,
        )  # fmt: skip
        self._libvirt.createXML(xml)
        took = time.monotonic() - begun
        with self._lock:
            self._started.append((name, identity))
        return took

    def start_many(self, count: int, *, threads: int) -> Rate:
        """Start so many, some at the same time."""
        begun = time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: self.start_one(), range(count)))
        return Rate(count, time.monotonic() - begun)

    def clear(self) -> None:
        """End and remove all that were started."""
        for name, identity in self._started:
            self._libvirt.lookupByUUIDString(identity).destroy()
            rbd.RBD().remove(self._ioctx, name)
        self._started.clear()

    def close(self) -> None:
        """End everything, the connections too."""
        self.clear()
        self._secret.undefine()
        self._libvirt.close()
        self._ioctx.close()
        self._rados.shutdown()

    def _make_secret(self, node: str) -> libvirt.virSecret:
        xml = (
            "<secret ephemeral='yes' private='yes'><usage type='ceph'>"
            f"<name>nopal-bench-{uuid.uuid4()}</name></usage></secret>"
        )
        secret = self._libvirt.secretDefineXML(xml)
        key = self._cluster.ceph.host_key(node, self._cluster.hosts[node].address)
        secret.setValue(base64.b64decode(key))
        return secret

    def _xml(self, image: str, identity: str) -> str:
        """The XML of a VM of ours, with another name, another disk and no secret of its own."""
        domain = ElementTree.fromstring(self._template)  # noqa: S314 - libvirt's own words
        for tag, text in (("name", image), ("uuid", identity)):
            element = domain.find(tag)
            assert element is not None
            element.text = text
        domain.attrib.pop("id", None)
        for path in ("seclabel", "metadata"):
            for element in domain.findall(path):
                domain.remove(element)
        devices = domain.find("devices")
        assert devices is not None
        for log in [*devices.iter("log")]:
            log.set("file", f"/var/log/libvirt/qemu/{image}.console")
        for source in devices.iterfind("disk/source"):
            source.set("name", f"nopal/{image}")
        for secret in devices.iter("secret"):
            secret.attrib.clear()
            secret.attrib |= {"type": "ceph", "uuid": self._secret.UUIDString()}
        for interface in devices.findall("interface"):
            devices.remove(interface)
        return ElementTree.tostring(domain, encoding="unicode")


def percentile(samples: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: a sample that was measured, never an interpolation."""
    ordered = sorted(samples)
    return ordered[max(0, -(-len(ordered) * int(share * 100) // 100) - 1)]
