# SPDX-License-Identifier: Apache-2.0
"""kopf as a watch shell: one operator that only listens. It writes nothing to the cluster.

Only async on.event handlers: no finalizer, no annotation, no Event, no peering, no index (an index
start-up is quadratic in kopf 1.45).
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from nopal_api.kinds import Kind
from nopal_runtime.kube.client import path
from nopal_runtime.kube.credentials import Credentials
from nopal_runtime.kube.transport import quiet_imports

with quiet_imports():
    import kopf

_TLS_CLOSE = 0.25
"""Seconds that asyncio needs to let go of TLS connections after their session is closed."""
SERVER_TIMEOUT = 120
"""Seconds after which kube-apiserver ends a watch and kopf continues it: the sign that it lives."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What the shell tells; every callback runs in the shell's thread."""

    event: Callable[[Kind, str | None, dict[str, Any]], None]
    """The kind, the event type (None: found by a list) and the object."""
    watching: Callable[[Kind], None]
    """A watch of the kind was opened."""
    listed: Callable[[Kind], None]
    """kopf has listed the kind: events before it may have been missed, deletions above all."""
    failed: Callable[[Kind, str], None]
    """A request for the kind failed, for the reason given; kopf tries again."""


class _Backoffs:
    """Retries of every request without end, 0.5 to 5 seconds apart: an outage ends by itself."""

    def __iter__(self) -> Iterator[float]:
        delay = 0.5
        while True:
            yield delay * (1 - 0.3 * random.random())  # noqa: S311
            delay = min(5.0, delay * 2)


def _quiet() -> None:
    """Silence what we tell ourselves, or want: each failed attempt, and no signal handlers."""
    for name in ("kopf._cogs.clients", "kopf._core.reactor.running"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


async def listen(
    kinds: Sequence[Kind],
    *,
    credentials: Credentials,
    field_selectors: Mapping[str, str],
    listener: Listener,
    stop: asyncio.Event,
) -> None:
    """Listen until `stop` is set. Raises whatever ends kopf: an error event, a missing CRD."""
    registry = kopf.OperatorRegistry()
    sessions: list[aiohttp.ClientSession] = []

    @kopf.on.login(registry=registry, backoff=5)
    async def login(**_: Any) -> kopf.AiohttpSession:
        session = _session(credentials, kinds, listener)
        sessions.append(session)
        return kopf.AiohttpSession(server=credentials.server, aiohttp_session=session)

    for kind in kinds:
        _register(registry, kind, listener)
    _quiet()
    try:
        await kopf.operator(
            registry=registry,
            settings=_settings(kinds, field_selectors),
            standalone=True,
            clusterwide=True,
            stop_flag=stop,
        )
    finally:
        for session in sessions:
            await session.close()
        await asyncio.sleep(_TLS_CLOSE)


def _register(registry: kopf.OperatorRegistry, kind: Kind, listener: Listener) -> None:
    @kopf.on.event(
        group=kind.group,
        version=kind.version,
        plural=kind.plural,
        id=f"watch-{kind.plural}",
        registry=registry,
    )
    async def on_event(event: Any, **_: Any) -> None:
        listener.event(kind, event["type"], event["object"])


def _settings(kinds: Sequence[Kind], field_selectors: Mapping[str, str]) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None  # it would SIGKILL the whole process
    settings.posting.enabled = False
    settings.posting.level = logging.CRITICAL
    settings.scanning.disabled = True
    settings.queueing.worker_limit = 100
    settings.queueing.idle_timeout = 0.05  # an idle worker keeps its slot for so long
    settings.queueing.exit_timeout = 0.5
    settings.execution.max_workers = 1
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = _Backoffs()
    settings.watching.server_timeout = SERVER_TIMEOUT
    settings.watching.client_timeout = SERVER_TIMEOUT + 10
    settings.watching.connect_timeout = 5
    settings.watching.inactivity_timeout = 70
    settings.watching.reconnect_backoff = 1
    settings.watching.chunk_size = 500
    settings.persistence.finalizer = "nopal.dev/never-written"
    for kind in kinds:
        if selector := field_selectors.get(kind.kind):
            settings.watching.field_selectors[kind.group, kind.version, kind.plural] = selector
    return settings


def _session(
    credentials: Credentials, kinds: Sequence[Kind], listener: Listener
) -> aiohttp.ClientSession:
    """Return a session that reads the token again for every request, and sees every answer.

    kopf itself would keep the first token, and tells nobody that a watch lives or was begun anew.
    """
    paths = {path(kind): kind for kind in kinds}

    async def authenticate(
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        request.headers.update(credentials.headers())
        if credentials.server_name:
            request.server_hostname = credentials.server_name
        return await handler(request)

    async def answered(_session: Any, _context: Any, end: aiohttp.TraceRequestEndParams) -> None:
        kind = paths.get(end.url.path)
        if kind is None:
            return
        if end.response.status != 200:
            listener.failed(kind, f"HTTP {end.response.status} {end.response.reason}")
        elif end.url.query.get("watch") == "true":
            listener.watching(kind)
        elif "continue" not in end.url.query:
            listener.listed(kind)

    async def failed(
        _session: Any, _context: Any, end: aiohttp.TraceRequestExceptionParams
    ) -> None:
        kind = paths.get(end.url.path)
        if kind is not None:
            listener.failed(kind, f"{type(end.exception).__name__}: {end.exception}")

    trace = aiohttp.TraceConfig()
    trace.on_request_exception.append(failed)
    trace.on_request_end.append(answered)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=credentials.ssl_context),
        middlewares=(authenticate,),
        trace_configs=[trace],
    )
