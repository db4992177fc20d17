# SPDX-License-Identifier: Apache-2.0
"""A Ceph cluster by hand: one monitor, one manager, three OSDs, one pool.

The object store is memstore by default: fast, and enough wherever durability is not the subject.
It keeps its objects in memory and writes them down when it ends in peace: ``stop`` and ``start``
an OSD at will, but after ``kill -9`` its data is gone.
"""

import base64
import json
import os
import struct
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

from nopal_dev.commands import run
from nopal_dev.errors import CommandError
from nopal_dev.network import Network
from nopal_dev.processes import Processes, wait_until
from nopal_runtime.ceph.caps import host_caps

POOL = "nopal"
"""The RBD pool that every cluster has."""

_OSDS = 3
_START_SECONDS = 180.0
_STOP_SECONDS = 120.0
"""So long an OSD on memstore may write down what it holds: killed before, it holds nothing."""
_STORE_BYTES = 32 << 30
_DEVICE_HEALTH = "mgr/devicehealth/enable_monitoring"

_CONF = """\
[global]
fsid = {fsid}
mon host = [v2:{ip}:3300,v1:{ip}:6789]
public network = {cidr}
keyring = {folder}/client.admin.keyring
auth allow insecure global id reclaim = false
run dir = {folder}/run
log to file = false
mon cluster log to file = false
log to stderr = true
err to stderr = true
max open files = 0

[client]
log to stderr = false
err to stderr = true

[mon]
mon data = {folder}/mon.$id
keyring = {folder}/mon.$id/keyring
admin socket = {folder}/run/$name.asok
public addr = {ip}
mon allow pool delete = true
mon data avail warn = 2
mon data avail crit = 1
mon warn on pool no redundancy = false
osd pool default size = {copies}
osd pool default min size = 1
osd pool default pg num = 16
osd pool default pgp num = 16
osd pool default pg autoscale mode = off
mon max pg per osd = 500

[mgr]
mgr data = {folder}/mgr.$id
keyring = {folder}/mgr.$id/keyring
admin socket = {folder}/run/$name.asok
mgr stats period = 1
mgr initial modules =

[osd]
osd data = {folder}/osd.$id
keyring = {folder}/osd.$id/keyring
admin socket = {folder}/run/$name.asok
osd objectstore = {objectstore}
memstore device bytes = {bytes}
bluestore block size = {bytes}
osd fast shutdown = false
osd class dir = /usr/lib/{machine}-linux-gnu/rados-classes
crush location = root=default host=storage-$id
"""


class Ceph:
    """The Ceph of one cluster.

    Args:
        folder: All its files.
        fsid: Its identity.
        network: The addresses to listen on.
        processes: Where the daemons are recorded.
        objectstore: ``memstore`` or ``bluestore`` (on a file).
    """

    def __init__(
        self,
        folder: Path,
        fsid: str,
        *,
        network: Network,
        processes: Processes,
        objectstore: str = "memstore",
    ) -> None:
        self._folder = folder
        self._network = network
        self._processes = processes
        self._objectstore = objectstore
        self.fsid = fsid
        self.conf = folder / "ceph.conf"

    @property
    def monitors(self) -> list[str]:
        """The monitors' addresses."""
        return [f"{self._network.address}:6789"]

    @property
    def daemons(self) -> list[str]:
        """The names of all daemons: ``mon.a``, ``mgr.a``, ``osd.0``..."""
        return ["mon.a", "mgr.a", *(f"osd.{number}" for number in range(_OSDS))]

    def up(self, *, timeout: float = _START_SECONDS) -> None:
        """Start what does not run and wait for HEALTH_OK and the pool."""
        self._prepare()
        self.start("mon.a")
        self._wait_monitor(timeout)
        for daemon in self.daemons[1:]:
            if not (self._folder / daemon / "created").exists():
                break
            self.start(daemon)
        else:
            self._wait_healthy(timeout)
            return
        # The manager would make a pool of its own for device health.
        self.ceph("config", "set", "mgr", _DEVICE_HEALTH, "false", "--force")
        self._create_manager()
        with ThreadPoolExecutor() as workers:
            list(workers.map(self._create_osd, range(_OSDS)))
        wait_until("all OSDs up", lambda: self._up_osds() == _OSDS, timeout=timeout)
        self.ceph("osd", "pool", "create", POOL)
        run(["rbd", "-c", str(self.conf), "pool", "init", POOL], timeout=timeout)
        self._wait_healthy(timeout)

    def ceph(self, *args: str, timeout: float = 60.0, check: bool = True) -> str:
        """Run a ``ceph`` command as client.admin."""
        argv = ["ceph", "-c", str(self.conf), "--connect-timeout", "20", *args]
        return run(argv, timeout=timeout, check=check)

    def rbd(self, *args: str, timeout: float = 120.0, check: bool = True) -> str:
        """Run an ``rbd`` command as client.admin."""
        return run(["rbd", "-c", str(self.conf), *args], timeout=timeout, check=check)

    def read(self, image: str, offset: int, length: int, *, pool: str = POOL) -> bytes:
        """Read bytes of an image as client.admin, beside whoever has it open.

        Args:
            image: The RBD image, or ``image@snapshot``.
            offset: First byte.
            length: How many bytes.
            pool: The RBD pool.
        """
        # Imported late: only Debian's own Python has them, and only this needs them.
        rados, rbd = import_module("rados"), import_module("rbd")
        name, _, snapshot = image.partition("@")
        with (
            rados.Rados(conffile=str(self.conf)) as cluster,
            cluster.open_ioctx(pool) as ioctx,
            rbd.Image(ioctx, name, snapshot=snapshot or None, read_only=True) as opened,
        ):
            return bytes(opened.read(offset, length))

    def start(self, daemon: str) -> None:
        """Start a daemon that was created; one that runs is kept."""
        kind, _, ident = daemon.partition(".")
        argv = [f"ceph-{kind}", "-f", "-i", ident, "-c", str(self.conf)]
        self._processes.start(f"ceph-{daemon}", argv)

    def stop(self, daemon: str) -> None:
        """End a daemon in peace (an OSD on memstore then keeps its data)."""
        self._processes.stop(f"ceph-{daemon}", grace=_STOP_SECONDS)

    def kill(self, daemon: str) -> None:
        """``kill -9`` a daemon."""
        self._processes.kill(f"ceph-{daemon}")

    def stop_all(self) -> None:
        """Ceph down: the OSDs first, so that they can still say goodbye."""
        with ThreadPoolExecutor() as workers:
            list(workers.map(self.stop, self.daemons[2:]))
        self.stop("mgr.a")
        self.stop("mon.a")

    def start_all(self, *, timeout: float = _START_SECONDS) -> None:
        """Ceph up again after ``stop_all``; returns at HEALTH_OK."""
        self.up(timeout=timeout)

    def set_quota(self, max_bytes: int, *, pool: str = POOL) -> None:
        """Let a pool hold only so many bytes; 0 means no limit. Takes a few seconds to bite."""
        self.ceph("osd", "pool", "set-quota", pool, "max_bytes", str(max_bytes))

    def pool_full(self, *, pool: str = POOL) -> bool:
        """Whether the monitors call a pool full (then they refuse writes to it)."""
        detail = json.loads(self.ceph("osd", "pool", "ls", "detail", "-f", "json"))
        return any(
            each["pool_name"] == pool and "full" in each["flags_names"].split(",")
            for each in detail
        )

    def health(self) -> str:
        """HEALTH_OK, HEALTH_WARN... with the reasons."""
        return self._answer("health", "detail").strip()

    def host_key(self, node: str, address: str, *, pool: str = POOL) -> str:
        """Make the Ceph user of a host, ``client.nopal.NODE``, and give its key.

        It may use one pool, and blocklist only its own instances: see docs.
        """
        caps = host_caps(addresses=[address], pools=[(pool, "")])
        return self.user_key(f"client.nopal.{node}", caps)

    def user_key(self, name: str, caps: Mapping[str, str]) -> str:
        """Make a Ceph user, or set its capabilities, and give its key."""
        words = [word for pair in caps.items() for word in pair]
        found = self.ceph("auth", "get-key", name, check=False).strip()
        if found:
            self.ceph("auth", "caps", name, *words)
            return found
        made = self.ceph("auth", "get-or-create", name, *words, "-f", "json")
        return str(json.loads(made)[0]["key"])

    def _prepare(self) -> None:
        """The configuration, the admin's keyring and the monitor's store."""
        (self._folder / "run").mkdir(parents=True, exist_ok=True)
        self.conf.write_text(
            _CONF.format(
                fsid=self.fsid,
                ip=self._network.address,
                cidr=self._network.cidr,
                folder=self._folder,
                objectstore=self._objectstore,
                bytes=_STORE_BYTES,
                copies=2,
                machine=os.uname().machine,
            )
        )
        data = self._folder / "mon.a"
        if (data / "created").exists():
            return
        admin = self._folder / "client.admin.keyring"
        _write_keyring(
            admin,
            "client.admin",
            dict.fromkeys(("mon", "osd", "mds", "mgr"), "allow *"),
        )
        seed = self._folder / "mon.keyring"
        _write_keyring(seed, "mon.", {"mon": "allow *"})
        with seed.open("a") as file:
            file.write(admin.read_text())
        run(["rm", "-rf", str(data)])
        data.mkdir()
        monmap = self._folder / "monmap"
        ip = self._network.address
        addresses = f"[v2:{ip}:3300,v1:{ip}:6789]"
        make = ["monmaptool", "--create", "--clobber", "--fsid", self.fsid]
        run([*make, "--addv", "a", addresses, str(monmap)])
        conf = ["-c", str(self.conf)]
        keyring = ["--monmap", str(monmap), "--keyring", str(seed)]
        run(["ceph-mon", "--mkfs", "-i", "a", *conf, *keyring])
        (data / "created").touch()

    def _create_manager(self) -> None:
        data = self._folder / "mgr.a"
        data.mkdir(exist_ok=True)
        caps = ["mon", "allow profile mgr", "osd", "allow *", "mds", "allow *"]
        keyring = self.ceph("auth", "get-or-create", "mgr.a", *caps)
        (data / "keyring").write_text(keyring)
        (data / "created").touch()
        self.start("mgr.a")

    def _create_osd(self, number: int) -> None:
        data = self._folder / f"osd.{number}"
        if not (data / "created").exists():
            run(["rm", "-rf", str(data)])
            data.mkdir()
            identity = str(uuid.uuid5(uuid.UUID(self.fsid), f"osd.{number}"))
            # `osd new` gives out ids in turn: wait for the one before.
            wait_until(
                f"osd.{number} known",
                lambda: self._new_osd(identity, number),
                timeout=_START_SECONDS,
            )
            caps = ["mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *"]
            keyring = self.ceph("auth", "get-or-create", f"osd.{number}", *caps)
            (data / "keyring").write_text(keyring)
            ident = ["-i", str(number), "--osd-uuid", identity]
            run(["ceph-osd", "--mkfs", *ident, "-c", str(self.conf)], timeout=120.0)
            (data / "created").touch()
        self.start(f"osd.{number}")

    def _new_osd(self, identity: str, number: int) -> bool:
        return self._answer("osd", "new", identity, str(number)).strip() == str(number)

    def _wait_monitor(self, timeout: float) -> None:
        self._processes.wait(
            "ceph-mon.a", lambda: bool(self._answer("mon", "stat", patience=3)), timeout=timeout
        )

    def _answer(self, *args: str, patience: int = 20) -> str:
        """What the monitor says; nothing where it refuses, is not there or is too slow."""
        argv = ["ceph", "-c", str(self.conf), "--connect-timeout", str(patience), *args]
        try:
            return run(argv, check=False, timeout=patience + 20.0)
        except CommandError:  # a machine that is busy takes long to start the command alone
            return ""

    def _up_osds(self) -> int:
        stat = self._answer("osd", "stat", "-f", "json")
        return int(json.loads(stat)["num_up_osds"]) if stat else 0

    def _wait_healthy(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not (health := self.health()).startswith("HEALTH_OK") or not self._counted():
            if time.monotonic() > deadline:
                wait_until(f"Ceph healthy (it says: {health})", lambda: False, timeout=0.0)
            time.sleep(0.2)

    def _counted(self) -> bool:
        """Whether the manager has told of storage, and of every part of every pool that it works.

        The monitor misses a manager that never came only after two minutes: until then all is
        HEALTH_OK, and empty.
        """
        text = self._answer("status", "-f", "json")
        if not text:
            return False
        seen = json.loads(text)["pgmap"]
        working = sum(
            each["count"]
            for each in seen["pgs_by_state"]
            if each["state_name"].startswith("active+clean")
        )
        return bool(0 < seen["num_pgs"] == working and seen["bytes_total"] > 0)


def _write_keyring(path: Path, entity: str, caps: Mapping[str, str]) -> None:
    """A keyring as ceph-authtool makes it: the key is type, time and 16 random bytes."""
    secret = struct.pack("<HIIH", 1, int(time.time()), 0, 16) + os.urandom(16)
    lines = [f"[{entity}]", f"\tkey = {base64.b64encode(secret).decode()}"]
    lines += [f'\tcaps {kind} = "{cap}"' for kind, cap in caps.items()]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")
