# SPDX-License-Identifier: Apache-2.0
"""Downloads a file over HTTP or HTTPS, bounded in size and time, and hashes it on the way."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from nopal_runtime.errors import TerminalError, TransientError

from .inspect import too_large
from .limits import ImportLimits

BLOCK_BYTES = 4 << 20
"""Written at once: the size of an RBD object."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})

Progress = Callable[[int], None]
Write = Callable[[int, bytes], Awaitable[None]]
"""Takes the offset and the bytes, in order."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A file that arrived whole."""

    size: int
    sha256: str


async def download(
    url: str, *, write: Write, limits: ImportLimits, progress: Progress
) -> Downloaded:
    """Download the file, block by block.

    Raises TerminalError (DownloadRefused, ImageTooLarge) or TransientError (DownloadFailed), and
    whatever write raises.
    """
    try:
        async with (
            asyncio.timeout(limits.download_seconds),
            _session(limits) as session,
            _response(session, URL(url), limits) as response,
        ):
            return await _receive(response, write, limits, progress)
    except TimeoutError as error:
        raise _failed(url, "the server stalled, or the download took too long") from error
    except aiohttp.ClientError as error:
        raise _failed(url, str(error) or type(error).__name__) from error
    except (OSError, ValueError) as error:
        raise _failed(url, str(error)) from error


def _session(limits: ImportLimits) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(
        total=None,
        connect=limits.connect_seconds,
        sock_connect=limits.connect_seconds,
        sock_read=limits.stall_seconds,
    )
    # The checksum is that of the bytes as they are on the server: nothing is unpacked on the way.
    return aiohttp.ClientSession(
        timeout=timeout,
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "nopal"},
    )


@asynccontextmanager
async def _response(
    session: aiohttp.ClientSession, url: URL, limits: ImportLimits
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Follow redirects by hand: each must be HTTP(S) again."""
    for _ in range(limits.max_redirects + 1):
        if url.scheme not in ("http", "https") or not url.host:
            raise TerminalError(
                "DownloadRefused",
                f"the server redirects to a {url.scheme or 'nameless'} URL; only http and https are"
                " followed: give the file's own URL",
            )
        async with session.get(url, allow_redirects=False) as response:
            if response.status in _REDIRECTS:
                url = url.join(URL(response.headers.get("Location", "")))
                continue
            if response.status != 200:
                raise _failed(str(url), f"the server answers {response.status} {response.reason}")
            yield response
            return
    raise TerminalError(
        "DownloadRefused",
        f"the server redirects more than {limits.max_redirects} times: give the file's own URL",
    )


async def _receive(
    response: aiohttp.ClientResponse, write: Write, limits: ImportLimits, progress: Progress
) -> Downloaded:
    expected = response.content_length
    if expected is not None and expected > limits.max_download:
        raise too_large("the file", expected, limits.max_download)
    digest = hashlib.sha256()
    block = bytearray()
    written = received = 0
    async for piece in response.content.iter_any():
        received += len(piece)
        if received > limits.max_download:
            raise too_large("the file", None if expected is None else received, limits.max_download)
        block += piece
        while len(block) >= BLOCK_BYTES:
            await _store(written, bytes(block[:BLOCK_BYTES]), digest.update, write)
            written += BLOCK_BYTES
            del block[:BLOCK_BYTES]
            if expected:
                progress(min(100 * written // expected, 100))
    if expected is not None and received != expected:
        raise _failed(str(response.url), f"{received} of {expected} bytes arrived")
    if block:
        await _store(written, bytes(block), digest.update, write)
    progress(100)
    return Downloaded(size=received, sha256=digest.hexdigest())


async def _store(offset: int, block: bytes, update: Callable[[bytes], None], write: Write) -> None:
    # Hashing 4 MiB takes milliseconds: in a thread, beside nothing else of the loop.
    await asyncio.to_thread(update, block)
    await write(offset, block)


def _failed(url: str, why: str) -> TransientError:
    host = URL(url).host or "the server"
    return TransientError("DownloadFailed", f"cannot download from {host}: {why}"[:900])
