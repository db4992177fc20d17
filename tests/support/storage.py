# SPDX-License-Identifier: Apache-2.0
"""Two storage backends, fake and real Ceph, behind one face: what a test does around the pool."""

import json
import os
import subprocess
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nopal_node.storage.base import Import, PoolAccess, StoragePool
from nopal_node.storage.ceph import CephPool
from nopal_node.storage.fake import FakePool
from nopal_node.storage.fake_cluster import FakeCluster, FakeImage
from nopal_node.storage.fetch import download
from nopal_node.storage.limits import ImportLimits
from nopal_node.storage.ownership import Ownership
from nopal_runtime.ceph.images import disk_features, open_image, plain_features
from nopal_runtime.ceph.kept import KeptConnections
from support.suspended import suspended

if TYPE_CHECKING:
    import rados

    from nopal_dev.cluster import Cluster

MIB = 1 << 20
LIMITS = ImportLimits(
    max_download=48 * MIB,
    max_virtual_size=256 * MIB,
    connect_seconds=2.0,
    stall_seconds=1.0,
    download_seconds=20.0,
    convert_seconds=60.0,
)


def uid() -> str:
    return str(uuid.uuid4())


def image_job(url: str, data: bytes, *, format: str, epoch: int = 1, owner: str = "") -> Import:
    owner = owner or uid()
    return Import(
        image=f"image-{owner}",
        owner_uid=owner,
        epoch=epoch,
        url=url,
        sha256=sha256(data).hexdigest(),
        format=format,
    )


class Client(ABC):
    """Something else that has an image open."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def kill(self) -> None:
        """As kill -9: nobody tells the cluster."""


class Backend(ABC):
    """Hosts 0 and 1 have different addresses."""

    addresses: tuple[str, str]

    @abstractmethod
    def pool(
        self,
        host: int = 0,
        *,
        limits: ImportLimits = LIMITS,
        trash_delay: int = 3600,
        operation_seconds: int = 30,
    ) -> StoragePool:
        """Return a new client of a host."""

    @abstractmethod
    def open(
        self, image: str, *more: str, host: int = 0, lock: bool = False, written: bytes = b"\0"
    ) -> Client:
        """Open it as a guest does, and more beside it; with the lock, write at its end."""

    @abstractmethod
    def plant(self, image: str, size: int, *, owner: str = "") -> None:
        """Make an image behind the pool's back."""

    @abstractmethod
    def read(self, image: str, offset: int, length: int) -> bytes: ...

    @abstractmethod
    def names(self) -> list[str]: ...

    @abstractmethod
    def trash(self) -> list[str]: ...

    @abstractmethod
    def down(self) -> Any:
        """Return a context in which nobody answers."""

    @abstractmethod
    def full(self) -> Any:
        """Return a context in which the pool is full."""

    def left_of(self, image: str) -> list[str]:
        """Return what of an image is there: builds, scratch images, trash."""
        return [name for name in (*self.names(), *self.trash()) if name.startswith(image)]


class FakeBackend(Backend):
    addresses = ("10.0.0.1", "10.0.0.2")

    def __init__(self) -> None:
        self.cluster = FakeCluster()

    def pool(
        self,
        host: int = 0,
        *,
        limits: ImportLimits = LIMITS,
        trash_delay: int = 3600,
        operation_seconds: int = 30,
    ) -> StoragePool:
        return FakePool(
            self.cluster,
            address=self.addresses[host],
            limits=limits,
            trash_delay=trash_delay,
            fetch=download,
        )

    def open(
        self, image: str, *more: str, host: int = 0, lock: bool = False, written: bytes = b"\0"
    ) -> Client:
        cluster = self.cluster
        name = cluster.open(image, address=self.addresses[host], lock=lock)
        for other in more:
            cluster.image(other).watchers[name] = self.addresses[host]
        if lock:
            opened = cluster.image(image)
            opened.content[opened.size - len(written)] = written

        class _Client(Client):
            def close(self) -> None:
                cluster.close(name)

            def kill(self) -> None:
                cluster.kill(name)

        return _Client()

    def plant(self, image: str, size: int, *, owner: str = "") -> None:
        made = FakeImage(self.cluster.new_id(), size, ownership=Ownership(owner) if owner else None)
        self.cluster.pools["nopal", ""].images[image] = made

    def read(self, image: str, offset: int, length: int) -> bytes:
        return self.cluster.image(image).read(offset, length)

    def names(self) -> list[str]:
        return list(self.cluster.pools["nopal", ""].images)

    def trash(self) -> list[str]:
        return [each.name for each in self.cluster.pools["nopal", ""].trash.values()]

    @contextmanager
    def down(self) -> Iterator[None]:
        self.cluster.down = True
        yield
        self.cluster.down = False

    @contextmanager
    def full(self) -> Iterator[None]:
        self.cluster.full = True
        yield
        self.cluster.full = False


class CephBackend(Backend):
    """A pool of its own in a real cluster; the hosts' users have the caps of production."""

    POOL = "storage-test"
    PARTS = 8

    def __init__(self, cluster: "Cluster") -> None:
        self.ceph = cluster.ceph
        self._processes = cluster.processes
        self._node = list(cluster.hosts)[1]
        self._namespace = cluster.network.host_namespace(self._node)
        # Host 0 is the machine itself: the test's own process.
        self.addresses = (cluster.network.address, cluster.network.host_address(1))
        if self.POOL not in self.ceph.ceph("osd", "pool", "ls").split():
            self.ceph.ceph("osd", "pool", "create", self.POOL, str(self.PARTS))
            self.ceph.rbd("pool", "init", self.POOL)
        self.users = ("nopal.storage-0", "nopal.storage-1")
        self.keys = tuple(
            self.ceph.host_key(user.removeprefix("nopal."), address, pool=self.POOL)
            for user, address in zip(self.users, self.addresses, strict=True)
        )
        import rados

        self._admin = rados.Rados(conffile=str(self.ceph.conf))
        self._admin.connect()
        self._awake()
        self._pools: list[CephPool] = []
        self._clients: list[subprocess.Popen[str]] = []

    def access(self, host: int = 0) -> PoolAccess:
        return PoolAccess(
            fsid=self.ceph.fsid,
            monitors=tuple(self.ceph.monitors),
            pool=self.POOL,
            namespace="",
            user=self.users[host],
            key=self.keys[host],
        )

    def pool(
        self,
        host: int = 0,
        *,
        limits: ImportLimits = LIMITS,
        trash_delay: int = 3600,
        operation_seconds: int = 30,
    ) -> StoragePool:
        made = CephPool(
            self.access(host),
            limits=limits,
            trash_delay=trash_delay,
            connect_seconds=10,
            operation_seconds=operation_seconds,
            connections=KeptConnections(),
        )
        self._pools.append(made)
        return made

    def open(
        self, image: str, *more: str, host: int = 0, lock: bool = False, written: bytes = b"\0"
    ) -> Client:
        inside = ["ip", "netns", "exec", self._namespace] if host else []
        process = subprocess.Popen(
            [*inside, sys.executable, str(Path(__file__).with_name("rbd_client.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        orders = {
            "user": f"client.{self.users[host]}",
            "conf": {"mon_host": ",".join(self.ceph.monitors), "key": self.keys[host]},
            "pool": self.POOL,
            "images": [image, *more],
            "written": written.decode() if lock else "",
        }
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(orders) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "open\n"
        self._clients.append(process)
        return _RealClient(process)

    def plant(self, image: str, size: int, *, owner: str = "") -> None:
        import rbd

        with self._ioctx() as ioctx:
            # A build of an import has no lock, as imports make them.
            features = plain_features() if "." in image else disk_features()
            rbd.RBD().create(ioctx, image, size, old_format=False, features=features)
            with open_image(ioctx, image, writable=True) as handle:
                for entry in Ownership(owner).metadata(handle.id()).items() if owner else ():
                    handle.metadata_set(*entry)

    def read(self, image: str, offset: int, length: int) -> bytes:
        with self._ioctx() as ioctx, open_image(ioctx, image) as handle:
            return handle.read(offset, length)

    def write(self, image: str, data: bytes) -> None:
        """Write from the beginning, growing the image."""
        with self._ioctx() as ioctx, open_image(ioctx, image, writable=True) as handle:
            handle.resize(-(-len(data) // MIB) * MIB)
            handle.write(data, 0)

    def set_metadata(self, image: str, key: str, value: str) -> None:
        with self._ioctx() as ioctx, open_image(ioctx, image, writable=True) as handle:
            handle.metadata_set(key, value)

    def remove(self, image: str) -> None:
        import rbd

        with self._ioctx() as ioctx:
            rbd.RBD().remove(ioctx, image)

    def cut_header(self, image: str) -> None:
        """Leave what kill -9 inside librbd's create leaves: a name without a header."""
        with self._ioctx() as ioctx:
            with open_image(ioctx, image) as handle:
                header = f"rbd_header.{handle.id()}"
            ioctx.remove_object(header)

    def names(self) -> list[str]:
        import rbd

        with self._ioctx() as ioctx:
            return rbd.RBD().list(ioctx)

    def trash(self) -> list[str]:
        import rbd

        with self._ioctx() as ioctx:
            return [each["name"] for each in rbd.RBD().trash_list(ioctx)]

    @contextmanager
    def _ioctx(self) -> Iterator["rados.Ioctx"]:
        """As client.admin: the test looks with other eyes than the pool."""
        ioctx = self._admin.open_ioctx(self.POOL)
        try:
            yield ioctx
        finally:
            ioctx.close()

    @contextmanager
    def down(self) -> Iterator[None]:
        osds = [self._processes.find(f"ceph-osd.{number}") for number in range(3)]
        assert None not in osds
        try:
            with suspended(*(each.pid for each in osds if each)):
                yield
        finally:
            self._wait(lambda: "3 up" in self.ceph.ceph("osd", "stat"))
            self._awake()

    @contextmanager
    def full(self) -> Iterator[None]:
        filler = f"filler-{uid()}"
        self.ceph.rbd("create", f"{self.POOL}/{filler}", "--size", "16M")
        write = ["bench", f"{self.POOL}/{filler}", "--io-type", "write", "--io-total", "8M"]
        self.ceph.rbd(*write, "--io-size", "1M")
        try:
            self.ceph.set_quota(MIB, pool=self.POOL)
            self._wait(lambda: self.ceph.pool_full(pool=self.POOL))
            self._tell_clients()
            yield
        finally:
            self.ceph.set_quota(0, pool=self.POOL)
            self._wait(lambda: not self.ceph.pool_full(pool=self.POOL))
            self._tell_clients()
            self.ceph.rbd("rm", "--no-progress", f"{self.POOL}/{filler}")

    def _awake(self) -> None:
        """OSDs that are up may still have to agree on who has what: a write of each part waits."""
        with self._ioctx() as ioctx:
            for number in range(4 * self.PARTS):
                ioctx.write_full(f"awake-{number}", b"")
                ioctx.remove_object(f"awake-{number}")

    def _tell_clients(self) -> None:
        """Have the pools know what the monitors know; OSDs take the map of who asks them."""
        for pool in self._pools:
            with pool._pool.connection.cluster("wait for the OSD map") as cluster:
                cluster.wait_for_latest_osdmap()

    def reset(self) -> None:
        """End the clients of one test."""
        for process in self._clients:
            process.kill()
            process.communicate()
        for pool in self._pools:
            pool.close()
        self._clients.clear()
        self._pools.clear()

    def close(self) -> None:
        self._admin.shutdown()

    def _wait(self, ready: Any, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < deadline, "Ceph did not get there"
            time.sleep(0.2)


class _RealClient(Client):
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def close(self) -> None:
        self._process.communicate("\n", timeout=20)

    def kill(self) -> None:
        # `ip netns exec` becomes the client itself: there is one process.
        os.kill(self._process.pid, 9)
        self._process.wait()
