# SPDX-License-Identifier: Apache-2.0
"""The client against a server that says what a test wants: errors, time-outs, pages, tokens."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from nopal_api.kinds import HOST, LEASE, VIRTUAL_MACHINE
from nopal_runtime.errors import (
    ConflictError,
    NopalError,
    NotFoundError,
    TerminalError,
    TransientError,
)
from nopal_runtime.kube.client import KubeClient, Request, path
from nopal_runtime.kube.credentials import Credentials

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers by `handler`; `seen` are the requests."""

    def __init__(self) -> None:
        self.seen: list[web.Request] = []
        self.handler: Handler = self.ok
        self.port = 0
        self.runner: web.AppRunner | None = None

    async def ok(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"metadata": {"name": "a", "resourceVersion": "1"}})

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        return await self.handler(request)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        assert self.runner is not None
        await self.runner.cleanup()

    def says(self, status: int, body: Any = None, *, text: str = "") -> None:
        async def handler(_request: web.Request) -> web.StreamResponse:
            if body is None:
                return web.Response(status=status, text=text)
            return web.json_response(body, status=status)

        self.handler = handler


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.stop()


def client(server: Server, **more: Any) -> KubeClient:
    credentials = Credentials(
        f"http://127.0.0.1:{server.port}", ssl.create_default_context(), **more.pop("login", {})
    )
    return KubeClient(credentials, **more)


@pytest.mark.parametrize(
    ("status", "reason", "error", "word"),
    [
        (404, "NotFound", NotFoundError, "NotFound"),
        (409, "AlreadyExists", ConflictError, "AlreadyExists"),
        (409, "Conflict", ConflictError, "Conflict"),
        (400, "BadRequest", TerminalError, "Invalid"),
        (422, "Invalid", TerminalError, "Invalid"),
        (403, "Forbidden", TerminalError, "Forbidden"),
        (401, "Unauthorized", TransientError, "Unauthorized"),
        (429, "TooManyRequests", TransientError, "ApiUnavailable"),
        (500, "InternalError", TransientError, "ApiUnavailable"),
        (503, "ServiceUnavailable", TransientError, "ApiUnavailable"),
    ],
)
async def test_errors(
    server: Server, status: int, reason: str, error: type[NopalError], word: str
) -> None:
    server.says(status, {"kind": "Status", "reason": reason, "message": "the server's words"})
    async with client(server) as kube:
        with pytest.raises(error) as caught:
            await kube.get(HOST, name="a")
    assert type(caught.value) is error
    assert caught.value.reason == word
    assert "the server's words" in caught.value.message
    assert "get Host" in caught.value.message


async def test_an_error_that_is_no_json(server: Server) -> None:
    server.says(502, text="<html>bad gateway</html>")
    async with client(server) as kube:
        with pytest.raises(TransientError, match="bad gateway"):
            await kube.get(HOST, name="a")


async def test_a_request_is_sent_once_whatever_the_answer(server: Server) -> None:
    """Retries belong to the queue: a hidden one would double a write and outlive its time-out."""
    server.says(503, {"message": "no"})
    async with client(server) as kube:
        with pytest.raises(TransientError):
            await kube.get(HOST, name="a")
    assert len(server.seen) == 1


async def test_nobody_answers(server: Server) -> None:
    await server.stop()
    async with client(server) as kube:
        with pytest.raises(TransientError, match="cannot be reached"):
            await kube.get(HOST, name="a")
    await server.start()


@pytest.mark.parametrize("headers_first", [False, True])
async def test_a_server_that_stalls(server: Server, headers_first: bool) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if headers_first:
            await response.prepare(request)
            await response.write(b"{")
        await asyncio.sleep(30)
        return response

    server.handler = handler
    async with client(server, timeout=0.2) as kube:
        with pytest.raises(TransientError, match=r"within 0\.2 s"):
            await kube.get(HOST, name="a")


async def test_the_connection_breaks_in_the_answer(server: Server) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.close()
        return response

    server.handler = handler
    async with client(server) as kube:
        with pytest.raises(TransientError, match="cannot be reached"):
            await kube.get(HOST, name="a")


async def test_pages_and_a_page_that_is_not_kept(server: Server) -> None:
    expired = [True]

    async def handler(request: web.Request) -> web.StreamResponse:
        where = request.query.get("continue")
        if where == "2" and expired[0]:
            expired[0] = False
            return web.json_response({"reason": "Expired"}, status=410)
        number = where or "1"
        return web.json_response(
            {
                "metadata": {"resourceVersion": "7", "continue": "2" if number == "1" else ""},
                "items": [{"metadata": {"name": f"lease-{number}"}}],
            }
        )

    server.handler = handler
    async with client(server) as kube:
        listing = await kube.list(LEASE, field_selector="metadata.name=x")
    assert [item["metadata"]["name"] for item in listing.items] == ["lease-1", "lease-2"]
    assert {item["kind"] for item in listing.items} == {"Lease"}
    assert listing.resource_version == "7"
    assert [request.query.get("continue") for request in server.seen] == [None, "2", None, "2"]
    assert {request.query["fieldSelector"] for request in server.seen} == {"metadata.name=x"}
    assert {request.query["limit"] for request in server.seen} == {"500"}
    # A resourceVersion would allow an answer from a cache.
    assert not any("resourceVersion" in request.query for request in server.seen)


async def test_the_token_is_read_for_every_request(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with client(server, login={"token_file": file}) as kube:
        for token in ("one", "two"):
            file.write_text(token)
            await kube.get(HOST, name="a")
    assert [r.headers["Authorization"] for r in server.seen] == ["Bearer one", "Bearer two"]


async def test_every_request_is_observed(server: Server) -> None:
    seen: list[Request] = []
    async with client(server, observe=seen.append) as kube:
        await kube.get(HOST, name="a")
        server.says(409, {"reason": "Conflict"})
        with pytest.raises(ConflictError):
            await kube.apply_status(HOST, name="a", manager="m", resource_version="1", status={})
    assert seen == [
        Request("get", "Host", "", "ok"),
        Request("apply_status", "Host", "m", "Conflict"),
    ]


async def test_what_an_apply_carries(server: Server) -> None:
    bodies: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return web.json_response({"metadata": {}})

    server.handler = handler
    async with client(server) as kube:
        await kube.apply_status(
            VIRTUAL_MACHINE,
            namespace="ns",
            name="a",
            manager="nopal.dev/node",
            resource_version="7",
            status={"power": "Running"},
        )
    (request,) = server.seen
    assert request.path == "/apis/nopal.dev/v1alpha1/namespaces/ns/virtualmachines/a/status"
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"
    assert dict(request.query) == {"fieldManager": "nopal.dev/node", "force": "true"}
    assert bodies[0]["metadata"] == {"name": "a", "namespace": "ns", "resourceVersion": "7"}


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    found = path(VIRTUAL_MACHINE, namespace="ns", name="../../secrets/x?y")
    assert found.endswith("/namespaces/ns/virtualmachines/..%2F..%2Fsecrets%2Fx%3Fy")
