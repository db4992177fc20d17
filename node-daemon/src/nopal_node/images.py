# SPDX-License-Identifier: Apache-2.0
"""The Images that this host fetches: one long job for each Image and pool."""

import asyncio
from collections.abc import Callable

from nopal_api.image import Image, ImagePool
from nopal_api.kinds import IMAGE
from nopal_api.names import image_manager
from nopal_runtime.errors import ConflictError, NopalError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import Record

from .host_state import HostState
from .reconcile.image import ImageWork, image_work, is_final, pool_status
from .storage.base import Import, Imported

PROGRESS_STEP_PERCENT = 10
"""Progress is told in steps of this size: at most ten writes for an image."""
RETRY_SECONDS = 5.0
"""Pause after the first download that failed; doubles up to the limit below."""
RETRY_LIMIT_SECONDS = 300.0
Job = tuple[str, str, str, int]
"""UID of the Image, zone, pool, executor's epoch."""
MAX_FETCHES = 2
"""Images fetched at the same time by one host."""


class Images:
    """Reconciles the Images whose executor this host is, in the pools where it is."""

    def __init__(self, state: HostState) -> None:
        self._state = state
        self._slots = asyncio.Semaphore(MAX_FETCHES)
        self._running: dict[Job, asyncio.Task[Imported]] = {}
        self._failures: dict[Job, tuple[int, float]] = {}
        """How often in a row a job failed, and when it may be tried again."""

    async def reconcile(self, key: Key) -> float | None:
        """Start, follow or end the jobs of one Image; return when one is to be tried again.

        Raises the NopalError of a deletion that failed, after the status tells it.
        """
        record = self._state.cache.get(key)
        if record is None:
            await self._cancel(lambda uid: self._state.cache.find_uid(IMAGE, uid) is None)
            return None
        image = record.model(Image)
        problem: NopalError | None = None
        works = image_work(
            image.status,
            deleting=record.deleting,
            node_name=self._state.settings.node_name,
        )
        wanted = set()
        waits = []
        for item in works:
            if item.work is ImageWork.FETCH:
                job = self._job(record, item.pool)
                wanted.add(job)
                waits.append(await self._follow(record, image, item.pool, job))
            elif item.work is ImageWork.DELETE:
                await self._cancel(lambda uid: uid == record.uid)
                problem = await self._delete(record, item.pool) or problem
        await self._cancel(lambda uid: uid == record.uid, keep=frozenset(wanted))
        if problem is not None:
            raise problem
        return min((w for w in waits if w is not None), default=None)

    def _job(self, record: Record, pool: ImagePool) -> Job:
        return (record.uid, pool.zone, pool.pool, pool.executor.epoch if pool.executor else 0)

    async def _follow(
        self, record: Record, image: Image, pool: ImagePool, job: Job
    ) -> float | None:
        """Start the job, or tell how it ended; return the seconds until it may be tried again."""
        task = self._running.get(job)
        if task is None:
            # Not by the queue: what the status tells is an event that leads back here at once.
            left = self._failures.get(job, (0, 0.0))[1] - self._state.clock()
            if left > 0:
                return left
            task = asyncio.create_task(self._fetch(record.key, record.uid, image, pool))
            self._running[job] = task
            task.add_done_callback(lambda _: self._state.mark(record.key, 0.0))
            if pool.state is None:
                await self._write(record, pool_status(pool, percent=0), pool)
            return None
        if not task.done():
            return None
        if task.cancelled():
            del self._running[job]
            return None
        problem = task.exception()
        if problem is not None and not isinstance(problem, NopalError):
            del self._running[job]
            raise problem
        status = pool_status(pool, problem=problem) if problem else None
        await self._write(record, status or pool_status(pool, done=task.result()), pool)
        # Only now: an end that could not be told is told at the next try.
        del self._running[job]
        if problem is None or is_final(problem):
            self._failures.pop(job, None)
            return None
        count = self._failures.get(job, (0, 0.0))[0]
        pause = min(RETRY_SECONDS * 2.0 ** min(count, 30), RETRY_LIMIT_SECONDS)
        self._failures[job] = (count + 1, self._state.clock() + pause)
        return pause

    async def _fetch(self, key: Key, uid: str, image: Image, pool: ImagePool) -> Imported:
        location, executor, source = pool.location, pool.executor, image.spec.source
        if location is None or executor is None:
            raise ConflictError("AssignmentChanged", "no longer this host's")
        wanted = Import(
            image=location.image,
            owner_uid=uid,
            epoch=executor.epoch,
            url=source.url,
            sha256=source.sha256,
            format=source.format,
        )
        told = 0

        def progress(percent: int) -> None:
            nonlocal told
            if percent >= told + PROGRESS_STEP_PERCENT:
                told = percent
                telling.append(asyncio.ensure_future(self._progress(key, uid, pool, percent)))

        telling: list[asyncio.Future[None]] = []
        async with self._slots:
            connected = await self._state.pools.at(location)
            try:
                return await connected.storage.fetch(wanted, progress=progress)
            finally:
                for future in telling:
                    future.cancel()
                await asyncio.gather(*telling, return_exceptions=True)

    async def _progress(self, key: Key, uid: str, pool: ImagePool, percent: int) -> None:
        """Tell the progress; a word that is lost is not missed."""
        record = self._state.cache.get(key)
        if record is not None and record.uid == uid:
            try:
                await self._write(record, pool_status(pool, percent=percent), pool)
            except NopalError:
                return

    async def _delete(self, record: Record, pool: ImagePool) -> NopalError | None:
        if pool.location is None:
            return None
        try:
            connected = await self._state.pools.at(pool.location)
            await self._state.threads.run(
                connected.storage.delete_source, pool.location.image, owner_uid=record.uid
            )
        except NopalError as error:
            await self._write(record, pool_status(pool, problem=error), pool)
            return error
        await self._write(record, pool_status(pool, deleted=True), pool)
        return None

    async def _write(self, record: Record, status: dict[str, object], pool: ImagePool) -> None:
        """Tell it, unless another executor has the word by now."""
        current = self._state.cache.get(record.key) or record
        entries = current.model(Image).status.pools
        now = next((p for p in entries if (p.zone, p.pool) == (pool.zone, pool.pool)), None)
        if current.uid != record.uid or now is None or now.executor != pool.executor:
            return
        manager = image_manager(pool.zone, pool.pool)
        await self._state.writer.write(current, manager=manager, status=status)

    async def _cancel(
        self, of_image: Callable[[str], bool], *, keep: frozenset[Job] = frozenset()
    ) -> None:
        """End the jobs of the images chosen, and wait until they have cleaned up."""
        for job, task in list(self._running.items()):
            if of_image(job[0]) and job not in keep:
                del self._running[job]
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for job in [j for j in self._failures if of_image(j[0]) and j not in keep]:
            del self._failures[job]

    async def close(self) -> None:
        """End all jobs."""
        await self._cancel(lambda _: True)
