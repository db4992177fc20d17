# SPDX-License-Identifier: Apache-2.0
"""What only real Ceph can show: keys and their limits, blocklists, connections that die."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

import pytest

from nopal_node.storage.base import DiskImage, ImageParent, Imported, PoolAccess
from nopal_node.storage.ceph import CephPool
from nopal_node.storage.ownership import EPOCH
from nopal_node.storage.staging import Staging, Writer
from nopal_runtime.ceph.caps import host_caps
from nopal_runtime.ceph.connection import CephAccess, CephConnection
from nopal_runtime.ceph.kept import KeptConnections
from nopal_runtime.errors import NotFoundError, TerminalError, TransientError
from support.disks import disk as disk_of
from support.fileserver import content, file_server
from support.storage import MIB, CephBackend, image_job, uid

pytestmark = pytest.mark.real


def disk() -> DiskImage:
    return disk_of(uid(), size=4 * MIB)


def connection(ceph: CephBackend, host: int = 0) -> CephConnection:
    access = ceph.access(host)
    return CephConnection(
        CephAccess(fsid=access.fsid, monitors=access.monitors, user=access.user, key=access.key)
    )


def opened(access: PoolAccess, **settings: Any) -> CephPool:
    return CephPool(access, connections=KeptConnections(), **settings)


def test_disks_have_the_features_of_the_design(ceph: CephBackend) -> None:
    wanted = disk()
    ceph.pool().ensure_disk(wanted)
    info = json.loads(ceph.ceph.rbd("info", f"{ceph.POOL}/{wanted.image}", "--format", "json"))
    assert set(info["features"]) == {
        "layering",
        "exclusive-lock",
        "object-map",
        "fast-diff",
        "deep-flatten",
    }


def test_how_copies_are_kept_as_a_hosts_own_key_may_ask(ceph: CephBackend) -> None:
    """`allow r` for the monitors is all that a host has."""
    told = ceph.pool().redundancy()
    detail = json.loads(ceph.ceph.ceph("osd", "pool", "ls", "detail", "-f", "json"))
    pool = next(each for each in detail if each["pool_name"] == ceph.POOL)
    assert (told.size, told.min_size) == (pool["size"], pool["min_size"])
    assert (told.failure_domain, told.domains, told.copies_together) == ("host", 3, 1)
    assert len(told.shares) == 3
    assert sum(told.shares) == pytest.approx(1.0)
    assert 0 < told.raw_used < told.raw_total


async def test_two_hosts_that_remove_the_same_build_only_have_to_try_again(
    ceph: CephBackend,
) -> None:
    """The slower one is told ESTALE, now and then: a race, so it is run some times."""
    hosts = ceph.pool(0), ceph.pool(1)
    for _ in range(20):
        owner = uid()
        image = f"image-{owner}"
        ceph.plant(f"{image}.1", MIB)
        for told in await asyncio.gather(
            *(asyncio.to_thread(each.delete_source, image, owner_uid=owner) for each in hosts),
            return_exceptions=True,
        ):
            may_try_again = isinstance(told, TransientError) and told.reason == "ImageInUse"
            assert told is None or may_try_again, repr(told)
        hosts[0].delete_source(image, owner_uid=owner)
        assert ceph.left_of(image) == []


class EachWaits:
    """Every call of a pool first waits for the event loop to turn; notes which waited in vain."""

    def __init__(self, inner: Staging | Writer, ticked: Event, stuck: dict[str, bool]) -> None:
        self._inner, self._ticked, self._stuck = inner, ticked, stuck

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*args: object, **more: object) -> object:
            self._ticked.clear()
            if not any(self._stuck.values()):  # once is enough to know
                self._stuck[name] = not self._ticked.wait(30)
            made = getattr(self._inner, name)(*args, **more)
            return EachWaits(made, self._ticked, self._stuck) if name == "create" else made

        return call


async def test_the_event_loop_never_waits_for_the_pool(ceph: CephBackend) -> None:
    data, pool = b"x" * 6 * MIB, ceph.pool()
    ticked, stuck = Event(), dict[str, bool]()
    importer = pool._importer  # type: ignore[attr-defined]
    importer._staging = EachWaits(importer._staging, ticked, stuck)

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.01)
            ticked.set()

    ticking = asyncio.create_task(tick())
    async with file_server() as server:
        job = image_job(server.serve("/raw", content(data)), data, format="raw")
        await pool.fetch(job, progress=lambda _: None)
    ticking.cancel()
    calls = ("finished", "clean", "create", "write", "finish", "close", "publish")
    assert stuck == dict.fromkeys(calls, False)


async def test_what_is_being_published_keeps_its_snapshot(
    ceph: CephBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rbd

    data, pool = b"x" * MIB, ceph.pool()
    newer = ceph.pool()._importer._staging  # type: ignore[attr-defined]

    class AfterAClean(rbd.RBD):
        def rename(self, *args: Any) -> None:
            newer.clean(replace(job, epoch=2))
            super().rename(*args)

    monkeypatch.setattr(rbd, "RBD", AfterAClean)
    async with file_server() as server:
        job = image_job(server.serve("/raw", content(data)), data, format="raw")
        done = await pool.fetch(job, progress=lambda _: None)
    assert done == newer.finished(job) == Imported(size=MIB, snapshot="nopal")


async def test_a_clone_made_half_does_not_inherit_its_parents_owner(ceph: CephBackend) -> None:
    """Librbd copies the parent's metadata into a clone."""
    data = b"x" * MIB
    pool = ceph.pool()
    async with file_server() as server:
        job = image_job(server.serve("/raw", content(data)), data, format="raw")
        await pool.fetch(job, progress=lambda _: None)
    wanted = replace(disk(), parent=ImageParent(ceph.POOL, "", job.image, "nopal"))
    half = ["clone", "--rbd-default-clone-format", "2", f"{ceph.POOL}/{job.image}@nopal"]
    ceph.ceph.rbd(*half, f"{ceph.POOL}/{wanted.image}")
    copied = ceph.ceph.rbd("image-meta", "ls", f"{ceph.POOL}/{wanted.image}")
    assert job.owner_uid in copied
    found = pool.info(wanted.image)
    assert found is not None
    assert found.owner_uid == ""
    made = pool.ensure_disk(wanted)
    assert (made.owner_uid, made.size) == (wanted.owner_uid, 4 * MIB)


def test_a_broken_locks_holder_is_shut_out_for_years(ceph: CephBackend) -> None:
    pool, wanted = ceph.pool(), disk()
    pool.ensure_disk(wanted)
    client = ceph.open(wanted.image, lock=True)
    instance = json.loads(
        ceph.ceph.rbd("lock", "ls", f"{ceph.POOL}/{wanted.image}", "--format", "json")
    )[0]["address"]
    client.kill()
    pool.break_dead_locks(wanted.image, own_addresses=pool.addresses())
    entries = json.loads(ceph.ceph.ceph("osd", "dump", "-f", "json"))["blocklist"]
    assert int(entries[instance][:4]) >= datetime.now(UTC).year + 4


@pytest.mark.parametrize("what", ["0/0", "other", "range"])
def test_a_host_can_shut_out_only_its_own_instances(ceph: CephBackend, what: str) -> None:
    own, other = ceph.addresses
    instance = {"0/0": f"{own}:0/0", "other": f"{other}:0/123", "range": f"{own}/24"}[what]
    kept = connection(ceph)
    with pytest.raises(TerminalError, match="AccessDenied"):
        kept.blocklist(instance)
    kept.blocklist(f"{own}:0/4294967290")
    kept.close()


def test_ipv6_addresses_are_held_to_as_well(ceph: CephBackend) -> None:
    access = ceph.access()
    caps = host_caps(addresses=["fd00::1"], pools=[(ceph.POOL, "")])
    key = ceph.ceph.user_key("client.nopal.ipv6", caps)
    kept = CephConnection(CephAccess(access.fsid, access.monitors, "nopal.ipv6", key))
    kept.blocklist("[fd00::1]:0/77")
    for refused in ("[fd00::1]:0/0", "[fd00::2]:0/77", "[fd00::11]:0/77"):
        with pytest.raises(TerminalError, match="AccessDenied"):
            kept.blocklist(refused)
    kept.close()


@pytest.mark.parametrize(
    "command",
    [
        {"prefix": "auth ls"},
        {"prefix": "auth get-key", "entity": "client.admin"},
        {"prefix": "osd blocklist", "blocklistop": "rm", "addr": "10.0.0.1:0/1"},
        {"prefix": "osd pool delete", "pool": "storage-test"},
        {"prefix": "config-key get", "key": "x"},
    ],
    ids=lambda command: command["prefix"],
)
def test_a_hosts_key_is_no_admin(ceph: CephBackend, command: dict[str, str]) -> None:
    kept = connection(ceph)
    with pytest.raises(TerminalError, match="AccessDenied"):
        kept.command(**command)
    kept.close()


def test_a_hosts_key_reaches_no_other_pool(ceph: CephBackend) -> None:
    pool = opened(replace(ceph.access(), pool="nopal"))
    with pytest.raises(TerminalError, match="AccessDenied"):
        pool.info("disk-x")
    with pytest.raises(TerminalError, match="AccessDenied"):
        pool.check()
    pool.close()


def test_check_names_what_is_wrong(ceph: CephBackend) -> None:
    good = ceph.access()
    bad = {
        "WrongCluster": replace(good, fsid="11111111-1111-4111-8111-111111111111"),
        "AccessDenied": replace(good, key=ceph.keys[1]),
    }
    for reason, access in bad.items():
        pool = opened(access)
        with pytest.raises(TerminalError) as refused:
            pool.check()
        assert refused.value.reason == reason
        pool.close()
    for absent in (replace(good, pool="no-such"), replace(good, namespace="no-such")):
        pool = opened(absent)
        with pytest.raises(TerminalError, match="PoolNotFound"):
            pool.check()
        pool.close()
    unknown = opened(replace(good, user="nopal.nobody"))
    with pytest.raises(TerminalError, match="AccessDenied"):
        unknown.check()
    unknown.close()


def test_monitors_that_do_not_answer_cost_bounded_time(ceph: CephBackend) -> None:
    pool = opened(replace(ceph.access(), monitors=("192.0.2.254:6789",)), connect_seconds=2)
    with pytest.raises(TransientError, match="StorageUnreachable"):
        pool.info("disk-x")
    pool.close()


def test_a_blocklisted_connection_is_replaced(ceph: CephBackend) -> None:
    pool, wanted = ceph.pool(), disk()
    pool.ensure_disk(wanted)
    kept = pool._pool.connection  # type: ignore[attr-defined]
    with kept.cluster("test") as handle:
        before, instance = handle.get_instance_id(), handle.get_addrs().split("v1:")[-1]
    ceph.ceph.ceph("osd", "blocklist", "add", instance)

    def until_noticed() -> None:
        for _ in range(100):
            pool.ensure_disk(disk())

    with pytest.raises(TransientError, match="StorageUnreachable"):
        until_noticed()
    assert pool.ensure_disk(wanted).owner_uid == wanted.owner_uid
    assert kept.instance_id() != before


def test_pools_of_one_user_share_a_connection(ceph: CephBackend) -> None:
    connections = KeptConnections()
    pools = [CephPool(ceph.access(), connections=connections) for _ in range(3)]
    assert len({pool._pool.connection.instance_id() for pool in pools}) == 1
    pools[0].close()
    pools[0].close()
    pools[1].check()
    for pool in pools:
        pool.close()


def test_rights_that_were_widened_count_without_a_restart(ceph: CephBackend) -> None:
    def rights(*pools: str) -> str:
        caps = host_caps(addresses=[ceph.addresses[0]], pools=[(pool, "") for pool in pools])
        return ceph.ceph.user_key("client.nopal.widened", caps)

    connections = KeptConnections()
    access = replace(ceph.access(), user="nopal.widened", key=rights("nopal"))
    first = CephPool(replace(access, pool="nopal"), connections=connections)
    second = CephPool(access, connections=connections)
    first.check()
    with pytest.raises(TerminalError, match="AccessDenied"):
        second.check()
    rights("nopal", ceph.POOL)
    second.check()
    first.check()
    first.close()
    second.close()


def test_a_namespace_keeps_images_apart(ceph: CephBackend) -> None:
    if "apart" not in ceph.ceph.rbd("namespace", "ls", ceph.POOL):
        ceph.ceph.rbd("namespace", "create", f"{ceph.POOL}/apart")
    caps = host_caps(addresses=[ceph.addresses[0]], pools=[(ceph.POOL, "apart")])
    key = ceph.ceph.user_key("client.nopal.apart", caps)
    access = replace(ceph.access(), namespace="apart", user="nopal.apart", key=key)
    inside, wanted = opened(access), disk()
    inside.check()
    inside.ensure_disk(wanted)
    assert inside.info(wanted.image) is not None
    assert ceph.pool().info(wanted.image) is None
    inside.claim_epoch(wanted.image, owner_uid=wanted.owner_uid, epoch=1)
    inside.delete(wanted.image, owner_uid=wanted.owner_uid)
    inside.close()
    outside = opened(replace(access, namespace=""))
    with pytest.raises(TerminalError, match="AccessDenied"):
        outside.info("disk-x")
    outside.close()


def test_an_entry_without_a_value_is_as_good_as_none(ceph: CephBackend) -> None:
    wanted = disk()
    ceph.pool().ensure_disk(wanted)
    ceph.set_metadata(wanted.image, EPOCH, "")
    assert ceph.pool().epoch(wanted.image) == 0
    ceph.pool().claim_epoch(wanted.image, owner_uid=wanted.owner_uid, epoch=2)
    assert ceph.pool().epoch(wanted.image) == 2


def test_a_remnant_of_librbds_own_create_is_removed(ceph: CephBackend) -> None:
    """A name that is taken although no image can be opened, as kill -9 in rbd create leaves it."""
    wanted = disk()
    ceph.plant(wanted.image, MIB)
    ceph.cut_header(wanted.image)
    assert ceph.pool().epoch(wanted.image) is None
    with pytest.raises(NotFoundError):
        ceph.pool().claim_epoch(wanted.image, owner_uid=wanted.owner_uid, epoch=1)
    assert ceph.pool().ensure_disk(wanted).owner_uid == wanted.owner_uid
