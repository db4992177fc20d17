# SPDX-License-Identifier: Apache-2.0
"""Imports: fetched once, whatever crashes, and by whichever host wins."""

import asyncio
import random
from dataclasses import replace

import pytest

from nopal_node.storage.base import Import, Imported, StoragePool
from nopal_runtime.errors import ConflictError, NotFoundError, TransientError
from support import qcow2
from support.fileserver import FileServer, content, file_server, stalling, without_length
from support.storage import LIMITS, MIB, Backend, image_job, uid

NOISE = random.Random(0).randbytes(6 * MIB)  # noqa: S311


@pytest.fixture
async def server() -> object:
    async with file_server() as running:
        yield running


async def fetch(pool: StoragePool, job: object) -> Imported:
    return await pool.fetch(job, progress=lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("framing", [content, without_length])
async def test_raw_is_streamed_and_rounded_up(
    backend: Backend, pool: StoragePool, server: FileServer, framing: object
) -> None:
    data = NOISE[: 5 * MIB + 100] + bytes(4 * MIB) + b"end"
    job = image_job(server.serve("/raw", framing(data)), data, format="raw")  # type: ignore[operator]
    percents: list[int] = []
    done = await pool.fetch(job, progress=percents.append)
    assert done == Imported(size=10 * MIB, snapshot="nopal")
    for offset in (0, 4 * MIB, 5 * MIB, 9 * MIB):
        expected = data[offset : offset + MIB].ljust(MIB, b"\0")
        assert backend.read(job.image, offset, MIB) == expected
    assert percents == sorted(percents)
    assert percents[-1] == 100
    info = pool.info(job.image)
    assert info is not None
    assert (info.owner_uid, info.epoch, info.size) == (job.owner_uid, 1, 10 * MIB)
    assert backend.left_of(job.image) == [job.image]


async def test_qcow2_becomes_raw(backend: Backend, pool: StoragePool, server: FileServer) -> None:
    inside = NOISE[: MIB + 5000]
    data = qcow2.image(inside, size=20 * MIB + 512)
    job = image_job(server.serve("/q", content(data)), data, format="qcow2")
    percents: list[int] = []
    done = await pool.fetch(job, progress=percents.append)
    assert done == Imported(size=21 * MIB, snapshot="nopal")
    assert backend.read(job.image, 0, 2 * MIB) == inside.ljust(2 * MIB, b"\0")
    assert backend.read(job.image, 20 * MIB, MIB) == bytes(MIB)
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert backend.left_of(job.image) == [job.image]


async def test_done_before_is_success_without_a_download(
    backend: Backend, pool: StoragePool, server: FileServer
) -> None:
    job = image_job(server.serve("/raw", content(NOISE)), NOISE, format="raw")
    first = await fetch(pool, job)
    server.answers.clear()
    assert await fetch(backend.pool(1), replace(job, epoch=2)) == first


async def test_another_owners_image_is_left_alone(
    backend: Backend, pool: StoragePool, server: FileServer
) -> None:
    job = image_job(server.serve("/raw", content(NOISE)), NOISE, format="raw")
    backend.plant(job.image, MIB, owner=uid())
    with pytest.raises(ConflictError, match="ImageConflict"):
        await fetch(pool, job)
    assert backend.left_of(job.image) == [job.image]


async def test_leftovers_of_earlier_tries_are_removed(
    backend: Backend, pool: StoragePool, server: FileServer
) -> None:
    job = image_job(server.serve("/raw", content(NOISE)), NOISE, format="raw", epoch=3)
    for name in ("1", "1.scratch", "3", "3.scratch"):
        backend.plant(f"{job.image}.{name}", MIB)
    backend.plant(f"{job.image}.4", MIB)  # a newer executor's: not ours to touch
    await fetch(pool, job)
    assert sorted(backend.left_of(job.image)) == [job.image, f"{job.image}.4"]


async def test_a_killed_writers_leftover_does_not_wait_for_ceph(
    backend: Backend, pool: StoragePool, server: FileServer
) -> None:
    job = image_job(server.serve("/raw", content(NOISE)), NOISE, format="raw")
    backend.plant(f"{job.image}.1", MIB)
    backend.open(f"{job.image}.1").kill()
    await fetch(pool, job)
    assert backend.left_of(job.image) == [job.image]


async def test_a_daemon_that_was_killed_amid_a_conversion_does_not_wait_for_ceph(
    backend: Backend, pool: StoragePool, server: FileServer
) -> None:
    """It had the scratch image and the build open, and qemu-img, a client of its own, the build."""
    job = image_job(server.serve("/raw", content(NOISE)), NOISE, format="raw")
    scratch, build = f"{job.image}.1.scratch", f"{job.image}.1"
    backend.plant(scratch, MIB)
    backend.plant(build, MIB)
    daemon, converter = backend.open(scratch, build), backend.open(build)
    daemon.kill()
    converter.kill()
    await fetch(pool, job)
    assert backend.left_of(job.image) == [job.image]


@pytest.mark.usefixtures("late_answers")
async def test_a_living_writer_of_the_same_epoch_is_left_alone(
    backend: Backend, pool: StoragePool, server: FileServer
) -> None:
    job = image_job(server.serve("/raw", content(NOISE)), NOISE, format="raw")
    backend.plant(f"{job.image}.1", MIB)
    client = backend.open(f"{job.image}.1")
    with pytest.raises(TransientError, match="ImageInUse"):
        await fetch(pool, job)
    client.close()
    await fetch(pool, job)


@pytest.mark.parametrize("format", ["raw", "qcow2"])
async def test_the_loser_of_a_race_removes_its_own(
    backend: Backend, server: FileServer, format: str
) -> None:
    """Two hosts import at once, as after a change of the executor: both end with the same image."""
    data = NOISE if format == "raw" else qcow2.image(NOISE)
    job = image_job(server.serve("/image", content(data)), data, format=format)
    old, new = backend.pool(0), backend.pool(0)
    older, newer = await asyncio.gather(
        fetch(old, job), fetch(new, replace(job, epoch=2)), return_exceptions=True
    )
    assert newer == Imported(size=6 * MIB, snapshot="nopal")
    # The older one either took the winner's or was told to try again.
    assert older == newer or (isinstance(older, TransientError) and older.reason == "ImageInUse")
    assert await fetch(old, job) == newer
    assert backend.left_of(job.image) == [job.image]
    assert backend.read(job.image, 0, MIB) == NOISE[:MIB]


async def test_what_an_older_executor_converts_is_left_to_it(
    backend: Backend, server: FileServer
) -> None:
    """A scratch image that went meanwhile would be read as zeros, or as another format."""
    data = qcow2.image(NOISE)
    job = image_job(server.serve("/image", content(data)), data, format="qcow2")
    old, new = backend.pool(0), backend.pool(0)
    older, newer = (each._importer._staging for each in (old, new))  # type: ignore[attr-defined]
    convert = older.convert

    async def after_a_clean(job: Import, **more: object) -> None:
        await asyncio.to_thread(newer.clean, replace(job, epoch=2))
        await convert(job, **more)

    older.convert = after_a_clean
    assert await fetch(old, job) == Imported(size=6 * MIB, snapshot="nopal")
    assert backend.read(job.image, 0, 6 * MIB) == NOISE


async def test_a_build_that_is_gone_is_not_the_files_fault(
    pool: StoragePool, server: FileServer
) -> None:
    job = image_job(server.url("/image"), b"", format="qcow2")
    staging = pool._importer._staging  # type: ignore[attr-defined]
    with pytest.raises(NotFoundError):
        await staging.convert(job, virtual_size=MIB, progress=lambda _: None)


async def test_cancelling_while_the_image_is_made_cleans_up(
    backend: Backend, pool: StoragePool, server: FileServer
) -> None:
    job = image_job(server.serve("/raw", content(NOISE)), NOISE, format="raw")
    staging = pool._importer._staging  # type: ignore[attr-defined]
    create = staging.create
    loop = asyncio.get_running_loop()

    def cancelled_meanwhile(name: str, size: int) -> object:
        loop.call_soon_threadsafe(task.cancel)
        return create(name, size)

    staging.create = cancelled_meanwhile
    task = asyncio.create_task(fetch(pool, job))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.left_of(job.image) == []


async def test_cancelling_cleans_up(
    backend: Backend, pool: StoragePool, server: FileServer
) -> None:
    job = image_job(server.serve("/stall", stalling(NOISE)), NOISE, format="raw")
    begun = asyncio.Event()
    task = asyncio.create_task(pool.fetch(job, progress=lambda _: begun.set()))
    await begun.wait()
    assert backend.left_of(job.image) == [f"{job.image}.1"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.left_of(job.image) == []


async def test_a_full_pool_is_told(backend: Backend, server: FileServer) -> None:
    data = qcow2.image(NOISE, size=20 * MIB)
    raw = image_job(server.serve("/raw", content(NOISE)), NOISE, format="raw")
    converted = image_job(server.serve("/q", content(data)), data, format="qcow2")
    with backend.full():
        for job in (raw, converted):
            with pytest.raises(TransientError) as refused:
                await fetch(backend.pool(limits=LIMITS), job)
            assert refused.value.reason == "PoolFull"
            assert backend.left_of(job.image) == []


async def test_an_interrupted_deletion_is_finished_before_a_new_fetch(
    backend: Backend, pool: StoragePool, server: FileServer
) -> None:
    job = image_job(server.serve("/raw", content(NOISE)), NOISE, format="raw")
    backend.plant(job.image, MIB, owner=job.owner_uid)  # owned, but its snapshot is gone
    done = await fetch(pool, job)
    assert done.size == 6 * MIB
    assert backend.left_of(job.image) == [job.image]
