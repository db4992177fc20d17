# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that can be cut and mended: an outage of one's own on a shared server."""

import asyncio
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Forwards 127.0.0.1:`port` to the host and port of an URL while it is open."""

    def __init__(self, target: str) -> None:
        url = urlsplit(target)
        self._host, self._port = url.hostname, url.port
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._cuts = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def mend(self) -> None:
        self._server = await asyncio.start_server(
            partial(self._accept, self._cuts), "127.0.0.1", self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse new connections and reset those that stand, as a kill -9 of the server does."""
        assert self._server is not None
        self._cuts += 1
        self._server.close()
        for link in tuple(self._links):
            link.transport.abort()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.cut()

    async def _accept(
        self, cuts: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        if self._cuts != cuts:  # accepted before the cut
            for link in (writer, back):
                link.transport.abort()
            return
        self._links |= {writer, back}
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()
            self._links.discard(sink)
