# SPDX-License-Identifier: Apache-2.0
"""A random walk: users, guests, processes, machines and events do what they like."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

from nopal_api.kinds import DISK, IMAGE, NETWORK, VIRTUAL_MACHINE
from support.simulation import OPERATOR, RESYNC_SECONDS, Simulation, image, network
from support.simulation_facts import check
from support.simulation_stories import NAMESPACE, cluster, disk, uses, vm

VMS = ("a", "b", "c")
DISKS = ("d1", "d2", "d3", "d4")
POLICIES = ("Always", "OnCrash", "Never")


class Walk:
    """One walk.

    Args:
        sim: where.
        random: decides everything.
    """

    def __init__(self, sim: Simulation, random: Random) -> None:
        self.sim, self.random = sim, random
        self.log: list[str] = []
        self._vanished = False
        self._litter = ""
        self._steps: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (8, self._apply_vm), (4, self._delete_vm), (4, self._apply_disk),
            (2, self._delete_disk), (1, self._image), (1, self._network),
            (3, self._guest_ends), (3, self._restart), (4, self._crash_soon), (2, self._libvirt),
            (2, self._api), (2, self._cut_off), (2, self._storage), (4, self._events),
            (1, self._vanish), (1, self._power_cut),
        ]  # fmt: skip

    async def run(self, steps: int) -> None:
        """Walk, then mend all that is broken, and see that everything comes to a good end."""
        cluster(self.sim)
        for name in DISKS:
            self._put_disk(name)
        weights = [weight for weight, _ in self._steps]
        for _ in range(steps):
            (step,) = self.random.choices([act for _, act in self._steps], weights)
            self.log.append(f"{asyncio.get_running_loop().time():.1f} {step.__name__}")
            await step()
            await asyncio.sleep(self.random.choice((0.0, 0.1, 1.0, 5.0, 40.0)))
            assert not self.sim.history.breaches, self.sim.history.breaches
        await self._mend()
        check(self.sim)
        self._is_good()

    # Users

    async def _apply_vm(self) -> None:
        spec = {
            "powerState": self.random.choice(("Running", "Running", "Stopped")),
            "restartPolicy": self.random.choice(POLICIES),
            "disks": uses(*self.random.sample(DISKS, self.random.randint(0, 2))),
            "interfaces": self.random.choice(([], [{"name": "eth0", "network": {"name": "lan"}}])),
        }
        vm(self.sim, self.random.choice(VMS), **spec)

    async def _delete_vm(self) -> None:
        self._remove(VIRTUAL_MACHINE, self.random.choice(VMS))

    async def _apply_disk(self) -> None:
        self._put_disk(self.random.choice(DISKS))

    async def _delete_disk(self) -> None:
        self._remove(DISK, self.random.choice(DISKS))

    async def _image(self) -> None:
        if self._remove(IMAGE, "debian"):
            return
        self.sim.kube.put(IMAGE, image())

    async def _network(self) -> None:
        if self._remove(NETWORK, "lan"):
            return
        self.sim.kube.put(NETWORK, network())

    def _put_disk(self, name: str) -> None:
        if self.sim.kube.see(DISK, name, NAMESPACE) is None:
            source = {"source": {"image": {"name": "debian"}}} if name in DISKS[:2] else {}
            disk(self.sim, name, **source)

    def _remove(self, kind: Any, name: str) -> bool:
        namespace = NAMESPACE if kind.namespaced else ""
        if self.sim.kube.see(kind, name, namespace) is None:
            return False
        self.sim.kube.remove(kind, name, namespace)
        return True

    async def _vanish(self) -> None:
        """A finalizer is taken off by hand; once, because many orphans at once are held."""
        name = self.random.choice(VMS)
        if self._vanished or self.sim.kube.see(VIRTUAL_MACHINE, name, NAMESPACE) is None:
            return
        self._vanished = True
        body = self.sim.kube.see(VIRTUAL_MACHINE, name, NAMESPACE) or {}
        if not body["spec"].get("disks"):
            # Without a disk that it claims nobody has the word on what it leaves behind.
            self._litter = f"seed-{body['metadata']['uid']}"
        self.sim.kube.strip_finalizers(VIRTUAL_MACHINE, name, NAMESPACE)
        if self.sim.kube.see(VIRTUAL_MACHINE, name, NAMESPACE) is not None:
            self.sim.kube.remove(VIRTUAL_MACHINE, name, NAMESPACE)

    # Guests, processes, machines, events

    async def _guest_ends(self) -> None:
        running = [(h, uid) for h in self.sim.host.values() for uid in h.domains]
        if running:
            host, uid = self.random.choice(running)
            self.random.choice((host.kill, host.guest_powers_off))(uid)

    async def _restart(self) -> None:
        name = self.random.choice((OPERATOR, *self.sim.host))
        await self.sim.kill(name)
        await asyncio.sleep(self.random.choice((0.0, 5.0, 60.0)))
        self.sim.start(name)

    async def _crash_soon(self) -> None:
        self.sim.kill_after = self.sim.effects + self.random.randint(1, 8)

    async def _libvirt(self) -> None:
        host = self.sim.host[self.random.choice(list(self.sim.host))]
        (host.libvirt_goes if host.reachable else host.libvirt_returns)()

    async def _api(self) -> None:
        (self.sim.api_returns if self.sim.api_down else self.sim.api_goes)()

    async def _cut_off(self) -> None:
        if self.sim.cut_off:
            self.sim.api_returns()
        else:
            self.sim.cut_off.add(self.random.choice((OPERATOR, *self.sim.host)))

    async def _storage(self) -> None:
        switch = self.random.choice(("down", "full"))
        setattr(self.sim.cluster, switch, not getattr(self.sim.cluster, switch))

    async def _events(self) -> None:
        name = self.random.choice((OPERATOR, *self.sim.host))
        kept, delay = self.random.random(), self.random.random() * 20
        fate = Random(self.random.random())  # noqa: S311 - the same walk for the same seed

        def deliver(_event: Any, _body: Any) -> Sequence[float]:
            return tuple(fate.random() * delay for _ in range(2) if fate.random() < kept)

        self.sim.deliver[name] = deliver

    async def _power_cut(self) -> None:
        name = self.random.choice(list(self.sim.host))
        await self.sim.kill(name)
        self.sim.host[name].power_cut()
        await asyncio.sleep(self.random.choice((1.0, 60.0)))
        self.sim.start(name)

    async def _mend(self) -> None:
        sim = self.sim
        sim.kill_after = 0
        sim.deliver.clear()
        sim.cluster.down = sim.cluster.full = False
        for host in sim.host.values():
            if not host.reachable:
                host.libvirt_returns()
        sim.api_returns()
        await sim.settle(quiet=RESYNC_SECONDS + 45, limit=3600)

    def _is_good(self) -> None:
        """Every VM is what it was asked to be, or says why not; what was deleted is gone."""
        sim = self.sim
        for name in VMS:
            body = sim.kube.see(VIRTUAL_MACHINE, name, NAMESPACE)
            if body is None:
                continue
            assert "deletionTimestamp" not in body["metadata"], name
            uid, status = body["metadata"]["uid"], body["status"]
            runs = any(uid in host.domains for host in sim.host.values())
            ready = next(c for c in status["conditions"] if c["type"] == "Ready")
            said = next(c for c in status["conditions"] if c["type"] == "Scheduled")
            assert (ready["status"] == "True") == runs, (name, status)
            if body["spec"]["powerState"] == "Stopped":
                assert not runs, name
            elif not runs:
                left_down = body["spec"]["restartPolicy"] != "Always" and said["reason"] in (
                    "GuestShutdown", "Crashed", "Unknown",
                )  # fmt: skip
                assert left_down or self._lacks_something(body), (name, status)
        for name in DISKS:
            body = sim.kube.see(DISK, name, NAMESPACE)
            if body is not None and "deletionTimestamp" in body["metadata"]:
                assert "claim" in body["status"], name
        seeds = {i for i in sim.cluster.pools["vms", ""].images if i.startswith("seed-")}
        uids = {f"seed-{uid}" for host in sim.host.values() for uid in host.domains}
        assert seeds - {self._litter} <= uids, seeds - uids

    def _lacks_something(self, body: dict[str, Any]) -> bool:
        sim = self.sim
        for item in body["spec"].get("disks", ()):
            found = sim.kube.see(DISK, item["disk"]["name"], NAMESPACE)
            if found is None or "deletionTimestamp" in found["metadata"]:
                return True
            claim = found.get("status", {}).get("claim")
            if claim is not None and claim["vmUID"] != body["metadata"]["uid"]:
                return True
            from_image = "source" in found["spec"] and "size" not in found.get("status", {})
            if from_image and sim.kube.see(IMAGE, "debian") is None:
                return True
        lan = sim.kube.see(NETWORK, "lan")
        return bool(body["spec"]["interfaces"]) and (
            lan is None or "deletionTimestamp" in lan["metadata"]
        )
