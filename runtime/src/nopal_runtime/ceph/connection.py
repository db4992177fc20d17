# SPDX-License-Identifier: Apache-2.0
"""One kept connection to a Ceph cluster, bounded in time and made anew when Ceph has ended it."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import TerminalError, TransientError
from .failures import DEAD_HANDLE, failure

if TYPE_CHECKING:
    import rados

BLOCKLIST_SECONDS = 157_784_760
"""Five years. When a timed entry runs out, a client that only slept may write again."""

_FORGET_FAILURE_SECONDS = 1.0
_ADDRESS = re.compile(r"(?:v[12]:)?(\[[0-9A-Fa-f:.]+\]|[0-9.]+):\d+/\d+")


@dataclass(frozen=True, slots=True)
class CephAccess:
    """How to reach a cluster, given in code: no file of the host is read."""

    fsid: str
    monitors: tuple[str, ...]
    user: str
    """Without the leading client."""
    key: str = field(repr=False)
    connect_seconds: int = 15
    operation_seconds: int = 60
    """After this an operation fails with ETIMEDOUT instead of waiting for ever. Longer than the
    25 s that Ceph needs to notice a dead OSD, or each such loss would be an error here."""

    def conf(self) -> dict[str, str]:
        """Return the settings of the connection."""
        return {
            "mon_host": ",".join(self.monitors),
            "key": self.key,
            "client_mount_timeout": str(self.connect_seconds),
            "rados_mon_op_timeout": str(self.operation_seconds),
            "rados_osd_op_timeout": str(self.operation_seconds),
            # Without it a clone needs a protected snapshot, which cannot be deleted before it.
            "rbd_default_clone_format": "2",
            # Whoever breaks a lock shuts its holder out for good, never for an hour.
            "rbd_blocklist_on_break_lock": "true",
            "rbd_blocklist_expire_seconds": str(BLOCKLIST_SECONDS),
            "log_to_stderr": "false",
            "log_file": "",
        }


def host_of(address: str) -> str:
    """Return the IP address of a client instance such as v1:10.0.0.1:0/4027."""
    found = _ADDRESS.fullmatch(address)
    return found.group(1).strip("[]") if found else ""


@dataclass(slots=True)
class _Session:
    cluster: "rados.Rados"
    users: int = 0
    dead: bool = False


class CephConnection:
    """A connection that many threads use at once. Connects when it is first needed."""

    def __init__(self, access: CephAccess) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._failed: tuple[float, TransientError | TerminalError] | None = None

    @contextmanager
    def cluster(self, what: str) -> Iterator["rados.Rados"]:
        """Lend the handle; what rados and rbd raise in the block becomes an error with a reason.

        Args:
            what: what is tried, for the error's message.
        """
        session = self._enter()
        # Here at the latest: _enter has seen that both are installed.
        import rados
        import rbd

        try:
            yield session.cluster
        except (rados.Error, rbd.Error) as error:
            code = abs(getattr(error, "errno", 0) or 0)
            if code in DEAD_HANDLE:
                session.dead = True
            raise failure(code, what) from error
        finally:
            self._leave(session)

    @contextmanager
    def ioctx(self, pool: str, namespace: str, what: str) -> Iterator["rados.Ioctx"]:
        """Lend an I/O context of a pool; errors as with `cluster`."""
        with self.cluster(what) as cluster:
            import rados

            try:
                ioctx = cluster.open_ioctx(pool)
            except rados.Error as error:
                if failure(error.errno or 0, what).reason != "ImageNotFound":
                    raise
                raise TerminalError(
                    "PoolNotFound",
                    f"Ceph cluster {self._access.fsid} has no pool {pool}: ceph osd pool create"
                    f" {pool}, then rbd pool init {pool}",
                ) from error
            try:
                if namespace:
                    ioctx.set_namespace(namespace)
                # A full pool then answers EDQUOT or ENOSPC at once; else writes wait for ever.
                ioctx.set_osdmap_full_try()
                yield ioctx
            finally:
                ioctx.close()

    def addresses(self) -> tuple[str, ...]:
        """Return this client's addresses in the cluster, without port and nonce."""
        with self.cluster("ask for this client's address") as cluster:
            found = [match.group(1).strip("[]") for match in _ADDRESS.finditer(cluster.get_addrs())]
        return tuple(dict.fromkeys(found))

    def instance_id(self) -> int:
        """Return the global id of this client instance, as watchers and lockers show it."""
        with self.cluster("ask for this client's id") as cluster:
            return cluster.get_instance_id()

    def command(self, **words: str | float) -> bytes:
        """Run a monitor command and return its output."""
        what = f"run {words['prefix']}"
        with self.cluster(what) as cluster:
            code, output, _ = cluster.mon_command(json.dumps(words), b"")
        if code:
            raise failure(code, what)
        return output

    def blocklist(self, instance: str) -> None:
        """Shut one client instance (address with port and nonce) out for years, and wait for it."""
        self.command(
            prefix="osd blocklist",
            blocklistop="add",
            addr=instance,
            expire=float(BLOCKLIST_SECONDS),
        )
        with self.cluster("wait for the OSD map") as cluster:
            cluster.wait_for_latest_osdmap()

    def close(self) -> None:
        """Close the connection as soon as nobody uses it; the next use opens another."""
        with self._lock:
            session, self._session = self._session, None
            if session is None:
                return
            session.dead = True
            idle = session.users == 0
        if idle:
            session.cluster.shutdown()

    def _enter(self) -> _Session:
        with self._lock:
            if self._session is None or self._session.dead:
                self._session = _Session(self._connect())
            self._session.users += 1
            return self._session

    def _leave(self, session: _Session) -> None:
        with self._lock:
            session.users -= 1
            over = session.dead and session.users == 0
            if over and self._session is session:
                self._session = None
        if over:
            session.cluster.shutdown()

    def _connect(self) -> "rados.Rados":
        # Everybody who waited behind a failed try would otherwise wait as long again.
        if self._failed is not None and time.monotonic() < self._failed[0]:
            raise self._failed[1]
        try:
            return _connected(self._access)
        except (TransientError, TerminalError) as error:
            self._failed = (time.monotonic() + _FORGET_FAILURE_SECONDS, error)
            raise


def require_libraries() -> None:
    """See that librados and librbd can be imported."""
    try:
        import rados  # noqa: F401
        import rbd  # noqa: F401
    except ImportError as error:
        raise TerminalError(
            "CephLibrariesMissing",
            "python3-rados and python3-rbd are not installed: apt-get install python3-rados"
            " python3-rbd (they are Debian packages, not on PyPI; the virtual environment needs"
            " --system-site-packages)",
        ) from error


def _connected(access: CephAccess) -> "rados.Rados":
    require_libraries()
    import rados

    what = f"connect to Ceph at {', '.join(access.monitors)} as client.{access.user}"
    try:
        cluster = rados.Rados(name=f"client.{access.user}", clustername="ceph", conf=access.conf())
    except (rados.Error, ValueError, TypeError) as error:
        raise TerminalError("InvalidCephSettings", f"cannot {what}: {error}") from error
    try:
        cluster.connect()
        fsid = cluster.get_fsid()
    except rados.Error as error:
        cluster.shutdown()
        known = failure(error.errno or 0, what)
        if isinstance(known, TransientError | TerminalError):
            raise known from error
        # ENOENT here: no monitor address, or no user of that name.
        raise TerminalError("AccessDenied", known.message) from error
    if fsid != access.fsid:
        cluster.shutdown()
        raise TerminalError(
            "WrongCluster",
            f"the monitors {', '.join(access.monitors)} belong to Ceph cluster {fsid}, not to"
            f" {access.fsid}: correct monitors or fsid of the Zone's pool",
        )
    return cluster
