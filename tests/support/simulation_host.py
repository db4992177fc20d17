# SPDX-License-Identifier: Apache-2.0
"""A host of the simulation: guests that open their images in the cluster, and a referee."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from nopal_node.hypervisor.base import DomainSpec, Exit
from nopal_node.hypervisor.fake_host import FakeDomain, FakeHostState
from nopal_node.network.fake import FakeLinks
from nopal_node.storage.fake_cluster import FakeCluster, FakeImage

FORGOTTEN_AFTER = 30.0
"""Seconds for which Ceph remembers the watch of a client that died."""


@dataclass(slots=True)
class History:
    """What must never happen, found as it happens."""

    breaches: list[str] = field(default_factory=list)
    starts: list[tuple[str, str, int]] = field(default_factory=list)
    """(host, VM UID, epoch) of every start."""
    released: dict[str, int] = field(default_factory=dict)
    """By VM UID: the highest epoch that was ever reported as released."""
    _running: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _epochs: dict[str, int] = field(default_factory=dict)
    _made: dict[str, str] = field(default_factory=dict)

    def started(self, host: str, uid: str, epoch: int) -> None:
        """A guest starts."""
        self.starts.append((host, uid, epoch))
        self._running[uid].add(host)
        if len(self._running[uid]) > 1:
            self.breaches.append(f"{uid} runs on {sorted(self._running[uid])}")
        if epoch < self._epochs.get(uid, 0):
            self.breaches.append(f"{uid} started at {epoch} after {self._epochs[uid]}")
        if epoch <= self.released.get(uid, 0):
            self.breaches.append(f"{uid} started at {epoch}, which was released")
        self._epochs[uid] = max(epoch, self._epochs.get(uid, 0))

    def ended(self, host: str, uid: str) -> None:
        """A guest is gone."""
        self._running[uid].discard(host)

    def was_released(self, uid: str, epoch: int) -> None:
        """A host reported the release of an epoch."""
        if epoch < self.released.get(uid, 0):
            self.breaches.append(f"{uid}: release of {self.released[uid]} taken back to {epoch}")
        if epoch >= self._epochs.get(uid, 0) and self._running[uid]:
            self.breaches.append(f"{uid} was released at {epoch} while it runs")
        self.released[uid] = max(epoch, self.released.get(uid, 0))

    def opened(self, name: str, image: FakeImage, others: list[str]) -> None:
        """A guest opens an image for writing."""
        if others:
            self.breaches.append(f"{name} has a second writer: {others}")
        if self._made.setdefault(name, image.image_id) != image.image_id:
            self.breaches.append(f"{name} was made anew over lost data")


class SimulatedHost(FakeHostState):
    """One host: it outlives its daemon."""

    def __init__(self, name: str, *, address: str, cluster: FakeCluster, history: History) -> None:
        super().__init__()
        self.name, self.address = name, address
        self.links = FakeLinks()
        self.cluster, self.history = cluster, history
        self._clients: dict[str, list[tuple[FakeImage, str]]] = {}

    def run(self, spec: DomainSpec, xml: str) -> FakeDomain:
        """Start a guest: it opens its disks, and has a tap on each bridge."""
        uid = spec.ownership.vm_uid
        self.history.started(self.name, uid, spec.ownership.epoch)
        opened = self._clients.setdefault(uid, [])
        for disk in spec.disks:
            image = self.cluster.pools[disk.pool, disk.namespace].images[disk.image]
            if disk.read_only:
                continue
            others = [c for c in image.watchers if not self.cluster.is_dead(c)]
            self.history.opened(disk.image, image, others)
            client = self.cluster.open(disk.image, address=self.address, lock=True, pool=disk.pool)
            opened.append((image, client))
        for number, interface in enumerate(spec.interfaces):
            self.links.attach(f"t{uid[-8:]}{number}", interface.bridge)
        return super().run(spec, xml)

    def end(self, uid: str, how: Exit) -> None:
        """A guest is gone: in order, or leaving watches behind."""
        spec = self.domains[uid].spec
        self.history.ended(self.name, uid)
        for image, client in self._clients.pop(uid, []):
            self._leave(image, client, abruptly=how is Exit.CRASHED)
        for number in range(len(spec.interfaces) if spec else 0):
            self.links.detach(f"t{uid[-8:]}{number}")
        super().end(uid, how)

    def power_cut(self) -> None:
        """The machine loses power: its guests and their taps are gone, watches stay a while."""
        for uid in list(self.domains):
            self.history.ended(self.name, uid)
            for image, client in self._clients.pop(uid, []):
                self._leave(image, client, abruptly=True)
        for name in [link.name for link in self.links._links.values() if link.kind != "bridge"]:
            self.links.detach(name)
        super().power_cut()

    def _leave(self, image: FakeImage, client: str, *, abruptly: bool) -> None:
        self.cluster.kill(client)

        def forget() -> None:
            image.watchers.pop(client, None)

        if abruptly:
            _later(FORGOTTEN_AFTER, forget)  # the lock stays until somebody breaks it
            return
        forget()
        if image.lock == client:
            image.lock = None


def _later(seconds: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, call)
