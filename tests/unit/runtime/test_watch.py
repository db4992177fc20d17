# SPDX-License-Identifier: Apache-2.0
"""The watch's supervision: whatever ends or silences kopf, it is started anew."""

import asyncio
import itertools
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from nopal_api.kinds import DISK, VIRTUAL_MACHINE
from nopal_runtime.kube import kopfshell, watch
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import ObjectCache
from nopal_runtime.kube.credentials import Credentials
from nopal_runtime.kube.kopfshell import Listener
from nopal_runtime.kube.watch import Watch
from support import objects

KINDS = (VIRTUAL_MACHINE, DISK)
KEY = Key("VirtualMachine", "default", "vm1")


def body(version: int) -> dict[str, Any]:
    made = objects.vm()
    made["metadata"].update(uid="u1", resourceVersion=str(version))
    return made


class Kopf:
    """Stands in for `listen`: runs in the shell's thread and plays a script for each start."""

    def __init__(self, *scripts: Callable[[Listener], None]) -> None:
        self.starts = 0
        self._scripts = iter(scripts)

    async def __call__(
        self, _kinds: Any, *, listener: Listener, stop: asyncio.Event, **_: Any
    ) -> None:
        self.starts += 1
        script = next(self._scripts, None)
        if script is not None:
            script(listener)
        await stop.wait()


def all_live(listener: Listener) -> None:
    for kind in KINDS:
        listener.listed(kind)
        listener.watching(kind)


def fails(_listener: Listener) -> None:
    raise RuntimeError("the watch got an error event")


@asynccontextmanager
async def running(monkeypatch: pytest.MonkeyPatch, kopf: Kopf, **more: Any) -> AsyncIterator[Watch]:
    monkeypatch.setattr(watch, "listen", kopf)
    monkeypatch.setattr(watch, "_AGAIN", 0.05)
    more.setdefault("on_change", lambda _key: None)
    credentials = Credentials("https://api", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    made = Watch(KINDS, cache=more.pop("cache", ObjectCache()), credentials=credentials, **more)
    task = asyncio.create_task(made.run())
    yield made
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def until(there: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not there():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_events_reach_the_cache_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(listener: Listener) -> None:
        all_live(listener)
        for version in range(1, 1000):
            listener.event(VIRTUAL_MACHINE, "MODIFIED", body(version))
        listener.event(VIRTUAL_MACHINE, "DELETED", body(1000))

    cache, seen = ObjectCache(), list[Key]()
    async with running(monkeypatch, Kopf(script), cache=cache, on_change=seen.append) as made:
        await until(lambda: len(seen) == 1000)
        assert cache.get(KEY) is None
        assert made.live()


async def test_an_end_of_kopf_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = itertools.count()
    kopf = Kopf(fails, all_live)
    async with running(monkeypatch, kopf, on_gap=lambda: next(gaps)) as made:
        await until(made.live)
        assert kopf.starts == 2
        # Deletions may have been missed in between: the lists are asked for.
        assert next(gaps) >= 1


async def test_a_silent_watch_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "STALE", 0.3)
    monkeypatch.setattr(watch, "_CHECK", 0.05)
    kopf = Kopf(all_live, all_live)
    with capture_logs() as logs:
        async with running(monkeypatch, kopf):
            await until(lambda: kopf.starts >= 2)
    assert "watch is silent" in [entry["event"] for entry in logs]


@pytest.mark.slow
async def test_a_kind_that_is_never_watched_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf serves silently nothing when the CRD was missing at its start."""
    monkeypatch.setattr(watch, "_FIRST_WATCH", 2.0)
    monkeypatch.setattr(watch, "_CHECK", 0.05)
    looked = threading.Event()

    def second(listener: Listener) -> None:
        assert looked.wait(10)
        all_live(listener)

    kopf = Kopf(lambda listener: listener.watching(VIRTUAL_MACHINE), second)
    async with running(monkeypatch, kopf) as made:
        await until(lambda: made._opened)
        assert not made.live()
        looked.set()
        await until(made.live)
        assert kopf.starts == 2


async def test_the_age_grows_while_nothing_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    kopf = Kopf(lambda listener: listener.watching(VIRTUAL_MACHINE))
    async with running(monkeypatch, kopf) as made:
        await until(lambda: made._opened)
        first = made.age()
        await asyncio.sleep(0.3)
        assert first + 0.2 < made.age() < float("inf")


async def test_a_list_of_kopf_after_the_first_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps: list[bool] = []

    def script(listener: Listener) -> None:
        all_live(listener)
        all_live(listener)

    async with running(monkeypatch, Kopf(script), on_gap=lambda: gaps.append(True)):
        await until(lambda: len(gaps) == len(KINDS))
    assert gaps == [True] * len(KINDS)  # none for the first lists


async def test_an_outage_is_told_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(listener: Listener) -> None:
        for _ in range(100):
            listener.failed(DISK, "ClientConnectorError: refused")
        all_live(listener)

    with capture_logs() as logs:
        async with running(monkeypatch, Kopf(script)) as made:
            await until(made.live)
    told = [entry for entry in logs if entry["event"] == "watch cannot reach kube-apiserver"]
    assert [(entry["kind"], entry["error"]) for entry in told] == [
        ("Disk", "ClientConnectorError: refused")
    ]


def test_retries_never_run_out_and_stay_short() -> None:
    backoffs = kopfshell._Backoffs()
    assert not hasattr(backoffs, "__len__")  # kopf would take it for the number of tries
    delays = list(itertools.islice(backoffs, 100))
    assert delays[0] <= 0.5
    assert all(0 < delay <= 5 for delay in delays)
    assert len(set(delays[10:])) > 10


async def test_the_shell_reads_the_token_for_every_request(tmp_path: Path) -> None:
    tokens: list[str] = []
    told: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        tokens.append(request.headers["Authorization"])
        return web.json_response({}, status=int(request.query.get("status", 200)))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    file = tmp_path / "token"
    credentials = Credentials(server, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), token_file=file)
    listener = Listener(
        event=lambda *_: None,
        watching=lambda kind: told.append(f"watching {kind}"),
        listed=lambda kind: told.append(f"listed {kind}"),
        failed=lambda kind, error: told.append(f"failed {kind} {error}"),
    )
    path = f"{server}/apis/nopal.dev/v1alpha1/disks"
    async with kopfshell._session(credentials, KINDS, listener) as session:
        for token, query in (("one", "?limit=500"), ("two", "?watch=true"), ("3", "?continue=x")):
            file.write_text(token)
            async with session.get(path + query):
                pass
        async with session.get(path + "?watch=true&status=403"):
            pass
        await runner.cleanup()
        with pytest.raises(aiohttp.ClientError):
            await session.get(path)
    assert tokens[:3] == ["Bearer one", "Bearer two", "Bearer 3"]
    assert told[:3] == ["listed Disk", "watching Disk", "failed Disk HTTP 403 Forbidden"]
    assert told[3].startswith("failed Disk Client")
