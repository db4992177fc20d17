# SPDX-License-Identifier: Apache-2.0
"""A status that is there already is not written again, by nobody, after no restart."""

from collections.abc import Mapping
from typing import Any

import pytest

from nopal_api.base import ApiModel
from nopal_api.conditions import condition
from nopal_api.disk import DiskStatus
from nopal_api.host import HostNetwork, HostStatus, HostVersions
from nopal_api.image import ImagePool, ImageStatus
from nopal_api.kinds import DISK, HOST, IMAGE, VIRTUAL_MACHINE, ZONE, Kind
from nopal_api.placement import PlacementRule, PlacementRules
from nopal_api.selectors import NodeSelector
from nopal_api.shared import Executor, Location, Resources, VmClaim
from nopal_api.virtualmachine import (
    AssignedDisk,
    AssignedInterface,
    Assignment,
    LastExit,
    VirtualMachineStatus,
)
from nopal_api.zone import HostCount, ZoneStatus
from nopal_runtime.errors import ConflictError
from nopal_runtime.kube.api import Body
from nopal_runtime.kube.cache import ObjectCache, Record, make_record
from nopal_runtime.kube.status import StatusWriter
from support import objects

from .conftest import World

LOCATION = Location(fsid=objects.FSID, pool="vms", image="disk-1")
READY = condition("Ready", True, reason="Running", message="fine", generation=1)
BARE = Assignment(node_name="node-1", epoch=1, cores=1, memory=2**30)
FULL = Assignment(
    node_name="node-1",
    epoch=2,
    cores=1,
    memory=2**30,
    disks=(
        AssignedDisk(name="root", disk_name="d", uid="u1", location=LOCATION, size=1),
        AssignedDisk(name="data", disk_name="e", uid="u2", location=LOCATION, size=1, boot_order=1),
    ),
    interfaces=(
        AssignedInterface(name="lan", network="lan", bridge="br0", mac="02:00:00:00:00:01"),
    ),
    cpu_features=("avx2", "sse4.2"),
    resources={"example.com/licence": 2},
    labels={"app": "db", "example.com/tier": ""},
    rules=PlacementRules(
        node_selector=NodeSelector(match_labels={"example.com/disk": "nvme"}),
        anti_affinity=(PlacementRule(match_labels={"app": "db"}, topology_key="rack", weight=7),),
    ),
    host_loss="Leave",
)

STATUSES: list[tuple[Kind, dict[str, Any], ApiModel]] = [
    (VIRTUAL_MACHINE, objects.vm(), VirtualMachineStatus(assignment=BARE)),
    (VIRTUAL_MACHINE, objects.vm(), VirtualMachineStatus(assignment=FULL, conditions=(READY,))),
    (
        VIRTUAL_MACHINE,
        objects.vm(),
        VirtualMachineStatus(
            power="Running",
            restart_count=0,
            last_exit=LastExit(reason="Crashed", time="2026-01-01T00:00:00Z"),
            conditions=(READY, condition("DisksReady", False, reason="PoolFull")),
        ),
    ),
    (
        DISK,
        objects.disk(),
        DiskStatus(
            location=LOCATION,
            executor=Executor(node_name="node-1", epoch=1),
            claim=VmClaim(vm_name="v", vm_uid="u", node_name="node-1", epoch=1),
        ),
    ),
    (
        IMAGE,
        objects.image(),
        ImageStatus(
            pools=(
                ImagePool(zone="z1", pool="main", location=LOCATION),
                ImagePool(zone="z2", pool="main", state="Fetching", progress_percent=5),
            )
        ),
    ),
    (
        HOST,
        objects.host(),
        HostStatus(
            capacity=Resources(cpu=4, memory="8Gi"),
            versions=HostVersions(libvirt="9.0.0"),
            cpu_features=("avx2", "sse4.2"),
            ceph_addresses=("10.0.0.1", "10.0.0.2"),
            networks=(HostNetwork(name="lan", bridge="br0", mtu=1500, ready="True"),),
            conditions=(READY,),
        ),
    ),
    (
        ZONE,
        objects.zone(),
        ZoneStatus(hosts=HostCount(total=2, ready=1), allocated=Resources(), conditions=(READY,)),
    ),
]
IDS = [f"{kind}-{i}" for i, (kind, _, _) in enumerate(STATUSES)]


class Writer:
    """A process that has just started, with the object as it is now."""

    def __init__(self, world: World, kind: Kind, body: Body) -> None:
        self.world, self.kind, self.body = world, kind, body
        self.clock = "2026-01-01T00:00:00Z"

    async def write(
        self, status: ApiModel | Mapping[str, Any], manager: str = "test/a"
    ) -> tuple[Record, bool]:
        """Write with a new StatusWriter and an empty cache; tell whether the object changed."""
        before = make_record(self.kind, await self.world.read(self.kind, self.body))
        calls = Counter(self.world)
        writer = StatusWriter(self.world.api, ObjectCache(), now=lambda: self.clock)
        record = await writer.write(before, manager=manager, status=status)
        return record, calls.writes() > 0


class Counter:
    """Counts the applies that the API boundary sees from now on."""

    def __init__(self, world: World) -> None:
        self._count = 0
        inner = world.api.apply_status

        async def counted(*args: Any, **kwargs: Any) -> Body:
            self._count += 1
            return await inner(*args, **kwargs)

        world.api.apply_status = counted  # type: ignore[method-assign]

    def writes(self) -> int:
        return self._count


@pytest.mark.parametrize(("kind", "body", "status"), STATUSES, ids=IDS)
async def test_written_once(
    world: World, kind: Kind, body: dict[str, Any], status: ApiModel
) -> None:
    process = Writer(world, kind, await world.make(kind, body))
    first, wrote = await process.write(status)
    assert wrote
    process.clock = "2026-01-02T00:00:00Z"
    second, wrote = await process.write(status)
    assert not wrote
    assert second.resource_version == first.resource_version


async def test_another_managers_words_do_not_matter(world: World) -> None:
    process = Writer(world, VIRTUAL_MACHINE, await world.make(VIRTUAL_MACHINE, objects.vm()))
    mine = VirtualMachineStatus(power="Running", conditions=(READY,))
    await process.write(mine)
    _, wrote = await process.write(VirtualMachineStatus(assignment=FULL), "test/b")
    assert wrote
    assert not (await process.write(mine))[1]


async def test_a_field_less_is_written(world: World) -> None:
    process = Writer(world, VIRTUAL_MACHINE, await world.make(VIRTUAL_MACHINE, objects.vm()))
    await process.write(VirtualMachineStatus(power="Running", restart_count=1))
    record, wrote = await process.write(VirtualMachineStatus(power="Running"))
    assert wrote
    assert "restartCount" not in record.body["status"]


async def test_what_another_took_is_taken_back(world: World) -> None:
    process = Writer(world, VIRTUAL_MACHINE, await world.make(VIRTUAL_MACHINE, objects.vm()))
    mine = VirtualMachineStatus(power="Running", conditions=(READY,))
    await process.write(mine)
    unknown = condition("Ready", "Unknown", reason="HostUnreachable")
    await process.write({"conditions": [unknown.wire()]}, "test/b")
    record, wrote = await process.write(mine)
    assert wrote
    assert record.body["status"]["conditions"][0]["status"] == "True"
    # The other still shares what both said alike: giving that up is one write, and then none.
    record, wrote = await process.write({}, "test/b")
    assert wrote
    assert record.body["status"]["conditions"][0]["status"] == "True"
    assert not (await process.write({}, "test/b"))[1]
    assert not (await process.write(mine))[1]


async def test_a_condition_keeps_its_time_while_its_status_stays(world: World) -> None:
    process = Writer(world, VIRTUAL_MACHINE, await world.make(VIRTUAL_MACHINE, objects.vm()))
    await process.write(VirtualMachineStatus(conditions=(READY,)))
    process.clock = "2026-01-02T00:00:00Z"
    other = READY.model_copy(update={"message": "better"})
    record, wrote = await process.write(VirtualMachineStatus(conditions=(other,)))
    assert wrote
    assert record.body["status"]["conditions"][0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    worse = READY.model_copy(update={"status": "False"})
    record, _ = await process.write(VirtualMachineStatus(conditions=(worse,)))
    assert record.body["status"]["conditions"][0]["lastTransitionTime"] == "2026-01-02T00:00:00Z"


async def test_from_an_old_version_nothing_is_written(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    old = make_record(VIRTUAL_MACHINE, made)
    await world.apply(VIRTUAL_MACHINE, made, "test/b", {"power": "Running"})
    writer = StatusWriter(world.api, ObjectCache())
    with pytest.raises(ConflictError):
        await writer.write(old, manager="test/a", status=VirtualMachineStatus(restart_count=1))


async def test_the_cache_learns_what_was_written(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    cache = ObjectCache()
    cache.offer(VIRTUAL_MACHINE, made)
    record = cache.all(VIRTUAL_MACHINE)[0]
    written = await StatusWriter(world.api, cache).write(
        record, manager="test/a", status=VirtualMachineStatus(restart_count=1)
    )
    known = cache.get(record.key)
    assert known is not None
    assert known.resource_version == written.resource_version != record.resource_version
