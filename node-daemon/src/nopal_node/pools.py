# SPDX-License-Identifier: Apache-2.0
"""The storage pools of this host's zone, connected when they are first needed."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass

from nopal_api.kinds import SECRET
from nopal_api.names import ceph_user
from nopal_api.shared import Location
from nopal_api.zone import CephPool, Zone
from nopal_runtime.errors import NotFoundError, TerminalError, TransientError
from nopal_runtime.kube.api import KubeApi

from .storage.base import PoolAccess, StoragePool
from .threads import Threads


@dataclass(frozen=True, slots=True)
class Connected:
    """A pool with the access that its guests use too."""

    access: PoolAccess
    storage: StoragePool


Connect = Callable[[PoolAccess], StoragePool]


class Pools:
    """Connections by pool. The zone may change; a pool that it no longer names is not used."""

    def __init__(
        self, *, node_name: str, kube: KubeApi, connect: Connect, threads: Threads
    ) -> None:
        self._node_name = node_name
        self._kube = kube
        self._connect = connect
        self._threads = threads
        self._zone: Zone | None = None
        self._zone_name = ""
        self._connected: dict[tuple[str, str], Connected] = {}
        self._lock = asyncio.Lock()

    def use_zone(self, name: str, zone: Zone | None) -> bool:
        """Take the zone's pools as they are now; tell whether they are others than before."""
        before = self._zone.spec.pools if self._zone else ()
        self._zone_name, self._zone = name, zone
        return (zone.spec.pools if zone else ()) != before

    @property
    def zone_name(self) -> str:
        """Return the name of the zone that the pools belong to; empty if there is none yet."""
        return self._zone_name if self._zone is not None else ""

    def names(self) -> tuple[str, ...]:
        """Return the names of the zone's pools."""
        return tuple(p.name for p in self._zone.spec.pools) if self._zone else ()

    async def named(self, name: str) -> Connected:
        """Return the pool that the zone knows by that name."""
        for pool in self._zone.spec.pools if self._zone else ():
            if pool.name == name and pool.ceph is not None:
                return await self._get(pool.ceph)
        raise self._unknown(f"the pool {name!r}" if name else "a pool")

    async def at(self, location: Location) -> Connected:
        """Return the pool that an image lies in."""
        for pool in self._zone.spec.pools if self._zone else ():
            ceph = pool.ceph
            if ceph is not None and (ceph.fsid, ceph.pool, "") == (
                location.fsid,
                location.pool,
                location.namespace,
            ):
                return await self._get(ceph)
        raise self._unknown(f"the RBD pool {location.pool!r}")

    async def default(self) -> Connected:
        """Return the zone's default pool."""
        spec = self._zone.spec if self._zone else None
        return await self.named((spec.default_pool or spec.pools[0].name) if spec else "")

    def _unknown(self, what: str) -> TransientError:
        if self._zone is not None:
            return TransientError(
                "PoolNotFound",
                f"{what} is not among the pools of Zone {self._zone_name}: add it to spec.pools",
            )
        if self._zone_name:
            return TransientError(
                "ZoneNotFound",
                f'{what} is needed but Zone "{self._zone_name}" of this host is gone: create it'
                " again with the same fsid and pool",
            )
        return TransientError(
            "PoolNotFound",
            f"{what} is needed but this host belongs to no Zone: create the Zone that has it, or"
            " give the node the labels of that Zone's nodeSelector",
        )

    async def _get(self, ceph: CephPool) -> Connected:
        async with self._lock:
            where = (ceph.fsid, ceph.pool)
            known = self._connected.get(where)
            if known is not None and known.access.monitors == ceph.monitors:
                return known
            access = PoolAccess(
                fsid=ceph.fsid,
                monitors=ceph.monitors,
                pool=ceph.pool,
                namespace="",
                user=ceph_user(self._node_name),
                key=await self._key(ceph),
            )
            storage = await self._threads.run(self._connect, access)
            if known is not None:
                await self._threads.run(known.storage.close)
            connected = self._connected[where] = Connected(access, storage)
            return connected

    async def empty_trash(self) -> None:
        """Remove for good what has been in the pools' trash for its time."""
        for name in self.names():
            storage = (await self.named(name)).storage
            await self._threads.run(storage.empty_trash)

    async def forget(self, connected: Connected) -> None:
        """Drop a connection, so that the next use reads the key again."""
        async with self._lock:
            for where, known in list(self._connected.items()):
                if known is connected:
                    del self._connected[where]
                    await self._threads.run(known.storage.close)

    async def _key(self, ceph: CephPool) -> str:
        ref = ceph.secret_ref
        try:
            secret = await self._kube.get(SECRET, namespace=ref.namespace, name=ref.name)
        except NotFoundError as error:
            raise TransientError(
                "CephSecretNotFound",
                f"Secret {ref.namespace}/{ref.name} with the Ceph keys does not exist: create it"
                f" with an entry {self._node_name}",
            ) from error
        except TerminalError as error:
            # This Secret alone: its namespace may hold others that are nothing to a host.
            name, where = f"nopal-ceph-{ref.name}", f"-n {ref.namespace}"
            raise TransientError(
                "CephSecretForbidden",
                f"the node daemon may not read Secret {ref.namespace}/{ref.name}: add it to the"
                f" chart's nodeSecrets.ceph, or kubectl create role {name} {where} --verb get"
                f" --resource secrets --resource-name {ref.name}, then kubectl create rolebinding"
                f" {name} {where} --role {name} --serviceaccount nopal-system:nopal-node",
            ) from error
        entry = (secret.get("data") or {}).get(self._node_name)
        if not entry:
            raise TransientError(
                "CephSecretNotFound",
                f"Secret {ref.namespace}/{ref.name} has no entry {self._node_name}: add the key of"
                f" the cephx user client.{ceph_user(self._node_name)}",
            )
        return base64.b64decode(entry).decode().strip()

    async def close(self) -> None:
        """Close every connection."""
        for connected in self._connected.values():
            await self._threads.run(connected.storage.close)
        self._connected.clear()
