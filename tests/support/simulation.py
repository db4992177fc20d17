# SPDX-License-Identifier: Apache-2.0
"""The whole of Nopal in one process and in virtual time: a real operator and real node daemons.

kube-apiserver, Ceph, libvirt and the kernel's links are the fakes that pass the contract suites.
They survive; an operator or a daemon may be killed after any effect that it has on them.
"""

import asyncio
import base64
import contextvars
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import structlog

from nopal_api.kinds import KINDS, NODE, SECRET, VIRTUAL_MACHINE, Kind
from nopal_node.app import NodeDaemon
from nopal_node.host.facts import HostFacts
from nopal_node.hypervisor.fake import FakeHypervisor
from nopal_node.hypervisor.fake_host import Effect
from nopal_node.network.fake import FakeNetwork, LinkCall
from nopal_node.settings import Settings as NodeSettings
from nopal_node.storage.base import PoolAccess
from nopal_node.storage.fake import FakePool
from nopal_node.storage.fake_cluster import FakeCluster
from nopal_node.threads import Threads
from nopal_operator.app import Operator
from nopal_operator.settings import Settings as OperatorSettings
from nopal_runtime.errors import TransientError
from nopal_runtime.kube.api import Body
from nopal_runtime.kube.fake import Call, FakeKube
from nopal_runtime.kube.fakewatch import Delivery, FakeWatch, at_once
from support import objects
from support.simulation_host import History, SimulatedHost
from support.virtualtime import run_virtual

T = TypeVar("T")
OPERATOR = "operator"
GIB = 2**30
CONTENT = b"the content of an image".ljust(4096, b".")
URL = "http://images.example/a.raw"
RESTART_SECONDS = 2.0
"""Until a process that died is started again, as by systemd or the kubelet."""
RESYNC_SECONDS = 100.0
"""Until what no event told is found out."""
STORM = 500
"""More calls in one second are no work but a quarrel, or a loop."""
_READS = ("get", "list")
_LINK_READS = ("all", "get")
_ACTOR: contextvars.ContextVar["Actor | None"] = contextvars.ContextVar("actor", default=None)


class Killed(BaseException):
    """kill -9: no code of the process handles it."""


class InlineThreads(Threads):
    """Calls at once: one order of things for one seed."""

    def __init__(self) -> None:
        super().__init__(1)

    async def run(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        await asyncio.sleep(0)
        return call(*args, **kwargs)


@dataclass(eq=False, slots=True)
class Actor:
    """One life of the operator or of a daemon."""

    name: str
    dead: bool = False
    stays_down: bool = False
    task: "asyncio.Task[None] | None" = None
    watch: FakeWatch | None = None
    on_gap: Callable[[], None] = lambda: None


@dataclass(eq=False)
class Simulation:
    """A cluster with an operator and hosts n1..nN. Use inside `simulate`."""

    hosts: int = 2
    kube: FakeKube = field(default_factory=FakeKube)
    cluster: FakeCluster = field(default_factory=FakeCluster)
    history: History = field(default_factory=History)
    node_settings: Mapping[str, Any] = field(default_factory=dict)
    effects: int = 0
    """How many effects there were."""
    kill_after: int = 0
    """The process that has this effect dies right after it; 0 for none."""
    killed: list[str] = field(default_factory=list)
    """What killed processes had just done."""
    api_down: bool = False
    cut_off: set[str] = field(default_factory=set)
    """Actors that do not reach kube-apiserver."""
    refuse: Callable[[str, Call], bool] = lambda _actor, _call: False
    """Calls of an actor that fail."""
    deliver: dict[str, Delivery] = field(default_factory=dict)
    """By actor: how watch events reach it."""

    def __post_init__(self) -> None:
        self.host: dict[str, SimulatedHost] = {}
        self.actors: dict[str, Actor] = {}
        self._loop = asyncio.get_running_loop()
        self._changed_at = 0.0
        self.named: dict[str, str] = {}
        self._burst = (0, 0)
        self._started_at = self._loop.time()
        self.use(self.kube)
        self.cluster.hook = lambda phase, effect: self._effect(phase, f"storage {effect}")
        self.cluster.urls[URL] = CONTENT
        for number in range(1, self.hosts + 1):
            name, address = f"n{number}", f"10.0.0.{number}"
            host = SimulatedHost(name, address=address, cluster=self.cluster, history=self.history)
            host.intercept = self._host_effect
            host.links.hooks.append(self._link_call)
            host.links.put("br0", kind="bridge")
            self.host[name] = host
            labels = {"zone": "z1"}
            self.kube.put(NODE, {"metadata": {"name": name, "labels": labels}})

    def use(self, kube: FakeKube) -> None:
        """Have what is started from now on talk to this API server."""
        self.kube = kube
        kube.hooks.append(self._kube_hook)
        for kind in KINDS:
            kube.subscribe(kind, lambda event, body: self._event(event, body))

    # Processes

    def start(self, name: str) -> None:
        """Start the operator, or the daemon of a host."""
        actor = self.actors[name] = Actor(name)
        context = contextvars.copy_context()
        context.run(_ACTOR.set, actor)
        actor.task = self._loop.create_task(self._live(actor), name=name, context=context)

    async def kill(self, name: str) -> None:
        """kill -9 of the operator, or of a host's daemon; it stays down."""
        actor = self.actors[name]
        actor.dead = actor.stays_down = True
        self._bury(actor)
        if actor.task is not None:
            actor.task.cancel()
            await asyncio.gather(actor.task, return_exceptions=True)

    async def restart(self, name: str) -> None:
        """kill -9, and the start that follows."""
        await self.kill(name)
        await asyncio.sleep(RESTART_SECONDS)
        self.start(name)

    async def close(self) -> None:
        """End everything."""
        for name in list(self.actors):
            await self.kill(name)

    async def _live(self, actor: Actor) -> None:
        make = self._operator if actor.name == OPERATOR else self._daemon
        try:
            await make(actor).run()
        except BaseExceptionGroup as group:
            if group.split(Killed)[1] is not None and not actor.dead:
                raise
        except Killed:
            pass
        if not actor.stays_down:
            self._bury(actor)
            await asyncio.sleep(RESTART_SECONDS)
            self.start(actor.name)

    def _bury(self, actor: Actor) -> None:
        if actor.name in self.host:
            self.host[actor.name].daemon_dies()

    def _operator(self, actor: Actor) -> Operator:
        settings = OperatorSettings(
            lease_renew_seconds=8.0,
            executor_patience_seconds=30.0,
            zone_status_seconds=5.0,
            resync_seconds=RESYNC_SECONDS,
        )
        return Operator(settings=settings, kube=self.kube, make_watch=self._make_watch(actor))

    def _daemon(self, actor: Actor) -> NodeDaemon:
        host = self.host[actor.name]
        settings = replace(
            NodeSettings(
                node_name=actor.name,
                lease_renew_seconds=8.0,
                lease_seconds=24.0,
                retry_limit_seconds=20.0,
                resync_seconds=RESYNC_SECONDS,
            ),
            **self.node_settings,
        )

        def connect(access: PoolAccess) -> FakePool:
            return FakePool(
                self.cluster, address=host.address, pool=access.pool, namespace=access.namespace
            )

        return NodeDaemon(
            settings=settings,
            kube=self.kube,
            hypervisor=FakeHypervisor(host),
            network=FakeNetwork(host.links),
            connect=connect,
            make_watch=self._make_watch(actor),
            facts=lambda: HostFacts(
                cpu_threads=4, memory=16 * GIB, kernel="6.1.0", boot_id="b", bridge_filter=False
            ),
            wall=self._wall,
            threads=InlineThreads(),
            lease_clock=self._loop.time,
        )

    def _make_watch(self, actor: Actor) -> Callable[..., FakeWatch]:
        def make(*args: Any, on_gap: Callable[[], None], **kwargs: Any) -> FakeWatch:
            def deliver(event: Any, body: Body) -> Any:
                if self.api_down or actor.name in self.cut_off:
                    return ()
                return self.deliver.get(actor.name, at_once)(event, body)

            actor.on_gap = on_gap
            actor.watch = FakeWatch(self.kube, *args, deliver=deliver, **kwargs)
            return actor.watch

        return make

    # Faults

    def api_goes(self) -> None:
        """kube-apiserver answers nobody any more."""
        self.api_down = True

    def api_returns(self) -> None:
        """It answers again; watches are opened anew and tell of the gap."""
        self.api_down = False
        self.cut_off.clear()
        for actor in self.actors.values():
            actor.on_gap()

    async def _kube_hook(self, call: Call) -> None:
        actor = _ACTOR.get()
        if actor is not None and call.phase == "before":
            self._effect("before", str(call))
            cut_off = self.api_down or actor.name in self.cut_off
            if cut_off or self.refuse(actor.name, call):
                raise TransientError("ApiUnavailable", "kube-apiserver does not answer")
        if call.verb in _READS or call.kind == "Lease":
            self._effect("before", str(call))
        else:
            where = f"{call.verb} {call.kind} {call.namespace}/{call.name} {call.manager}"
            self._effect(call.phase, where)

    def _host_effect(self, effect: Effect) -> None:
        self._effect("after" if effect.done else "before", f"{effect.name} {effect.vm_uid}")

    def _link_call(self, call: LinkCall) -> None:
        phase = "before" if call.verb in _LINK_READS else call.phase
        self._effect(phase, f"link {call.verb} {call.name}")

    def _effect(self, phase: str, what: str) -> None:
        actor = _ACTOR.get()
        if actor is None:
            return
        if actor.dead:
            raise Killed(actor.name)
        if phase == "before":
            self._refuse_storms(what)
        else:
            self.effects += 1
            self._changed_at = self._loop.time()
            if self.effects == self.kill_after:
                self.killed.append(f"{actor.name} after: {what}")
                actor.dead = True
                raise Killed(actor.name)

    def _refuse_storms(self, what: str) -> None:
        """End two parts of Nopal that answer each other for ever."""
        second = int(self._loop.time())
        self._burst = (second, self._burst[1] + 1 if self._burst[0] == second else 1)
        if self._burst[1] > STORM:
            self.history.breaches.append(f"more than {STORM} calls in a second, as: {what}")
            raise RuntimeError("a storm")

    def _event(self, _event: str, body: Body) -> None:
        self._changed_at = self._loop.time()
        meta = body["metadata"]
        self.named[meta["uid"]] = f"{body['kind']} {meta['name']}"
        released = body.get("status", {}).get("releasedEpoch")
        if body["kind"] == VIRTUAL_MACHINE.kind and released:
            self.history.was_released(body["metadata"]["uid"], released)

    def _wall(self) -> str:
        now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._loop.time())
        return now.strftime("%Y-%m-%dT%H:%M:%SZ")

    # Waiting

    async def settle(self, *, quiet: float = 45.0, limit: float = 2400.0) -> None:
        """Return when nothing has changed for a while; fail if that never comes."""
        begun = self._changed_at = self._loop.time()
        while self._loop.time() - self._changed_at < quiet:
            if self._loop.time() - begun > limit:
                raise AssertionError(f"does not come to rest within {limit:.0f} s")
            await asyncio.sleep(1.0)
            self.cluster.now = self._loop.time()
        assert not self.history.breaches, self.history.breaches

    async def until(self, true: Callable[[], object], *, limit: float = 600.0) -> None:
        """Return as soon as it is true."""
        begun = self._loop.time()
        while not true():
            assert self._loop.time() - begun < limit, "never became true"
            await asyncio.sleep(0.05)


def secret(nodes: Mapping[str, str] | list[str]) -> dict[str, Any]:
    """The Secret with the hosts' Ceph keys."""
    data = {name: base64.b64encode(b"key").decode() for name in nodes}
    return {"metadata": {"name": "ceph", "namespace": "nopal-system"}, "data": data}


def image(name: str = "debian") -> dict[str, Any]:
    """An Image whose bytes are served."""
    source = {"url": URL, "sha256": hashlib.sha256(CONTENT).hexdigest(), "format": "raw"}
    return {"metadata": {"name": name}, "spec": {"source": source}}


def network(name: str = "lan", management: str = "Managed") -> dict[str, Any]:
    """A Network."""
    bridge = {"name": f"br-{name}", "management": management}
    return {
        "metadata": {"name": name},
        "spec": {"zone": "z1", "type": "Bridge", "bridge": bridge},
    }


def simulate(story: Callable[[Simulation], Awaitable[T]], *, seed: int = 0, **options: Any) -> T:
    """Run a story in a cluster that has a zone and its Secret; return what it returns."""

    faults: list[str] = []

    def catch(_logger: object, _method: str, event: Any) -> Any:
        if "InternalError" in str(event):
            faults.append(str(event))
        raise structlog.DropEvent

    structlog.configure(
        processors=[catch],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )

    async def main() -> T:
        random.seed(seed)
        sim = Simulation(**options)
        sim.history.breaches = faults  # a fault of ours is as bad as any breach
        sim.kube.put(SECRET, secret(list(sim.host)))
        try:
            for name in (OPERATOR, *sim.host):
                sim.start(name)
            return await story(sim)
        finally:
            await sim.close()

    try:
        return run_virtual(main())
    finally:
        structlog.reset_defaults()


def put(sim: Simulation, kind: Kind, body: Mapping[str, Any]) -> None:
    """Apply an object as a user does."""
    sim.kube.put(kind, body)


def zone(**spec: Any) -> dict[str, Any]:
    """The zone of all hosts."""
    return objects.zone("z1", **spec)
