# SPDX-License-Identifier: Apache-2.0
"""Disks: made once, finished after a crash, deleted into the trash."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from nopal_node.storage import ownership
from nopal_node.storage.base import ImageParent, StoragePool
from nopal_runtime.errors import ConflictError, NotFoundError, TerminalError, TransientError
from support.disks import disk
from support.fileserver import content, file_server
from support.storage import MIB, Backend, image_job, uid


@pytest.fixture
async def source(backend: Backend, pool: StoragePool) -> ImageParent:
    """An Image of 2 MiB whose first bytes are known."""
    data = b"source" + bytes(2 * MIB - 6)
    async with file_server() as server:
        job = image_job(server.serve("/raw", content(data)), data, format="raw")
        done = await pool.fetch(job, progress=lambda _: None)
    place = backend.access().pool if hasattr(backend, "access") else "nopal"
    return ImageParent(pool=place, namespace="", image=job.image, snapshot=done.snapshot)


def test_a_disk_is_made_once(pool: StoragePool) -> None:
    wanted = disk(uid())
    assert pool.info(wanted.image) is None
    made = pool.ensure_disk(wanted)
    assert (made.size, made.owner_uid, made.epoch, made.parent) == (
        8 * MIB,
        wanted.owner_uid,
        0,
        None,
    )
    assert pool.ensure_disk(wanted) == made == pool.info(wanted.image)


def test_a_disk_that_was_made_is_never_made_anew(pool: StoragePool) -> None:
    wanted = disk(uid())
    known = replace(wanted, made=True)
    with pytest.raises(TransientError) as refused:
        pool.ensure_disk(known)
    assert refused.value.reason == "DataLost"
    assert wanted.image in refused.value.message
    assert pool.info(wanted.image) is None
    assert pool.ensure_disk(wanted) == pool.ensure_disk(known)


def test_a_clone_is_grown_and_reads_its_parent(
    backend: Backend, pool: StoragePool, source: ImageParent
) -> None:
    wanted = disk(uid(), parent=source)
    made = pool.ensure_disk(wanted)
    assert made.size == 8 * MIB
    assert made.owner_uid == wanted.owner_uid
    assert made.parent == f"{source.pool}/{source.image}@{source.snapshot}"
    assert backend.read(wanted.image, 0, 8) == b"source\0\0"
    assert pool.ensure_disk(wanted) == made


def test_a_clone_that_no_owner_was_written_into_is_finished(
    backend: Backend, pool: StoragePool
) -> None:
    wanted = disk(uid())
    backend.plant(wanted.image, wanted.size)
    found = pool.info(wanted.image)
    assert found is not None
    assert found.owner_uid == ""
    assert pool.ensure_disk(wanted).owner_uid == wanted.owner_uid


def test_a_clone_that_broke_off_before_its_parent_is_made_anew(
    backend: Backend, pool: StoragePool, source: ImageParent, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = disk(uid(), parent=source)
    backend.plant(wanted.image, 2 * MIB)
    monkeypatch.setattr(ownership, "SETTLED_SECONDS", 0.0)
    pool.ensure_disk(wanted)
    assert backend.read(wanted.image, 0, 6) == b"source"


def test_what_broke_off_is_no_disk_that_was_made(
    backend: Backend, pool: StoragePool, source: ImageParent, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = replace(disk(uid(), parent=source), made=True)
    backend.plant(wanted.image, 2 * MIB)
    monkeypatch.setattr(ownership, "SETTLED_SECONDS", 0.0)
    with pytest.raises(TransientError) as refused:
        pool.ensure_disk(wanted)
    assert refused.value.reason == "DataLost"
    assert wanted.image not in backend.names()


def test_an_unowned_image_with_data_is_never_replaced(
    backend: Backend, pool: StoragePool, source: ImageParent, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = disk(uid(), parent=source)
    backend.plant(wanted.image, 2 * MIB)
    backend.open(wanted.image, lock=True, written=b"precious").close()
    monkeypatch.setattr(ownership, "SETTLED_SECONDS", 0.0)
    with pytest.raises(ConflictError, match="ImageConflict"):
        pool.ensure_disk(wanted)
    assert backend.read(wanted.image, 2 * MIB - 8, 8) == b"precious"


def test_a_foreign_image_is_left_alone(backend: Backend, pool: StoragePool) -> None:
    wanted = disk(uid())
    backend.plant(wanted.image, wanted.size, owner=uid())
    for call in (
        lambda: pool.ensure_disk(wanted),
        lambda: pool.delete(wanted.image, owner_uid=wanted.owner_uid),
        lambda: pool.write_seed(wanted.image, owner_uid=wanted.owner_uid, content=b"x"),
        lambda: pool.remove_seed(wanted.image, owner_uid=wanted.owner_uid),
        lambda: pool.delete_source(wanted.image, owner_uid=wanted.owner_uid),
    ):
        with pytest.raises(ConflictError) as refused:
            call()
        assert refused.value.reason == "ImageConflict"
    assert wanted.image in backend.names()


def test_an_image_of_another_size_without_an_owner_is_not_taken(
    backend: Backend, pool: StoragePool
) -> None:
    wanted = disk(uid())
    backend.plant(wanted.image, 3 * MIB)
    with pytest.raises(ConflictError, match="ImageConflict"):
        pool.ensure_disk(wanted)


def test_another_parent_is_a_conflict(pool: StoragePool, source: ImageParent) -> None:
    owner = uid()
    pool.ensure_disk(disk(owner))
    with pytest.raises(ConflictError, match="ImageConflict"):
        pool.ensure_disk(disk(owner, parent=source))


def test_a_larger_image_is_never_shrunk(pool: StoragePool) -> None:
    owner = uid()
    pool.ensure_disk(disk(owner, size=8 * MIB))
    with pytest.raises(ConflictError, match="ImageConflict"):
        pool.ensure_disk(disk(owner, size=4 * MIB))
    assert pool.ensure_disk(disk(owner, size=9 * MIB)).size == 9 * MIB


@pytest.mark.parametrize("missing", ["image", "snapshot"])
def test_an_absent_parent_is_told(pool: StoragePool, source: ImageParent, missing: str) -> None:
    parent = ImageParent(
        pool=source.pool,
        namespace="",
        image="image-none" if missing == "image" else source.image,
        snapshot="none" if missing == "snapshot" else source.snapshot,
    )
    wanted = disk(uid(), parent=parent)
    with pytest.raises(NotFoundError) as refused:
        pool.ensure_disk(wanted)
    assert refused.value.reason == "ParentNotFound"
    assert pool.info(wanted.image) is None


def test_many_hosts_at_once_make_one_disk(backend: Backend, source: ImageParent) -> None:
    wanted = disk(uid(), parent=source)
    pools = [backend.pool() for _ in range(4)]

    def make(pool: StoragePool) -> object:
        for _ in range(20):
            with suppress(TransientError):  # as the daemon does: try again
                return pool.ensure_disk(wanted)
        return None

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(make, pools))
    assert made[0] == made[1] == made[2] == made[3] == pools[0].info(wanted.image)


def test_delete_waits_for_who_has_it_open(backend: Backend, pool: StoragePool) -> None:
    wanted = disk(uid())
    pool.ensure_disk(wanted)
    client = backend.open(wanted.image, host=1)
    with pytest.raises(TransientError) as refused:
        pool.delete(wanted.image, owner_uid=wanted.owner_uid)
    assert refused.value.reason == "ImageInUse"
    assert backend.addresses[1] in refused.value.message
    client.close()
    pool.delete(wanted.image, owner_uid=wanted.owner_uid)
    assert wanted.image in backend.trash()
    assert wanted.image not in backend.names()
    pool.delete(wanted.image, owner_uid=wanted.owner_uid)  # absent is success


def test_the_trash_keeps_for_its_delay(backend: Backend) -> None:
    patient, hasty = backend.pool(trash_delay=3600), backend.pool(trash_delay=0)
    kept, gone = disk(uid()), disk(uid())
    for each, pool in ((kept, patient), (gone, hasty)):
        pool.ensure_disk(each)
        pool.delete(each.image, owner_uid=each.owner_uid)
    assert {kept.image, gone.image} <= set(backend.trash())
    assert hasty.empty_trash() >= 1
    assert kept.image in backend.trash()
    assert gone.image not in backend.trash()


def test_the_disk_of_a_guest_that_died_here_is_deleted_at_once(
    backend: Backend, pool: StoragePool
) -> None:
    wanted = disk(uid())
    pool.ensure_disk(wanted)
    backend.open(wanted.image, lock=True).kill()
    pool.delete(wanted.image, owner_uid=wanted.owner_uid)
    assert wanted.image in backend.trash()


def test_a_half_made_disk_is_deleted_for_good(backend: Backend) -> None:
    pool, wanted = backend.pool(trash_delay=0), disk(uid())
    backend.plant(wanted.image, wanted.size)
    pool.delete(wanted.image, owner_uid=wanted.owner_uid)
    pool.empty_trash()
    assert backend.left_of(wanted.image) == []


def test_clones_outlive_their_source(
    backend: Backend, pool: StoragePool, source: ImageParent
) -> None:
    hasty = backend.pool(trash_delay=0)
    wanted = disk(uid(), parent=source)
    made = hasty.ensure_disk(wanted)
    owner = source.image.removeprefix("image-")
    pool.delete_source(source.image, owner_uid=owner)
    pool.delete_source(source.image, owner_uid=owner)
    assert source.image not in backend.names()
    assert source.image in backend.trash()
    assert backend.read(wanted.image, 0, 6) == b"source"
    assert hasty.ensure_disk(wanted) == made, "the same disk, although its parent was renamed"
    with pytest.raises(NotFoundError, match="ParentNotFound"):
        pool.ensure_disk(disk(uid(), parent=source))
    hasty.empty_trash()
    assert source.image in backend.trash()
    hasty.delete(wanted.image, owner_uid=wanted.owner_uid)
    while hasty.empty_trash():
        pass
    assert backend.left_of(source.image) == backend.left_of(wanted.image) == []


def test_a_source_without_clones_goes_at_once(
    backend: Backend, pool: StoragePool, source: ImageParent
) -> None:
    pool.delete_source(source.image, owner_uid=source.image.removeprefix("image-"))
    assert backend.left_of(source.image) == []


def test_seeds_hold_exactly_their_content(backend: Backend, pool: StoragePool) -> None:
    owner = uid()
    seed = f"seed-{owner}"
    pool.write_seed(seed, owner_uid=owner, content=b"one" * 10)
    first = pool.info(seed)
    assert first is not None
    assert (first.size, first.owner_uid) == (MIB, owner)
    pool.write_seed(seed, owner_uid=owner, content=b"one" * 10)
    assert backend.read(seed, 0, 32) == b"one" * 10 + b"\0\0"
    pool.write_seed(seed, owner_uid=owner, content=b"2")
    assert backend.read(seed, 0, 32) == b"2" + bytes(31)
    pool.write_seed(seed, owner_uid=owner, content=b"x" * (MIB + 1))
    grown = pool.info(seed)
    assert grown is not None
    assert grown.size == 2 * MIB
    pool.remove_seed(seed, owner_uid=owner)
    assert backend.left_of(seed) == [], "not in the trash either: it may hold passwords"
    pool.remove_seed(seed, owner_uid=owner)


def test_a_half_written_seed_is_written_again(backend: Backend, pool: StoragePool) -> None:
    owner = uid()
    backend.plant(f"seed-{owner}", MIB)
    pool.write_seed(f"seed-{owner}", owner_uid=owner, content=b"whole")
    assert backend.read(f"seed-{owner}", 0, 6) == b"whole\0"


def test_down_is_unreachable_never_absent(backend: Backend) -> None:
    pool, wanted = backend.pool(operation_seconds=2), disk(uid())
    # By a patient client: only what asks in vain has the short limit.
    backend.pool().ensure_disk(wanted)
    with backend.down():
        for call in (
            lambda: pool.info(wanted.image),
            lambda: pool.info("disk-none"),
            lambda: pool.watchers(wanted.image),
            lambda: pool.delete(wanted.image, owner_uid=wanted.owner_uid),
        ):
            with pytest.raises(TransientError) as refused:
                call()
            assert refused.value.reason == "StorageUnreachable"
    assert backend.pool().ensure_disk(wanted).owner_uid == wanted.owner_uid


def test_a_full_pool_is_told_and_can_be_emptied(backend: Backend) -> None:
    pool = backend.pool(trash_delay=0)
    made = disk(uid())
    pool.ensure_disk(made)
    with backend.full():
        for call in (
            lambda: pool.ensure_disk(disk(uid())),
            lambda: pool.write_seed(f"seed-{made.owner_uid}", owner_uid=uid(), content=b"x"),
        ):
            with pytest.raises(TransientError) as refused:
                call()
            assert refused.value.reason == "PoolFull"
        pool.delete(made.image, owner_uid=made.owner_uid)
        pool.empty_trash()
    assert backend.left_of(made.image) == []


def test_check_says_what_is_wrong(backend: Backend) -> None:
    backend.pool().check()
    pool = backend.pool(operation_seconds=3)  # short only for what asks in vain
    with backend.down(), pytest.raises((TransientError, TerminalError)) as refused:
        pool.check()
    assert refused.value.reason == "StorageUnreachable"
