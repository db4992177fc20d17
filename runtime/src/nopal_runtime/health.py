# SPDX-License-Identifier: Apache-2.0
"""A small HTTP server: /healthz for the kubelet, /metrics for Prometheus."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web

Check = Callable[[], str | None]
"""Tells what is wrong, in one sentence, or None."""


def not_older(age: Callable[[], float], limit: float, what: str) -> Check:
    """Return a check that fails when an age, in seconds, passes its limit.

    An infinite age, before the first time, does not fail: the start has no limit of its own, so
    that a long outage of kube-apiserver does not make the kubelet restart what waits for it.
    """

    def check() -> str | None:
        seconds = age()
        if seconds == float("inf") or seconds <= limit:
            return None
        return f"{what} is {seconds:.0f} s old, more than {limit:.0f} s"

    return check


class HealthServer:
    """Serves while it is entered.

    Args:
        port: 0 takes a free one, see `port` afterwards.
        checks: by name; /healthz is 200 when none has anything to say, else 503 with their words.
        metrics: the body of /metrics.
    """

    def __init__(
        self,
        port: int,
        checks: Mapping[str, Check],
        *,
        metrics: Callable[[], bytes] = lambda: b"",
        host: str | None = None,
    ) -> None:
        self._host, self.port = host, port
        self._checks, self._metrics = checks, metrics
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.get("/healthz", self._healthz), web.get("/metrics", self._text)])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        wrong = [f"{name}: {said}" for name, check in self._checks.items() if (said := check())]
        return web.Response(text="\n".join(wrong) or "ok", status=503 if wrong else 200)

    async def _text(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), content_type="text/plain", charset="utf-8")
