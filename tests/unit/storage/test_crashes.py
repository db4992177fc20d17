# SPDX-License-Identifier: Apache-2.0
"""A crash after (and before) every effect of every operation, then another try: the same end."""

import random
from collections.abc import Awaitable, Callable
from hashlib import sha256
from itertools import count

import pytest

from nopal_node.storage.base import DiskImage, ImageParent, Import
from nopal_node.storage.fake import FakePool
from nopal_node.storage.fake_cluster import FakeCluster
from nopal_runtime.errors import TransientError
from support import qcow2

MIB = 1 << 20
RAW = random.Random(2).randbytes(300_000)  # noqa: S311
QCOW2 = qcow2.image(RAW, size=4 * MIB)
URLS: dict[str, bytes | Exception] = {"http://x/raw": RAW, "http://x/qcow2": QCOW2}
PARENT = ImageParent(pool="nopal", namespace="", image="image-i", snapshot="nopal")


class Crash(BaseException):
    """The process is gone: nothing handles it."""


def job(format: str) -> Import:
    url = f"http://x/{format}"
    data = URLS[url]
    assert isinstance(data, bytes)
    return Import("image-i", "i", 1, url, sha256(data).hexdigest(), format)


async def fetch_raw(pool: FakePool) -> None:
    await pool.fetch(job("raw"), progress=lambda _: None)


async def fetch_qcow2(pool: FakePool) -> None:
    await pool.fetch(job("qcow2"), progress=lambda _: None)


async def life_of_a_disk(pool: FakePool) -> None:
    await fetch_raw(pool)
    pool.ensure_disk(DiskImage("disk-d", 8 * MIB, "d", PARENT))
    pool.claim_epoch("disk-d", owner_uid="d", epoch=1)
    pool.write_seed("seed-v", owner_uid="v", content=b"seed")


OPERATIONS: list[Callable[[FakePool], Awaitable[None]]] = [
    fetch_raw,
    fetch_qcow2,
    life_of_a_disk,
]


def picture(cluster: FakeCluster) -> object:
    pool = cluster.pools["nopal", ""]
    return {
        name: (image.size, image.ownership, image.parent, image.snapshots, image.read(0, 400_000))
        for name, image in pool.images.items()
    }


def crash_at(cluster: FakeCluster, number: int) -> list[str]:
    """Let the process die at that effect; from then on it has no effect at all."""
    seen: list[str] = []

    def hook(phase: str, effect: str) -> None:
        seen.append(f"{phase} {effect}")
        if len(seen) > number:
            raise Crash(seen[number])

    cluster.hook = hook
    return seen


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_it_converges_to_the_same_end(
    operation: Callable[[FakePool], Awaitable[None]],
) -> None:
    plain = FakeCluster()
    plain.urls = URLS
    await operation(FakePool(plain))
    for number in count():
        cluster = FakeCluster()
        cluster.urls = URLS
        seen = crash_at(cluster, number)
        killed = FakePool(cluster)
        try:
            await operation(killed)
        except Crash:
            killed.crash()
            cluster.hook = lambda _phase, _effect: None
            await operation(FakePool(cluster))
        else:
            assert number >= len(seen) > 4
            break
        assert picture(cluster) == picture(plain), f"after a crash {seen[number]}"


async def test_deletion_converges_to_nothing() -> None:
    for number in count():
        cluster = FakeCluster()
        cluster.urls = URLS
        await life_of_a_disk(FakePool(cluster))
        seen = crash_at(cluster, number)
        killed = FakePool(cluster, trash_delay=0)

        def end(pool: FakePool) -> None:
            pool.remove_seed("seed-v", owner_uid="v")
            pool.delete("disk-d", owner_uid="d")
            pool.delete_source("image-i", owner_uid="i")
            while pool.empty_trash():
                pass

        try:
            end(killed)
        except Crash:
            killed.crash()
            cluster.hook = lambda _phase, _effect: None
            end(FakePool(cluster, trash_delay=0))
        else:
            break
        assert picture(cluster) == {}, f"after a crash {seen[number]}"
        assert cluster.pools["nopal", ""].trash == {}


async def test_an_instant_server_may_fail_too() -> None:
    cluster = FakeCluster()
    pool = FakePool(cluster)
    with pytest.raises(TransientError, match="DownloadFailed"):
        await fetch_raw(pool)
    cluster.urls["http://x/raw"] = TransientError("DownloadFailed", "later")
    with pytest.raises(TransientError, match="later"):
        await fetch_raw(pool)
    assert pool.images == {}
