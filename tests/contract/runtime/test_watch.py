# SPDX-License-Identifier: Apache-2.0
"""The watch: what reaches the cache, what an outage does to it, and that it writes nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from nopal_api.kinds import DISK, VIRTUAL_MACHINE
from nopal_api.virtualmachine import VirtualMachine
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import ObjectCache, key_of
from nopal_runtime.kube.credentials import Credentials, from_kubeconfig
from nopal_runtime.kube.fake import FakeKube
from nopal_runtime.kube.fakewatch import FakeWatch
from nopal_runtime.kube.sync import Sync
from nopal_runtime.kube.watch import Watch
from support import objects
from support.proxy import Proxy
from support.waiting import PATIENCE

from .conftest import World

A = "test/a"
KINDS = (VIRTUAL_MACHINE, DISK)
# The fake has neither a connection to lose nor a shell.
ONLY_REAL = pytest.mark.parametrize(
    "world", [pytest.param("real", marks=pytest.mark.real)], indirect=True
)


@pytest.fixture
def credentials(request: pytest.FixtureRequest, world: World) -> Credentials | None:
    if isinstance(world.api, FakeKube):
        return None
    return from_kubeconfig(request.getfixturevalue("cluster").control_plane.kubeconfig)


@asynccontextmanager
async def watching(
    world: World,
    cache: ObjectCache,
    credentials: Credentials | None,
    *,
    seen: Callable[[Key], None] = lambda _key: None,
    selectors: dict[str, str] | None = None,
    on_gap: Callable[[], None] = lambda: None,
) -> AsyncIterator[Watch | FakeWatch]:
    watch: Watch | FakeWatch
    if isinstance(world.api, FakeKube):
        watch = FakeWatch(world.api, KINDS, cache=cache, on_change=seen, field_selectors=selectors)
    else:
        assert credentials is not None
        watch = Watch(
            KINDS,
            cache=cache,
            on_change=seen,
            credentials=credentials,
            field_selectors=selectors,
            on_gap=on_gap,
        )
    task = asyncio.create_task(watch.run())
    await until(watch.live)
    yield watch
    task.cancel()
    await asyncio.wait([task])


async def until(there: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not there():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_changes_arrive(world: World, credentials: Credentials | None) -> None:
    cache, seen = ObjectCache(), set[Key]()
    async with watching(world, cache, credentials, seen=seen.add):
        made = await world.make(VIRTUAL_MACHINE, objects.vm())
        key = key_of(VIRTUAL_MACHINE, made)
        await until(lambda: cache.get(key))
        assert key in seen
        await world.apply(VIRTUAL_MACHINE, made, A, {"power": "Running"})
        await until(lambda: _power(cache, key) == "Running")
        await world.finalize(VIRTUAL_MACHINE, made, ())
        await world.delete(VIRTUAL_MACHINE, made)
        await until(lambda: cache.get(key) is None)
        assert not cache.left(key)


async def test_an_object_that_leaves_the_selection_is_told_from_a_deleted_one(
    world: World, credentials: Credentials | None
) -> None:
    cache, seen = ObjectCache(selected=[VIRTUAL_MACHINE]), set[Key]()
    selector = {"VirtualMachine": f"status.assignment.nodeName={world.namespace}"}
    async with watching(world, cache, credentials, seen=seen.add, selectors=selector):
        mine = await world.make(VIRTUAL_MACHINE, objects.vm())
        other = await world.make(VIRTUAL_MACHINE, objects.vm())
        disk = await world.make(DISK, objects.disk())
        key = key_of(VIRTUAL_MACHINE, mine)
        here = {"nodeName": world.namespace, "epoch": 1, "cores": 1, "memory": 1}
        await world.apply(VIRTUAL_MACHINE, mine, A, {"assignment": here})
        await until(lambda: cache.get(key) and cache.get(key_of(DISK, disk)))
        assert cache.get(key_of(VIRTUAL_MACHINE, other)) is None
        seen.clear()
        await world.apply(VIRTUAL_MACHINE, mine, A, {"assignment": {**here, "nodeName": "there"}})
        await until(lambda: cache.get(key) is None)
        assert cache.left(key)
        assert key in seen
        await world.apply(VIRTUAL_MACHINE, mine, A, {"assignment": here})
        await until(lambda: cache.get(key))
        assert not cache.left(key)


async def test_the_watch_writes_nothing(world: World, credentials: Credentials | None) -> None:
    cache = ObjectCache()
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    async with watching(world, cache, credentials):
        other = await world.make(VIRTUAL_MACHINE, objects.vm())
        await until(lambda: cache.get(key_of(VIRTUAL_MACHINE, other)))
        await asyncio.sleep(0.3)
    for body in (made, other):
        now = await world.read(VIRTUAL_MACHINE, body)
        assert now["metadata"]["resourceVersion"] == body["metadata"]["resourceVersion"]


@ONLY_REAL
async def test_an_outage(world: World, credentials: Credentials | None) -> None:
    """The API server gone for a while: what was made and removed meanwhile is learnt afterwards."""
    assert credentials is not None
    cache = ObjectCache()
    gone = await world.make(VIRTUAL_MACHINE, objects.vm())
    async with Proxy(credentials.server) as proxy:
        sync = Sync(world.api, cache, KINDS, on_change=lambda _key: None)
        keeping = asyncio.create_task(sync.run())
        await sync.ready()
        through = replace(credentials, server=proxy.url)
        async with watching(world, cache, through, on_gap=sync.poke) as watch:
            assert cache.get(key_of(VIRTUAL_MACHINE, gone))
            await proxy.cut()
            made = await world.make(VIRTUAL_MACHINE, objects.vm())
            await world.finalize(VIRTUAL_MACHINE, gone, ())
            await world.delete(VIRTUAL_MACHINE, gone)
            await asyncio.sleep(4)
            assert cache.get(key_of(VIRTUAL_MACHINE, made)) is None
            await proxy.mend()
            await until(lambda: cache.get(key_of(VIRTUAL_MACHINE, made)))
            await until(lambda: cache.get(key_of(VIRTUAL_MACHINE, gone)) is None)
            assert watch.live()
        keeping.cancel()


@ONLY_REAL
async def test_the_process_keeps_its_signals_and_its_tasks(
    world: World, credentials: Credentials | None
) -> None:
    assert credentials is not None
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    async with watching(world, ObjectCache(), credentials):
        ours: asyncio.Task[bool] = asyncio.create_task(asyncio.Event().wait())
        assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    assert not ours.done()
    ours.cancel()


def _power(cache: ObjectCache, key: Key) -> str | None:
    record = cache.get(key)
    return record.model(VirtualMachine).status.power if record else None
