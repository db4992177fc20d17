# SPDX-License-Identifier: Apache-2.0
"""From a URL to a snapshot: download, verify, convert, publish. The same for every pool."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from nopal_runtime.errors import NotFoundError, TerminalError, TransientError

from .base import Import, Imported
from .fetch import Downloaded, Progress, Write
from .inspect import HEAD_BYTES, MAGIC_BYTES, check_magic, parse_qcow2
from .limits import ImportLimits
from .staging import Staging, Writer, build_name, scratch_name, whole_mib

P = ParamSpec("P")
T = TypeVar("T")

_ZERO_RUN = 64 << 10
_ZEROS = bytes(_ZERO_RUN)
_FETCH_SHARE = 70
"""Percent of the progress that the download of a qcow2 image is; the rest is its conversion."""


class Download(Protocol):
    """Fetches a URL: `fetch.download`, or an instant one in tests."""

    async def __call__(
        self, url: str, *, write: Write, limits: ImportLimits, progress: Progress
    ) -> Downloaded:
        """Download the file, block by block."""
        ...


class Importer:
    """Runs imports into one pool.

    Args:
        staging: the pool.
        download: fetches a URL.
        threads: where blocking calls run, a few at a time.
        limits: bounds.
    """

    def __init__(
        self, *, staging: Staging, download: Download, threads: Executor, limits: ImportLimits
    ) -> None:
        self._staging = staging
        self._download = download
        self._threads = threads
        self._limits = limits

    async def fetch(self, job: Import, progress: Callable[[int], None]) -> Imported:
        """Fetch the image; see StoragePool.fetch."""
        done = await self._run(self._staging.finished, job)
        if done is not None:
            # A crash right after it was published leaves the scratch image.
            await self._run(self._staging.clean, job)
            return done
        await self._run(self._staging.clean, job)
        try:
            async with AsyncExitStack() as held:
                build = self._qcow2 if job.format == "qcow2" else self._raw
                size = await build(job, held, progress)
                done = await self._run(self._staging.publish, job, size=size)
        except NotFoundError as error:
            done = await self._overtaken(job, error)
        finally:
            # Also after a cancellation: the thread that was writing has ended by now.
            await self._run(self._staging.clean, job)
        progress(100)
        return done

    async def _overtaken(self, job: Import, error: NotFoundError) -> Imported:
        """Take the image of the newer executor that has removed this build, if it is there yet."""
        done = await self._run(self._staging.finished, job)
        if done is None:
            raise TransientError(
                "ImageInUse", f"another host has taken over the import of {job.image}"
            ) from error
        return done

    async def _raw(self, job: Import, held: AsyncExitStack, progress: Progress) -> int:
        """Stream the file straight into the build image; return its final size."""
        writer = await self._create(build_name(job), 0, held)
        downloaded = await self._receive(job, writer, lambda percent: progress(min(percent, 99)))
        size = whole_mib(downloaded.size)
        self._require_size(size)
        return size

    async def _qcow2(self, job: Import, held: AsyncExitStack, progress: Progress) -> int:
        """Stage the file in the scratch image, look at it, convert it; return the final size."""
        scratch = scratch_name(job)
        writer = await self._create(scratch, 0, held)
        await self._receive(job, writer, lambda p: progress(p * _FETCH_SHARE // 100))
        head = await self._run(self._staging.head, scratch, HEAD_BYTES)
        header = parse_qcow2(head, max_virtual_size=self._limits.max_virtual_size)
        size = whole_mib(header.virtual_size)
        await self._create(build_name(job), size, held)
        await self._staging.convert(
            job,
            virtual_size=header.virtual_size,
            progress=lambda p: progress(_FETCH_SHARE + p * (99 - _FETCH_SHARE) // 100),
        )
        return size

    async def _create(self, name: str, size: int, held: AsyncExitStack) -> Writer:
        """Create an image that stays open until the import is over.

        A newer executor removes what nobody has open, and a removal that begins while qemu-img
        opens the image would make it read zeros.
        """
        made: list[Writer] = []
        # Before it is made: a cancellation meanwhile closes it, too.
        held.push_async_callback(self._close, made)
        await self._run(lambda: made.append(self._staging.create(name, size)))
        return made[0]

    async def _close(self, made: list[Writer]) -> None:
        for writer in made:
            await self._run(writer.close)

    async def _receive(self, job: Import, writer: Writer, progress: Progress) -> Downloaded:
        """Download the file into an image and verify it."""
        downloaded = await self._download(
            job.url,
            write=partial(self._write, job, writer),
            limits=self._limits,
            progress=progress,
        )
        if downloaded.size == 0:
            check_magic(b"", job.format)
        if downloaded.sha256 != job.sha256:
            raise TerminalError(
                "ChecksumMismatch",
                f"the file's SHA-256 is {downloaded.sha256}, not {job.sha256}: correct sha256"
                " or url (make another Image)",
            )
        await self._run(writer.finish, whole_mib(downloaded.size))
        return downloaded

    async def _write(self, job: Import, writer: Writer, offset: int, data: bytes) -> None:
        if offset == 0:
            # At once: an error page instead of an image need not be downloaded to its end.
            check_magic(data[:MAGIC_BYTES], job.format)
        await self._run(_write_runs, writer, offset, data)

    def _require_size(self, size: int) -> None:
        if size > self._limits.max_virtual_size:
            raise TerminalError(
                "ImageTooLarge",
                f"the disk has {size} bytes; this host allows {self._limits.max_virtual_size}",
            )

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call in a thread; a cancellation waits until the thread has ended."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, partial(call, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            raise


def _write_runs(writer: Writer, offset: int, data: bytes) -> None:
    for start, run in data_runs(data):
        writer.write(offset + start, run)


def data_runs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the parts that are not zero, each with its offset, in steps of 64 KiB.

    A fresh image reads as zeros: what is not written takes no space.
    """
    start: int | None = None
    for offset in range(0, len(data), _ZERO_RUN):
        piece = data[offset : offset + _ZERO_RUN]
        if piece == _ZEROS[: len(piece)]:
            if start is not None:
                yield start, data[start:offset]
                start = None
        elif start is None:
            start = offset
    if start is not None:
        yield start, data[start:]
