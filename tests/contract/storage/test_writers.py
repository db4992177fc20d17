# SPDX-License-Identifier: Apache-2.0
"""Who may write a disk: the highest epoch, and nobody while another client has it open."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from nopal_node.storage.base import StoragePool
from nopal_runtime.errors import ConflictError, NotFoundError, TransientError
from support.disks import disk
from support.storage import Backend, uid


def test_an_epoch_only_rises(pool: StoragePool) -> None:
    wanted = disk(uid())
    pool.ensure_disk(wanted)

    def epoch() -> int | None:
        found = pool.info(wanted.image)
        assert found is not None
        assert found.epoch == pool.epoch(wanted.image)
        return found.epoch

    assert epoch() == 0
    pool.claim_epoch(wanted.image, owner_uid=wanted.owner_uid, epoch=5)
    assert epoch() == 5
    pool.claim_epoch(wanted.image, owner_uid=wanted.owner_uid, epoch=5)
    for owner, number in ((wanted.owner_uid, 4), (uid(), 9)):
        with pytest.raises(ConflictError) as refused:
            pool.claim_epoch(wanted.image, owner_uid=owner, epoch=number)
        assert refused.value.reason == "OwnershipUnclear"
    pool.claim_epoch(wanted.image, owner_uid=wanted.owner_uid, epoch=6)
    assert epoch() == 6
    assert pool.ensure_disk(wanted).epoch == 6


def test_the_highest_of_many_claims_wins(backend: Backend, pool: StoragePool) -> None:
    wanted = disk(uid())
    pool.ensure_disk(wanted)
    pools = [backend.pool() for _ in range(4)]

    def claim(number: int) -> bool:
        try:
            pools[number % 4].claim_epoch(wanted.image, owner_uid=wanted.owner_uid, epoch=number)
        except (ConflictError, TransientError):
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        won = [
            n
            for n, done in zip(range(1, 13), threads.map(claim, range(1, 13)), strict=True)
            if done
        ]
    found = pool.info(wanted.image)
    assert found is not None
    assert found.epoch == max(won)


def test_a_claim_of_an_absent_image_is_told(pool: StoragePool) -> None:
    with pytest.raises(NotFoundError):
        pool.claim_epoch("disk-none", owner_uid=uid(), epoch=1)
    assert pool.epoch("disk-none") is None


def test_an_image_without_an_owner_has_no_epoch(backend: Backend, pool: StoragePool) -> None:
    wanted = disk(uid())
    backend.plant(wanted.image, wanted.size)
    assert pool.epoch(wanted.image) == 0
    with pytest.raises(ConflictError) as refused:
        pool.claim_epoch(wanted.image, owner_uid=wanted.owner_uid, epoch=1)
    assert refused.value.reason == "OwnershipUnclear"
    assert pool.epoch(wanted.image) == 0


@pytest.mark.parametrize("host", [0, 1])
def test_watchers_are_told_with_their_address(
    backend: Backend, pool: StoragePool, host: int
) -> None:
    wanted = disk(uid())
    pool.ensure_disk(wanted)
    assert list(pool.watchers(wanted.image)) == []
    client = backend.open(wanted.image, host=host)
    seen = pool.watchers(wanted.image)
    assert [watcher.address for watcher in seen] == [backend.addresses[host]]
    assert (seen[0].address in pool.addresses()) is (host == 0)
    client.close()
    assert list(pool.watchers(wanted.image)) == []
    assert list(pool.watchers("disk-none")) == []


def test_a_dead_holder_of_this_host_is_shut_out(backend: Backend, pool: StoragePool) -> None:
    wanted = disk(uid())
    pool.ensure_disk(wanted)
    client = backend.open(wanted.image, lock=True)
    client.kill()
    assert pool.watchers(wanted.image), "Ceph has not noticed yet"
    pool.break_dead_locks(wanted.image, own_addresses=pool.addresses())
    assert list(pool.watchers(wanted.image)) == []
    again = backend.open(wanted.image, lock=True)  # would hang for 30 s
    again.close()


@pytest.mark.usefixtures("late_answers")
@pytest.mark.parametrize("host", [0, 1])
def test_a_live_holder_keeps_its_lock(backend: Backend, pool: StoragePool, host: int) -> None:
    wanted = disk(uid())
    pool.ensure_disk(wanted)
    client = backend.open(wanted.image, host=host, lock=True)
    pool.break_dead_locks(wanted.image, own_addresses=pool.addresses())
    assert [each.address for each in pool.watchers(wanted.image)] == [backend.addresses[host]]
    client.close()


def test_a_dead_holder_of_another_host_is_left_alone(backend: Backend, pool: StoragePool) -> None:
    wanted = disk(uid())
    pool.ensure_disk(wanted)
    backend.open(wanted.image, host=1, lock=True).kill()
    pool.break_dead_locks(wanted.image, own_addresses=pool.addresses())
    assert [each.address for each in pool.watchers(wanted.image)] == [backend.addresses[1]]
    pool.break_dead_locks("disk-none", own_addresses=pool.addresses())
