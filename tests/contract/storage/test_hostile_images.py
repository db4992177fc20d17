# SPDX-License-Identifier: Apache-2.0
"""Hostile and broken images and servers: refused with a reason, in bounded time, nothing left."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from nopal_node.storage.limits import ImportLimits
from nopal_runtime.errors import NopalError, TerminalError, TransientError
from support import qcow2
from support.fileserver import (
    Answer,
    FileServer,
    content,
    endless,
    file_server,
    redirect,
    stalling,
    status,
    trickling,
    without_length,
)
from support.storage import LIMITS, MIB, Backend, image_job

NOISE = random.Random(1).randbytes(2 * MIB)  # noqa: S311
GOOD = qcow2.image(NOISE[:MIB])
SMALL = replace(LIMITS, max_download=8 * MIB)


@dataclass(frozen=True)
class Case:
    """What is served and claimed, and how it is refused."""

    answer: Callable[[FileServer], Answer]
    reason: str
    error: type[NopalError] = TerminalError
    format: str = "qcow2"
    data: bytes = GOOD
    """What the checksum is of."""
    limits: ImportLimits = SMALL


def whole(data: bytes, reason: str, *, format: str = "qcow2") -> Case:
    return Case(lambda _: content(data), reason, format=format, data=data)


CASES = {
    "backing file on the host": whole(qcow2.with_backing_file("/etc/passwd"), "UnsafeImage"),
    "backing file by URL": whole(qcow2.with_backing_file("nbd://127.0.0.1:1/x"), "UnsafeImage"),
    "backing file as json": whole(
        qcow2.with_backing_file('json:{"driver":"file","filename":"/etc/passwd"}'), "UnsafeImage"
    ),
    "data file on the host": whole(qcow2.with_data_file("/etc/passwd"), "UnsafeImage"),
    "data file without its feature bit": whole(
        qcow2.image(b"", head=qcow2.header(extensions=qcow2.extension(0x44415441, b"/etc/passwd"))),
        "UnsafeImage",
    ),
    "unknown feature": whole(
        qcow2.image(b"", head=qcow2.header(incompatible=1 << 7)), "UnsafeImage"
    ),
    "encrypted": whole(qcow2.image(b"", head=qcow2.header(encryption=2)), "UnsafeImage"),
    "bomb": whole(qcow2.image(b"", size=1 << 60), "ImageTooLarge"),
    "raw bomb": Case(lambda _: content(b"x", claimed=1 << 50), "ImageTooLarge", format="raw"),
    "truncated": Case(
        lambda _: content(GOOD[:100_000], claimed=len(GOOD)), "DownloadFailed", TransientError
    ),
    "truncated without a length": Case(
        lambda _: without_length(GOOD[:100_000]), "ChecksumMismatch"
    ),
    "wrong checksum": Case(lambda _: content(GOOD + b"x"), "ChecksumMismatch"),
    "raw declared qcow2": whole(NOISE, "FormatMismatch"),
    "qcow2 declared raw": whole(GOOD, "FormatMismatch", format="raw"),
    "gzip declared raw": whole(b"\x1f\x8b\x08" + NOISE, "FormatMismatch", format="raw"),
    "an error page": whole(b"<html>not here</html>", "FormatMismatch"),
    "empty": whole(b"", "FormatMismatch", format="raw"),
    "empty qcow2": whole(b"", "FormatMismatch"),
    "header cut off": whole(GOOD[:60], "FormatMismatch"),
    "stalls": Case(lambda _: stalling(GOOD[:1000]), "DownloadFailed", TransientError),
    "trickles": Case(
        lambda _: trickling(GOOD[:1000]),
        "DownloadFailed",
        TransientError,
        limits=replace(SMALL, download_seconds=4.0),
    ),
    "never ends": Case(lambda _: endless(NOISE), "ImageTooLarge", format="raw"),
    "redirects to a file": Case(lambda _: redirect("file:///etc/passwd"), "DownloadRefused"),
    "redirects to ftp": Case(lambda _: redirect("ftp://127.0.0.1/x"), "DownloadRefused"),
    "redirects for ever": Case(lambda server: redirect(server.url("/x")), "DownloadRefused"),
    "not found": Case(lambda _: status(404), "DownloadFailed", TransientError),
}


@pytest.mark.parametrize("name", CASES)
async def test_it_is_refused_and_leaves_nothing(backend: Backend, name: str) -> None:
    case = CASES[name]
    async with file_server() as server:
        url = server.serve("/x", case.answer(server))
        job = image_job(url, case.data, format=case.format)
        with pytest.raises(case.error) as refused:
            await backend.pool(limits=case.limits).fetch(job, progress=lambda _: None)
    assert refused.value.reason == case.reason
    assert backend.left_of(job.image) == []


async def test_what_an_endless_server_may_cost_is_bounded(backend: Backend) -> None:
    """What is taken stops soon behind the limit, though the server would send on."""

    async with file_server() as server:
        job = image_job(server.serve("/x", endless(NOISE)), b"", format="raw")
        limits = replace(LIMITS, max_download=4 * MIB)
        with pytest.raises(TerminalError, match="ImageTooLarge"):
            await backend.pool(limits=limits).fetch(job, progress=lambda _: None)
        assert server.sent < 32 * MIB


async def test_a_stall_is_noticed_long_before_the_download_may_end(backend: Backend) -> None:
    limits = replace(LIMITS, stall_seconds=0.5, download_seconds=3600.0)
    async with file_server() as server, asyncio.timeout(30):
        job = image_job(server.serve("/x", stalling(GOOD[:1000])), GOOD, format="qcow2")
        with pytest.raises(TransientError, match="DownloadFailed"):
            await backend.pool(limits=limits).fetch(job, progress=lambda _: None)


async def test_a_good_redirect_is_followed(backend: Backend) -> None:
    async with file_server() as server:
        server.serve("/there", content(NOISE))
        job = image_job(server.serve("/here", redirect("/there")), NOISE, format="raw")
        await backend.pool().fetch(job, progress=lambda _: None)
    assert backend.read(job.image, 0, 100) == NOISE[:100]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "//nowhere", "http://"])
async def test_other_schemes_are_never_opened(backend: Backend, url: str) -> None:
    job = image_job(url, b"", format="raw")
    with pytest.raises(TerminalError, match="DownloadRefused"):
        await backend.pool().fetch(job, progress=lambda _: None)
    assert backend.left_of(job.image) == []
