# SPDX-License-Identifier: Apache-2.0
"""This host's own object: registered, its networks realized, its state told."""

from collections.abc import Callable
from typing import TypeVar

from nopal_api.conditions import Condition, condition
from nopal_api.host import Host, HostNetwork, HostStatus
from nopal_api.kinds import DISK, HOST, IMAGE, NAMESPACE, NETWORK, VIRTUAL_MACHINE, ZONE
from nopal_api.names import MANAGER_NODE
from nopal_api.network import Network
from nopal_api.quantity import parse_bytes
from nopal_api.virtualmachine import VirtualMachine
from nopal_api.zone import Zone
from nopal_runtime.errors import ConflictError, NopalError, TransientError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import Record

from .host.facts import HostFacts
from .host.preflight import HostSeen, PoolSeen
from .host.report import host_status
from .host_state import HostState
from .hypervisor.base import HypervisorFacts
from .network.base import BridgeSpec
from .orphans import Orphans
from .own_node import OwnNode
from .reconcile.network import NetworkView, plan_bridges

ReadFacts = Callable[[], HostFacts]
T = TypeVar("T")


class Hosts:
    """Reconciles the one Host that is this host."""

    def __init__(self, state: HostState, *, facts: ReadFacts, orphans: Orphans) -> None:
        self._state = state
        self._facts = facts
        self._orphans = orphans
        self._node = OwnNode(state)

    async def reconcile(self, key: Key) -> float | None:
        """Register, look at the host, tell its state. Raises NopalError to be tried again."""
        node = await self._node.facts()
        record = await self._register(key)
        model = record.model(Host)
        zone = self._zone(model.status.zone)
        await self._use_zone(model.status.zone or "", zone)
        networks = await self._networks(model.status.zone)
        seen = HostSeen(
            facts=await self._state.threads.run(self._facts),
            hypervisor=await self._hypervisor(),
            zone=model.status.zone or "" if zone else "",
            zone_gone=model.status.zone or "" if zone is None else "",
            storage_cidrs=zone.spec.storage_cidrs if zone else (),
            reserved=parse_bytes(zone.spec.host_reserved.memory) if zone else 0,
            pods=node.allocatable_memory,
            pools=tuple([await self._pool(name) for name in self._state.pools.names()]),
        )
        status = host_status(
            seen,
            previous=model.status,
            node_uid=node.uid,
            networks=networks,
            ceph_version=next((p.version for p in seen.pools if p.version), ""),
            extra=self._held(record.generation),
            generation=record.generation,
        )
        await self._tell(record, status)
        waiting = any(network.ready == "False" for network in networks)
        unwell = any(pool.error for pool in seen.pools) or isinstance(seen.hypervisor, NopalError)
        return min(5.0, self._state.settings.poll_seconds) if waiting or unwell else None

    async def _register(self, key: Key) -> Record:
        """See that the Host object is there; remember which one, in which cluster."""
        state, name = self._state, key.name
        registered = state.registered
        if not registered.cluster_uid:
            cluster = await state.read(NAMESPACE, namespace="", name="kube-system")
            if cluster is None:
                raise TransientError("NotACluster", "kube-apiserver has no namespace kube-system")
            registered.cluster_uid = cluster.uid
        record = state.cache.get(key)
        if record is None:
            record = await state.read(HOST, namespace="", name=name)
        if record is None:
            body = {
                "apiVersion": HOST.api_version,
                "kind": HOST.kind,
                "metadata": {"name": name},
                "spec": {},
            }
            try:
                state.cache.offer(HOST, await state.kube.create(HOST, body))
            except ConflictError as error:
                raise TransientError("AlreadyExists", "the Host was made just now") from error
            record = state.cache.get(key)
        if record is None:
            raise TransientError("HostNotFound", "the Host object is not there yet")
        registered.host_uid = record.uid
        return record

    def _zone(self, name: str | None) -> Zone | None:
        record = self._state.cache.get(Key(ZONE.kind, "", name)) if name else None
        return record.model(Zone) if record is not None else None

    async def _use_zone(self, name: str, zone: Zone | None) -> None:
        if self._state.pools.use_zone(name, zone):
            # What could not be done without the pools can be tried at once.
            for kind in (VIRTUAL_MACHINE, DISK, IMAGE):
                for record in self._state.cache.all(kind):
                    self._state.mark(record.key, 0.0)

    async def _hypervisor(self) -> HypervisorFacts | NopalError:
        try:
            return await self._state.threads.run(self._state.hypervisor.facts)
        except NopalError as error:
            return error

    async def _pool(self, name: str) -> PoolSeen:
        connected = None
        try:
            connected = await self._state.pools.named(name)
            await self._state.threads.run(connected.storage.check)
            addresses = await self._state.threads.run(connected.storage.addresses)
            version = await self._state.threads.run(connected.storage.version)
        except NopalError as error:
            if connected is not None and error.reason == "AccessDenied":
                await self._state.pools.forget(connected)  # the key may have been renewed
            return PoolSeen(name=name, error=error)
        return PoolSeen(
            name=name,
            addresses=addresses,
            version=version,
            osd_hosts=await self._if_told(connected.storage.osd_hosts),
            redundancy=await self._if_told(connected.storage.redundancy),
        )

    async def _if_told(self, ask: Callable[[], T]) -> T | None:
        try:
            return await self._state.threads.run(ask)
        except NopalError:
            return None  # a key that may not ask is as good as any other for guests

    def _networks_in_use(self) -> frozenset[str]:
        """Return the networks that a VM of this host may need at any moment, by name."""
        found: set[str] = set()
        for record in self._state.cache.all(VIRTUAL_MACHINE):
            status = record.model(VirtualMachine).status
            assignment = status.assignment
            if assignment is not None and (status.released_epoch or 0) < assignment.epoch:
                found.update(i.network for i in assignment.interfaces)
        return frozenset(found)

    async def _networks(self, zone: str | None) -> list[HostNetwork]:
        """Make and remove bridges; return the networks as they are here."""
        state = self._state
        views = [_network_view(record) for record in state.cache.all(NETWORK)]
        owned = await state.threads.run(state.network.owned_bridges)
        made = plan_bridges(views, zone=zone, owned=owned, in_use=self._networks_in_use())
        networks = [await self._ensure(view, spec) for view, spec in made.ensure]
        deleting = {view.uid: view for view in views if view.deleting}
        for bridge in made.remove:
            view = deleting[bridge.owner_uid]
            try:
                await state.threads.run(
                    state.network.remove_bridge, bridge.name, owner_uid=bridge.owner_uid
                )
            except NopalError as error:
                networks.append(
                    HostNetwork(
                        name=view.name, bridge=bridge.name, ready="False", message=error.message
                    )
                )
        return networks

    async def _ensure(self, view: NetworkView, spec: BridgeSpec) -> HostNetwork:
        try:
            bridge = await self._state.threads.run(self._state.network.ensure_bridge, spec)
        except NopalError as error:
            return HostNetwork(
                name=view.name, bridge=spec.name, ready="False", message=error.message
            )
        return HostNetwork(name=view.name, bridge=bridge.name, mtu=bridge.mtu, ready="True")

    def _held(self, generation: int) -> tuple[Condition, ...]:
        verdict = self._orphans.verdict
        if not verdict.held:
            return ()
        return (
            condition(
                "OrphansHeld",
                True,
                reason="OrphansHeld",
                message=verdict.message,
                generation=generation,
            ),
        )

    async def _tell(self, record: Record, status: HostStatus) -> None:
        try:
            await self._state.writer.write(record, manager=MANAGER_NODE, status=status)
        except ConflictError as error:
            fresh = await self._state.read(HOST, namespace="", name=record.name)
            if fresh is None or fresh.uid != record.uid:
                raise TransientError("HostChanged", "the Host object was made anew") from error
            await self._state.writer.write(fresh, manager=MANAGER_NODE, status=status)


def _network_view(record: Record) -> NetworkView:
    model = record.model(Network)
    return NetworkView(name=record.name, uid=record.uid, deleting=record.deleting, spec=model.spec)
