# SPDX-License-Identifier: Apache-2.0
"""Hosts to try a hypervisor on: a fake one, and a real one with QEMU, libvirtd and Ceph."""

import base64
import json
import os
import signal
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from nopal_node.hypervisor.base import (
    BridgeInterface,
    DomainSpec,
    Hypervisor,
    Ownership,
    RbdDisk,
)
from nopal_node.hypervisor.domain_xml import domain_name
from nopal_node.hypervisor.fake import FakeHypervisor
from nopal_node.hypervisor.fake_host import FakeHostState
from nopal_node.hypervisor.host_folders import HostFolders
from nopal_node.hypervisor.libvirt_hypervisor import LibvirtHypervisor
from support.suspended import suspended

if TYPE_CHECKING:
    import libvirt

    from nopal_dev.cluster import Cluster

TIMEOUT = 60.0
CLUSTER_UID = "0f1f7ba4-0000-4000-8000-000000000000"
HOST_UID = "0f1f7ba4-0000-4000-8000-000000000001"


def new_uid() -> str:
    return str(uuid.uuid4())


def until(ready: Callable[[], bool], what: str, *, seconds: float = TIMEOUT) -> bool:
    """Wait until it is so; return True, or fail with what was waited for."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what}: not so after {seconds:.0f} s"
        time.sleep(0.02)
    return True


def ownership(uid: str, epoch: int = 1) -> Ownership:
    return Ownership(
        vm_uid=uid,
        epoch=epoch,
        cluster_uid=CLUSTER_UID,
        host_uid=HOST_UID,
        namespace="team-a",
        name="web",
    )


def rbd_disk(image: str, *, serial: str = "root", boot_order: int | None = 1) -> RbdDisk:
    return RbdDisk(
        serial=serial,
        pool="nopal",
        namespace="",
        image=image,
        monitors=("10.0.0.1:6789", "10.0.0.2:6789"),
        user="nopal.node-1",
        key=base64.b64encode(b"a key of sixteen").decode(),
        boot_order=boot_order,
    )


def plain_spec(uid: str, *, epoch: int = 1) -> DomainSpec:
    return DomainSpec(
        ownership=ownership(uid, epoch),
        cores=1,
        memory=64 << 20,
        disks=(rbd_disk(f"disk-{uid}"),),
        interfaces=(),
    )


class Bench(ABC):
    """A host, with a hand on its guests that the daemon does not have."""

    @abstractmethod
    def daemon(self) -> Hypervisor:
        """Start one life of the daemon."""

    @abstractmethod
    def spec(self, uid: str, *, epoch: int = 1, obeys: bool = True) -> DomainSpec: ...

    @abstractmethod
    def guest_powers_off(self, uid: str) -> None: ...

    @abstractmethod
    def kill_qemu(self, uid: str) -> None: ...

    @abstractmethod
    def pause(self, uid: str) -> None:
        """Pause it as somebody with virsh does."""

    @abstractmethod
    def stop_libvirt(self) -> None:
        """`kill -9`."""

    @abstractmethod
    def start_libvirt(self) -> None: ...

    @abstractmethod
    def foreign_domain(self, uid: str) -> Callable[[], bool]:
        """Run somebody else's domain; tells whether it still does."""

    @abstractmethod
    def lose(self, uid: str) -> int:
        """Make libvirt forget a domain while its QEMU runs on; gives the pid."""

    @abstractmethod
    def qemu_runs(self, pid: int) -> bool: ...

    @abstractmethod
    def leftovers(self, uid: str) -> list[str]:
        """Give what the host still keeps of a domain: logs, secrets."""


class FakeBench(Bench):
    def __init__(self, folder: Path) -> None:
        self.host = FakeHostState(folder=folder)

    def daemon(self) -> Hypervisor:
        self.host.daemon_dies()
        return FakeHypervisor(self.host)

    def spec(self, uid: str, *, epoch: int = 1, obeys: bool = True) -> DomainSpec:
        if not obeys:
            self.host.ignores_acpi.add(uid)
        return plain_spec(uid, epoch=epoch)

    def guest_powers_off(self, uid: str) -> None:
        self.host.guest_powers_off(uid)

    def kill_qemu(self, uid: str) -> None:
        self.host.kill(uid)

    def pause(self, uid: str) -> None:
        self.host.pause(uid)

    def stop_libvirt(self) -> None:
        self.host.libvirt_goes()

    def start_libvirt(self) -> None:
        self.host.libvirt_returns()

    def foreign_domain(self, uid: str) -> Callable[[], bool]:
        foreign = self.host.add_foreign(uid)
        return lambda: self.host.domains.get(uid) == foreign

    def lose(self, uid: str) -> int:
        self.host.lose(uid)
        return self.host.domains[uid].pid

    def qemu_runs(self, pid: int) -> bool:
        return any(domain.pid == pid for domain in self.host.domains.values())

    def leftovers(self, uid: str) -> list[str]:
        console = self.host.console(uid)
        logs = [str(console)] if console and console.exists() else []
        return logs + ([f"record of {uid}"] if uid in self.host.records else [])


class RealBench(Bench):
    """The first host of a dev cluster, its disks in the cluster's Ceph."""

    def __init__(self, cluster: "Cluster") -> None:
        from nopal_dev.holder import private

        self.ceph = cluster.ceph
        self.host = next(iter(cluster.hosts.values()))
        self.folders = HostFolders(
            run=private(self.host.folder, "/run/libvirt"),
            log=private(self.host.folder, "/var/log/libvirt"),
            lib=private(self.host.folder, "/var/lib/libvirt"),
        )
        self.uri = f"qemu+unix:///system?socket={self.folders.run}/libvirt-sock"
        self._key = self.ceph.host_key(self.host.name, self.host.address)
        self._images: list[str] = []

    def daemon(self) -> LibvirtHypervisor:
        return LibvirtHypervisor(self.uri, folders=self.folders, acceleration="Emulation")

    def spec(self, uid: str, *, epoch: int = 1, obeys: bool = True) -> DomainSpec:
        from nopal_dev.bootsector import BootSector

        image = f"contract-{uid}"
        if image not in self._images:
            self.write_image(image, BootSector(ticks=2, obeys_power_button=obeys).code())
        return self.spec_with(uid, image, epoch=epoch)

    def spec_with(self, uid: str, image: str, *, epoch: int = 1) -> DomainSpec:
        disk = RbdDisk(
            serial="root",
            pool="nopal",
            namespace="",
            image=image,
            monitors=tuple(self.ceph.monitors),
            user=f"nopal.{self.host.name}",
            key=self._key,
            boot_order=1,
        )
        return DomainSpec(
            ownership=ownership(uid, epoch),
            cores=1,
            memory=64 << 20,
            disks=(disk,),
            interfaces=(BridgeInterface("br-guest", "02:00:00:00:00:07", 1400),),
        )

    def write_image(self, image: str, code: bytes) -> None:
        with NamedTemporaryFile() as file:
            file.write(code.ljust(1 << 20, b"\0"))
            file.flush()
            self.ceph.rbd("import", "--no-progress", file.name, f"nopal/{image}")
        self._images.append(image)

    def guest_powers_off(self, uid: str) -> None:
        """As an ACPI button that somebody else presses: to Nopal the guest goes by itself."""
        with self.connection() as connection:
            connection.lookupByUUIDString(uid).shutdownFlags(0)

    def kill_qemu(self, uid: str) -> None:
        os.kill(self._pid(uid), signal.SIGKILL)

    def terminate_qemu(self, uid: str) -> None:
        os.kill(self._pid(uid), signal.SIGTERM)

    @contextmanager
    def libvirtd_frozen(self) -> Iterator[None]:
        pid = int((self.folders.run / "libvirtd.pid").read_text())
        with suspended(pid):
            yield

    @contextmanager
    def disk_fenced(self, uid: str) -> Iterator[None]:
        """Blocklist the guest's Ceph client, as a fence does."""
        status = json.loads(self.ceph.rbd("status", "--format=json", f"nopal/contract-{uid}"))
        (address,) = {watcher["address"] for watcher in status["watchers"]}
        self.ceph.ceph("osd", "blocklist", "add", address, "3600")
        try:
            yield
        finally:
            self.ceph.ceph("osd", "blocklist", "rm", address)

    def counter(self, uid: str) -> int | None:
        """Read what the guest last wrote, past the guest."""
        from nopal_dev.bootsector import COUNTER_SECTOR, SECTOR, Counter

        sector = self.ceph.read(f"contract-{uid}", COUNTER_SECTOR * SECTOR, SECTOR)
        counter = Counter.parse(sector)
        return counter.value if counter else None

    def pause(self, uid: str) -> None:
        with self.connection() as connection:
            connection.lookupByUUIDString(uid).suspend()

    def stop_libvirt(self) -> None:
        self.host.kill_libvirtd()

    def start_libvirt(self) -> None:
        self.host.start_libvirtd()

    def foreign_domain(self, uid: str) -> Callable[[], bool]:
        xml = (
            f"<domain type='qemu'><name>foreign-{uid}</name><uuid>{uid}</uuid>"
            "<memory unit='MiB'>32</memory><os><type arch='x86_64'>hvm</type></os>"
            "<metadata><other:owner xmlns:other='https://example.org/'/></metadata></domain>"
        )
        with self.connection() as connection:
            connection.createXML(xml, 0)
        return lambda: f"foreign-{uid}" in self.host.virsh("list", "--name").split()

    def lose(self, uid: str) -> int:
        pid = self._pid(uid)
        self.host.kill_libvirtd()
        (self.folders.run / "qemu" / f"{domain_name(uid)}.xml").unlink()
        self.host.start_libvirtd()
        return pid

    def qemu_runs(self, pid: int) -> bool:
        return pid in self.host.qemu_pids()

    def leftovers(self, uid: str) -> list[str]:
        logs = self.folders.log.rglob(f"*{uid}*")
        # libvirt shortens the name where it names folders.
        runs = [
            path
            for folder in (self.folders.run, self.folders.lib)
            for path in folder.rglob(f"*{uid[:8]}*")
        ]
        with self.connection() as connection:
            secrets = [s.usageID() for s in connection.listAllSecrets()]
        return sorted([*map(str, logs), *map(str, runs), *(s for s in secrets if uid in s)])

    @contextmanager
    def connection(self) -> "Iterator[libvirt.virConnect]":
        import libvirt

        connection = libvirt.open(self.uri)
        try:
            yield connection
        finally:
            connection.close()

    def clean(self) -> None:
        """Remove what a test may have left."""
        self.host.start_libvirtd()
        for name in self.host.virsh("list", "--name").split():
            if name.startswith("foreign-") or f"contract-{name[6:]}" in self._images:
                self.host.virsh("destroy", name, check=False)
        self._remove_images()

    def close(self) -> None:
        """Remove the disks, when the watches of the guests that were killed (30 s) are over."""
        until(self._remove_images, "all images are removed", seconds=90.0)

    def _remove_images(self) -> bool:
        """Remove what nobody has open any more; tell whether that is all."""
        for image in self._images:
            status = json.loads(self.ceph.rbd("status", "--format=json", f"nopal/{image}"))
            if not status["watchers"]:  # else it would wait for who is dead
                self.ceph.rbd("rm", "--no-progress", f"nopal/{image}", check=False)
        there = set(self.ceph.rbd("ls", "nopal").split())
        self._images = [image for image in self._images if image in there]
        return not self._images

    def _pid(self, uid: str) -> int:
        return int(self.folders.pid_file(domain_name(uid)).read_text())
