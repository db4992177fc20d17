# SPDX-License-Identifier: Apache-2.0
"""The whole operator on a fake API server, in virtual time: events in, statuses out."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from threading import Event, get_ident
from typing import Any

import pytest

from nopal_api.kinds import HOST, LEASE, NODE, VIRTUAL_MACHINE
from nopal_api.names import HOST_LEASE_NAMESPACE
from nopal_operator import app, schedulers
from nopal_operator.app import Operator
from nopal_operator.settings import Settings
from nopal_runtime.errors import TransientError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.fake import Call, FakeKube
from nopal_runtime.kube.fakewatch import FakeWatch
from nopal_scheduler import Cluster, Scheduler
from support import objects
from support.operatorlab import GIB, Lab
from support.virtualtime import run_virtual


class Running:
    """An operator that runs, hosts that renew their Leases, and the hand of a test."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.hand = Lab(self.kube)
        self.alive: set[str] = set()
        self.watch: FakeWatch | None = None

    async def host(self, name: str, **about: Any) -> None:
        await self.hand.host(name, **about)
        self.alive.add(name)

    async def renew(self) -> None:
        count = 0
        while True:
            count += 1
            for name in sorted(self.alive):
                self.kube.put(
                    LEASE,
                    {
                        "metadata": {"namespace": HOST_LEASE_NAMESPACE, "name": name},
                        "spec": {"leaseDurationSeconds": 15, "renewTime": str(count)},
                    },
                )
            await asyncio.sleep(5)

    def make_watch(self, kinds: Any, *, cache: Any, on_change: Any, on_gap: Any) -> FakeWatch:
        self.watch = FakeWatch(self.kube, kinds, cache=cache, on_change=on_change)
        return self.watch

    def operator(self) -> Operator:
        return Operator(settings=Settings(), kube=self.kube, make_watch=self.make_watch)

    def writes(self) -> int:
        return sum(c.verb not in ("get", "list") for c in self.kube.calls)


def run(test: Callable[[Running], Awaitable[None]], *, started: bool = True) -> None:
    async def main() -> None:
        running = Running()
        renewing = asyncio.create_task(running.renew())
        working = asyncio.create_task(running.operator().run()) if started else None
        await test(running)
        for task in filter(None, (working, renewing)):
            if task.done():
                await task
            task.cancel()
        await asyncio.gather(*filter(None, (working, renewing)), return_exceptions=True)

    run_virtual(main())


def test_a_virtual_machine_finds_its_host_as_soon_as_all_is_there() -> None:
    async def test(running: Running) -> None:
        hand = running.hand
        vm = hand.vm(disks=[{"name": "root", "disk": {"name": "root"}}])
        await asyncio.sleep(3)
        assert hand.said(vm).reason == "ZoneNotFound"
        hand.zone()
        await asyncio.sleep(1)
        assert hand.said(vm).reason == "DiskNotFound"
        hand.disk("root")
        await asyncio.sleep(1)
        assert hand.said(vm).reason == "Unschedulable"
        await running.host("n1")
        await asyncio.sleep(8)
        assert hand.said(vm).reason == "Assigned"

    run(test)


def test_a_vm_and_its_disk_are_one_write_each_although_the_vm_is_heard_of_first() -> None:
    async def test(running: Running) -> None:
        hand = running.hand
        hand.zone()
        await running.host("n1")
        await asyncio.sleep(60)
        running.kube.calls.clear()
        vm = hand.vm(disks=[{"name": "root", "disk": {"name": "root"}}])
        await asyncio.sleep(0.2)
        hand.disk("root")
        await asyncio.sleep(30)
        assert hand.said(vm).reason == "Assigned"
        kinds = sorted(c.kind for c in running.kube.calls if c.verb == "apply_status")
        assert kinds == ["Disk", "VirtualMachine", "Zone"]
        running.kube.calls.clear()
        await asyncio.sleep(3600)
        assert running.writes() == 0

    run(test)


def test_a_host_that_falls_silent_is_told_and_a_restart_of_the_operator_forgets_nothing() -> None:
    async def test(running: Running) -> None:
        hand = running.hand
        hand.zone()
        await running.host("n1")
        vm = hand.vm()
        working = asyncio.create_task(running.operator().run())
        await asyncio.sleep(10)
        assert hand.said(vm).reason == "Assigned"
        running.alive.clear()
        await asyncio.sleep(30)
        assert hand.said(vm, "Ready").reason == "HostUnreachable"
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        running.kube.calls.clear()
        again = asyncio.create_task(running.operator().run())
        await asyncio.sleep(60)
        assert hand.said(vm, "Ready").reason == "HostUnreachable"
        assert [c.kind for c in running.kube.calls if c.verb == "apply_status"] == []
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)

    run(test, started=False)


def test_nothing_is_planned_before_everything_was_listed() -> None:
    async def test(running: Running) -> None:
        async def hook(call: Call) -> None:
            if call.verb == "list" and call.kind == "Disk":
                raise TransientError("ApiUnavailable", "not now")

        running.kube.hooks.append(hook)
        hand = running.hand
        hand.zone()
        hand.kube.remove(VIRTUAL_MACHINE, hand.vm().name, "default")
        working = asyncio.create_task(running.operator().run())
        await asyncio.sleep(120)
        assert [c for c in running.kube.calls if c.verb == "apply_status"] == []
        running.kube.hooks.remove(hook)
        await asyncio.sleep(60)
        assert [c for c in running.kube.calls if c.verb == "apply_status"] != []
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    run(test, started=False)


def test_whatever_stood_in_the_way_goes_and_it_starts_by_itself() -> None:
    async def test(running: Running) -> None:
        hand = running.hand
        hand.zone()
        hand.network("lan")
        vm = hand.vm(interfaces=[{"name": "eth0", "network": {"name": "lan"}}])
        await running.host("n1", scheduling="Disabled")
        hand.put(NODE, {"metadata": {"name": "n1", "labels": {}}})
        await asyncio.sleep(20)
        assert "there is no host" in hand.said(vm).message
        hand.put(NODE, {"metadata": {"name": "n1", "labels": {"zone": "z1"}}})
        await asyncio.sleep(2)
        assert "scheduling disabled" in hand.said(vm).message
        hand.put(HOST, objects.host("n1", scheduling="Enabled"))
        await asyncio.sleep(2)
        assert "network lan not realized" in hand.said(vm).message
        await hand.host("n1", networks=["lan"], ready=False)
        await asyncio.sleep(2)
        assert "not ready (Preflight)" in hand.said(vm).message
        await hand.host("n1", networks=["lan"], memory=2 * GIB)
        await asyncio.sleep(2)
        assert "insufficient memory" in hand.said(vm).message
        hand.zone(hostReserved={"memory": "128Mi"})
        await asyncio.sleep(2)
        assert hand.said(vm).reason == "Assigned"

    run(test)


def test_a_disk_is_free_for_the_next_one_as_soon_as_the_first_is_gone() -> None:
    async def test(running: Running) -> None:
        hand = running.hand
        hand.zone()
        await running.host("n1")
        disks = [{"name": "root", "disk": {"name": "root"}}]
        hand.disk("root")
        await asyncio.sleep(20)
        first = hand.vm("first", disks=disks)
        await asyncio.sleep(2)
        second = hand.vm("second", disks=disks)
        await asyncio.sleep(2)
        assert hand.said(second).reason == "DiskInUse"
        hand.kube.remove(VIRTUAL_MACHINE, "first", "default")
        await hand.release(first)
        await asyncio.sleep(2)
        assert not hand.is_there(first)
        assert hand.said(second).reason == "Assigned"

    run(test)


def test_lost_and_repeated_events_cost_time_and_nothing_else() -> None:
    async def test(running: Running) -> None:
        hand = running.hand
        hand.zone()
        await running.host("n1")
        await asyncio.sleep(20)
        assert running.watch is not None
        running.watch.deliver = lambda event, body: ()
        lost = hand.vm("lost")
        await asyncio.sleep(10)
        assert hand.model(lost).status.conditions == ()
        await asyncio.sleep(600)  # the next complete list
        assert hand.said(lost).reason == "Assigned"
        running.watch.deliver = lambda event, body: (0.0, 0.0, 2.0)
        repeated = hand.vm("repeated")
        await asyncio.sleep(10)
        assert hand.said(repeated).reason == "Assigned"
        assert hand.model(repeated).status.assignment.epoch == 1

    run(test)


def test_everything_is_looked_at_again_from_time_to_time() -> None:
    """The sweep is the authority: a mark that is missing somewhere costs time only."""
    seen: set[Key] = set()

    class Watched(Operator):
        async def reconcile(self, key: Key) -> float | None:
            seen.add(key)
            return await super().reconcile(key)

    async def test(running: Running) -> None:
        hand = running.hand
        keys = {hand.zone(), hand.vm(), hand.disk(), hand.network("lan"), hand.image()}
        await running.host("n1", networks=["lan"])
        made = Watched(settings=Settings(), kube=running.kube, make_watch=running.make_watch)
        working = asyncio.create_task(made.run())
        await asyncio.sleep(250)  # the first complete lists after the start come after this
        seen.clear()
        await asyncio.sleep(600)
        assert keys <= seen
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    run(test, started=False)


def test_many_at_once_share_the_room_exactly() -> None:
    async def test(running: Running) -> None:
        hand = running.hand
        hand.zone()
        for name in ("n1", "n2"):
            await running.host(name, memory=12 * GIB)
        await asyncio.sleep(20)
        vms = [hand.vm(f"vm{i}", memory={"size": "2Gi"}) for i in range(12)]
        await asyncio.sleep(20)
        nodes = [hand.model(vm).status.assignment for vm in vms]
        placed = [a.node_name for a in nodes if a]
        assert sorted(placed) == ["n1"] * 4 + ["n2"] * 4  # 10 of 12 GiB each, with overhead
        waiting = next(vm for vm, a in zip(vms, nodes, strict=True) if a is None)
        assert hand.said(waiting).message.startswith("0/2 hosts fit: 2 insufficient memory")

    run(test)


def test_a_zone_that_is_searched_aside_places_and_tells_as_soon_as_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schedulers, "_FEW", 0)
    go, threads = Event(), set[int]()

    def build(cluster: Cluster, *, like: Scheduler | None) -> Scheduler:
        if cluster.vms:
            threads.add(get_ident())
            assert go.wait(30)
        return Scheduler(cluster, like=like)

    for module in (app, schedulers):
        monkeypatch.setattr(module, "Scheduler", build)

    async def test(running: Running) -> None:
        hand = running.hand
        hand.zone(redundancy={"failures": 1})
        for name in ("n1", "n2"):
            await running.host(name)
        await asyncio.sleep(20)
        first = hand.vm("first")
        await asyncio.sleep(2)
        assert hand.said(first).reason == "Assigned"
        await running.host("n3")
        await asyncio.sleep(20)
        second = hand.vm("second")
        await asyncio.sleep(30)
        assert hand.model(second).status.conditions == (), "nothing is known of it yet"
        assert hand.said(first).reason == "Assigned"
        other = hand.vm("other", zone="z2")
        await asyncio.sleep(5)
        assert hand.said(other).reason == "ZoneNotFound", "the operator is there for others"
        go.set()
        for _ in range(1000):
            time.sleep(0.005)  # noqa: ASYNC251 - the thread is in real time
            await asyncio.sleep(0.1)
            if hand.model(second).status.assignment:
                break
        await asyncio.sleep(40)
        assert hand.said(second).reason == "Assigned"
        assert hand.model(Key("Zone", "", "z1")).status.hosts.ready == 3
        assert get_ident() not in threads

    run(test)


def test_a_restarted_operator_writes_nothing_where_nothing_changed() -> None:
    async def test(running: Running) -> None:
        hand = running.hand
        hand.zone()
        await running.host("n1", networks=["lan"])
        hand.network("lan")
        hand.vm(disks=[{"name": "root", "disk": {"name": "root"}}])
        hand.disk("root")
        hand.disk("free")
        image = hand.image()
        hand.vm("large", memory={"size": "100Gi"})
        working = asyncio.create_task(running.operator().run())
        await asyncio.sleep(20)
        await hand.ready_image(image)
        await asyncio.sleep(20)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        for _ in range(3):
            running.kube.calls.clear()
            again = asyncio.create_task(running.operator().run())
            await asyncio.sleep(1000)
            again.cancel()
            await asyncio.gather(again, return_exceptions=True)
            assert running.writes() == 0

    run(test, started=False)
