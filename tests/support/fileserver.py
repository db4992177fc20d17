# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that misbehaves on purpose: raw sockets, one answer for each path."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Answer = Callable[["FileServer", asyncio.StreamWriter], Awaitable[None]]


class FileServer:
    """Answers by path; `sent` counts what an endless answer got rid of."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.port = 0
        self.sent = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def serve(self, path: str, answer: Answer) -> str:
        """Answer that path so; return its URL."""
        self.answers[path] = answer
        return self.url(path)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split(b" ")[1].decode()
            await self.answers.get(path, status(404))(self, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def file_server() -> AsyncIterator[FileServer]:
    server = FileServer()
    listener = await asyncio.start_server(server._connected, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await server.end()


def _head(line: str, *headers: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {line}", *headers, "Connection: close", "", "")).encode()


def content(data: bytes, *, claimed: int | None = None) -> Answer:
    """Send a file; `claimed` is the Content-Length if it lies."""

    async def answer(server: FileServer, writer: asyncio.StreamWriter) -> None:
        writer.write(
            _head("200 OK", f"Content-Length: {len(data) if claimed is None else claimed}")
        )
        writer.write(data)

    return answer


def without_length(data: bytes) -> Answer:
    async def answer(server: FileServer, writer: asyncio.StreamWriter) -> None:
        writer.write(_head("200 OK") + data)

    return answer


def status(code: int) -> Answer:
    async def answer(server: FileServer, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(f"{code} No", "Content-Length: 0"))

    return answer


def redirect(to: str) -> Answer:
    async def answer(server: FileServer, writer: asyncio.StreamWriter) -> None:
        writer.write(_head("302 Found", f"Location: {to}", "Content-Length: 0"))

    return answer


def stalling(data: bytes) -> Answer:
    """Send a part of a file, and then nothing, for ever."""

    async def answer(server: FileServer, writer: asyncio.StreamWriter) -> None:
        writer.write(_head("200 OK", f"Content-Length: {len(data) + 1000}") + data)
        await writer.drain()
        await asyncio.sleep(3600)

    return answer


def trickling(data: bytes) -> Answer:
    """Never stall and never end: a byte now and then."""

    async def answer(server: FileServer, writer: asyncio.StreamWriter) -> None:
        writer.write(_head("200 OK", f"Content-Length: {len(data) + 100_000}") + data)
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    return answer


def endless(piece: bytes) -> Answer:
    """Send for ever, as fast as it is taken."""

    async def answer(server: FileServer, writer: asyncio.StreamWriter) -> None:
        writer.write(_head("200 OK"))
        while True:
            writer.write(piece)
            await writer.drain()
            server.sent += len(piece)

    return answer
