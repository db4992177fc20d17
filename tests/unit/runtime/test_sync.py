# SPDX-License-Identifier: Apache-2.0
"""The lists: nothing is ready before all are in, a failed one changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable

from nopal_api.kinds import DISK, VIRTUAL_MACHINE
from nopal_runtime.errors import TransientError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import ObjectCache, key_of
from nopal_runtime.kube.fake import Call, FakeKube
from nopal_runtime.kube.sync import Sync
from support import objects
from support.virtualtime import run_virtual


def failing(kind: str, switch: list[bool]) -> Callable[[Call], Awaitable[None]]:
    async def hook(call: Call) -> None:
        if switch[0] and call.verb == "list" and call.kind == kind:
            raise TransientError("ApiUnavailable", "down")

    return hook


def test_ready_waits_for_every_kind() -> None:
    async def main() -> None:
        api, cache, down = FakeKube(), ObjectCache(), [True]
        api.hooks.append(failing("Disk", down))
        sync = Sync(api, cache, [VIRTUAL_MACHINE, DISK], on_change=lambda _key: None)
        task = asyncio.create_task(sync.run())
        await asyncio.sleep(600)
        ready = asyncio.create_task(sync.ready())
        await asyncio.sleep(1)
        assert not ready.done()
        assert sync.age() == float("inf")
        assert cache.synced(VIRTUAL_MACHINE)
        assert not cache.synced(DISK)
        down[0] = False
        async with asyncio.timeout(31):
            await ready
        assert sync.age() < 301
        task.cancel()

    run_virtual(main())


def test_a_failed_list_changes_nothing() -> None:
    async def main() -> None:
        api, cache, down = FakeKube(), ObjectCache(), [False]
        api.hooks.append(failing("VirtualMachine", down))
        made = api.put(VIRTUAL_MACHINE, objects.vm())
        sync = Sync(api, cache, [VIRTUAL_MACHINE], on_change=lambda _key: None, interval=10)
        task = asyncio.create_task(sync.run())
        await sync.ready()
        down[0] = True
        api.strip_finalizers(VIRTUAL_MACHINE, "vm1", "default")
        api.remove(VIRTUAL_MACHINE, "vm1", "default")
        await asyncio.sleep(100)
        assert cache.get(key_of(VIRTUAL_MACHINE, made)) is not None
        assert sync.age() > 90
        down[0] = False
        await asyncio.sleep(31)
        assert cache.get(key_of(VIRTUAL_MACHINE, made)) is None
        task.cancel()

    run_virtual(main())


def test_every_list_is_a_sweep_over_all_keys() -> None:
    async def main() -> None:
        api, told = FakeKube(), list[Key]()
        key = key_of(VIRTUAL_MACHINE, api.put(VIRTUAL_MACHINE, objects.vm()))
        sync = Sync(api, ObjectCache(), [VIRTUAL_MACHINE], on_change=told.append, interval=100)
        task = asyncio.create_task(sync.run())
        await asyncio.sleep(1000)
        assert 10 <= told.count(key) <= 12
        task.cancel()

    run_virtual(main())


def test_a_poke_lists_at_once() -> None:
    async def main() -> None:
        api, cache = FakeKube(), ObjectCache()
        sync = Sync(api, cache, [VIRTUAL_MACHINE], on_change=lambda _key: None)
        task = asyncio.create_task(sync.run())
        await sync.ready()
        made = api.put(VIRTUAL_MACHINE, objects.vm())
        sync.poke()
        await asyncio.sleep(0.1)
        assert cache.get(key_of(VIRTUAL_MACHINE, made)) is not None
        task.cancel()

    run_virtual(main())


def test_a_restore_is_told_once_and_every_kind_is_listed_again() -> None:
    async def main() -> None:
        api, cache, told = FakeKube(), ObjectCache(), list[str]()
        made = api.put(VIRTUAL_MACHINE, objects.vm())
        sync = Sync(
            api,
            cache,
            [VIRTUAL_MACHINE, DISK],
            on_change=lambda _key: None,
            interval=300,
            on_restored=lambda: told.append("restored"),
        )
        task = asyncio.create_task(sync.run())
        await sync.ready()
        # Somebody has seen a later version than there is now, and a Disk that is no more.
        later = {**made, "metadata": {**made["metadata"], "resourceVersion": "100000"}}
        cache.offer(VIRTUAL_MACHINE, later)
        lost = objects.disk()
        lost["metadata"].update(uid="d1", resourceVersion="100001")
        cache.offer(DISK, lost)
        await asyncio.sleep(310)
        assert told == ["restored"]
        record = cache.get(key_of(VIRTUAL_MACHINE, made))
        assert record is not None
        assert record.resource_version == made["metadata"]["resourceVersion"]
        assert cache.all(DISK) == ()
        task.cancel()

    run_virtual(main())
