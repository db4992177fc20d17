# SPDX-License-Identifier: Apache-2.0
"""The start rule: every single word of kube-apiserver and of Ceph that refuses a start."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from nopal_api.kinds import DISK, SECRET, VIRTUAL_MACHINE
from nopal_api.names import MANAGER_ASSIGNMENT, MANAGER_NODE, disk_image
from nopal_api.zone import Zone
from nopal_node.guest_steps import GuestSteps
from nopal_node.host_state import HostState, Registration
from nopal_node.hypervisor.fake import FakeHypervisor
from nopal_node.hypervisor.fake_host import FakeHostState
from nopal_node.network.fake import FakeNetwork
from nopal_node.pools import Pools
from nopal_node.reconcile import steps as do
from nopal_node.settings import Settings
from nopal_node.storage.fake import FakePool
from nopal_node.storage.fake_cluster import FakeCluster
from nopal_node.storage.ownership import Ownership
from nopal_node.virtual_machines import view_of
from nopal_runtime.errors import NopalError, TransientError
from nopal_runtime.kube.cache import ObjectCache, make_record
from nopal_runtime.kube.fake import FakeKube
from nopal_runtime.kube.status import StatusWriter
from support import objects
from support.nodeplan import NODE, OTHER, assignment
from support.simulation import InlineThreads

NAMESPACE, EPOCH = "default", 3


@dataclass
class Host:
    """A host with a VM that is assigned to it, and a disk that is claimed for that."""

    kube: FakeKube
    cluster: FakeCluster
    state: HostState
    steps: GuestSteps

    async def run(self, step: type[Any]) -> None:
        """Carry out one step, for the disk if it is about one."""
        disk = self.steps.view.status.assignment.disks[0]  # type: ignore[union-attr]
        about_disk = "disk" in step.__dataclass_fields__
        await self.steps.run(step(disk) if about_disk else step())

    async def tell(self, kind: Any, name: str, status: dict[str, Any], manager: str) -> None:
        """Write a status over the one that is there."""
        body = self.kube.see(kind, name, NAMESPACE)
        assert body is not None
        await self.kube.apply_status(
            kind,
            namespace=NAMESPACE,
            name=name,
            manager=manager,
            resource_version=body["metadata"]["resourceVersion"],
            status=status,
        )

    async def assign(self, **more: Any) -> None:
        """Write the VM's assignment."""
        status = {"assignment": assignment(**{"epoch": EPOCH, "disks": [self.disk], **more})}
        await self.tell(VIRTUAL_MACHINE, "vm1", status, MANAGER_ASSIGNMENT)

    async def claim(self, **more: Any) -> None:
        """Write the disk's claim."""
        claim = {"vmName": "vm1", "vmUID": self.uid, "nodeName": NODE, "epoch": EPOCH, **more}
        status = {"location": self.disk["location"], "claim": claim}
        await self.tell(DISK, "disk1", status, MANAGER_ASSIGNMENT)

    @property
    def uid(self) -> str:
        """The VM's UID."""
        return uid_of(self.kube, VIRTUAL_MACHINE, "vm1")

    @property
    def disk(self) -> dict[str, Any]:
        """The disk as it is assigned."""
        uid = uid_of(self.kube, DISK, "disk1")
        where = {"fsid": objects.FSID, "pool": "vms", "image": disk_image(uid)}
        return {
            "name": "root", "diskName": "disk1", "uid": uid, "location": where, "size": 2**30
        }  # fmt: skip


def uid_of(kube: FakeKube, kind: Any, name: str) -> str:
    body = kube.see(kind, name, NAMESPACE)
    assert body is not None
    return str(body["metadata"]["uid"])


async def host() -> Host:
    kube, cluster, threads = FakeKube(), FakeCluster(), InlineThreads()
    key = {NODE: base64.b64encode(b"key").decode()}
    kube.put(SECRET, {"metadata": {"name": "ceph", "namespace": "nopal-system"}, "data": key})
    kube.put(VIRTUAL_MACHINE, objects.vm())
    kube.put(DISK, objects.disk())
    pools = Pools(
        node_name=NODE,
        kube=kube,
        connect=lambda access: FakePool(cluster, pool=access.pool),
        threads=threads,
    )
    pools.use_zone("z1", Zone.model_validate(objects.zone()))
    cache = ObjectCache()
    state = HostState(
        settings=Settings(node_name=NODE),
        kube=kube,
        cache=cache,
        writer=StatusWriter(kube, cache),
        hypervisor=FakeHypervisor(FakeHostState()),
        network=FakeNetwork(),
        pools=pools,
        threads=threads,
        lease_fresh=lambda: True,
        mark=lambda _key, _delay: None,
        clock=asyncio.get_running_loop().time,
        wall=lambda: "2026-01-01T00:00:00Z",
        registered=Registration(cluster_uid="cluster", host_uid="host"),
    )
    made = Host(kube, cluster, state, steps=None)  # type: ignore[arg-type]
    await made.assign()
    await made.claim()
    body = kube.see(VIRTUAL_MACHINE, "vm1", NAMESPACE)
    assert body is not None
    made.steps = GuestSteps(state, view_of(make_record(VIRTUAL_MACHINE, body)))
    return made


async def other_node(it: Host) -> None:
    await it.assign(node=OTHER)


async def other_epoch(it: Host) -> None:
    await it.assign(epoch=EPOCH + 1)


async def no_assignment(it: Host) -> None:
    await it.tell(VIRTUAL_MACHINE, "vm1", {"power": "Stopped"}, MANAGER_NODE)
    await it.tell(VIRTUAL_MACHINE, "vm1", {}, MANAGER_ASSIGNMENT)


async def stopped(it: Host) -> None:
    it.kube.put(VIRTUAL_MACHINE, objects.vm(powerState="Stopped"))


async def deleted(it: Host) -> None:
    it.kube.remove(VIRTUAL_MACHINE, "vm1", NAMESPACE)


async def gone(it: Host) -> None:
    it.kube.strip_finalizers(VIRTUAL_MACHINE, "vm1", NAMESPACE)
    it.kube.remove(VIRTUAL_MACHINE, "vm1", NAMESPACE)


async def a_namesake(it: Host) -> None:
    await gone(it)
    it.kube.put(VIRTUAL_MACHINE, objects.vm())
    await it.assign()


async def released(it: Host) -> None:
    await it.tell(VIRTUAL_MACHINE, "vm1", {"releasedEpoch": EPOCH}, MANAGER_NODE)


async def a_late_lease(it: Host) -> None:
    it.steps = replace(it.steps, state=replace(it.state, lease_fresh=lambda: False))


async def no_host_object(it: Host) -> None:
    it.state.registered.host_uid = ""


async def no_answer(it: Host) -> None:
    async def fail(_call: Any) -> None:
        raise TransientError("ApiUnavailable", "no answer")

    it.kube.hooks.append(fail)


Breach = Callable[[Host], Awaitable[None]]
REFUSALS: dict[Breach, str] = {
    other_node: "AssignmentChanged",
    other_epoch: "AssignmentChanged",
    no_assignment: "AssignmentChanged",
    stopped: "AssignmentChanged",
    deleted: "AssignmentChanged",
    gone: "AssignmentChanged",
    a_namesake: "AssignmentChanged",
    released: "AssignmentChanged",
    a_late_lease: "LeaseNotFresh",
    no_host_object: "NotRegistered",
    no_answer: "ApiUnavailable",
}


async def refusal(it: Host, step: type[Any]) -> str:
    with pytest.raises(NopalError) as caught:
        await it.run(step)
    return caught.value.reason


async def test_nothing_speaks_against_a_start() -> None:
    it = await host()
    for step in (do.ConfirmAssignment, do.EnsureDisk, do.ClaimEpoch, do.RefuseWatchers):
        await it.run(step)
    await it.run(do.ConfirmDisk)
    await it.run(do.StartDomain)
    assert it.state.hypervisor.domain(it.uid) is not None


@pytest.mark.parametrize("breach", REFUSALS, ids=lambda b: str(b.__name__))
async def test_an_assignment_that_is_another_by_now(breach: Breach) -> None:
    it = await host()
    await breach(it)
    assert await refusal(it, do.ConfirmAssignment) == REFUSALS[breach]


@pytest.mark.parametrize("breach", REFUSALS, ids=lambda b: str(b.__name__))
async def test_the_very_last_read_before_the_start(breach: Breach) -> None:
    it = await host()
    for step in (do.EnsureDisk, do.ClaimEpoch):
        await it.run(step)
    await breach(it)
    assert await refusal(it, do.StartDomain) == REFUSALS[breach]
    assert it.state.hypervisor.domains() == {}


CLAIMS = [{"vmUID": "other"}, {"nodeName": OTHER}, {"epoch": EPOCH - 1}, {"epoch": EPOCH + 1}]


@pytest.mark.parametrize("step", [do.EnsureDisk, do.ConfirmDisk])
@pytest.mark.parametrize("claim", CLAIMS, ids=str)
async def test_a_claim_that_is_another(step: type[Any], claim: dict[str, Any]) -> None:
    it = await host()
    await it.run(do.EnsureDisk)
    await it.run(do.ClaimEpoch)
    await it.claim(**claim)
    assert await refusal(it, step) == "DiskNotClaimed"


async def test_a_disk_that_is_another_by_now() -> None:
    it = await host()
    it.kube.strip_finalizers(DISK, "disk1", NAMESPACE)
    it.kube.remove(DISK, "disk1", NAMESPACE)
    assert await refusal(it, do.EnsureDisk) == "DiskNotFound"
    it.kube.put(DISK, objects.disk())
    assert await refusal(it, do.EnsureDisk) == "DiskNotFound"
    assert it.cluster.pools.get(("vms", "")) is None  # nothing was made


async def test_an_image_that_is_lost() -> None:
    it = await host()
    await it.tell(DISK, "disk1", {"size": str(2**30)}, MANAGER_NODE)
    assert await refusal(it, do.EnsureDisk) == "DataLost"


@pytest.mark.parametrize(
    ("epoch", "step"),
    [(EPOCH + 1, do.ClaimEpoch), (EPOCH + 1, do.ConfirmDisk), (1, do.ConfirmDisk)],
)
async def test_an_image_of_another_epoch(epoch: int, step: type[Any]) -> None:
    it = await host()
    await it.run(do.EnsureDisk)
    await it.run(do.ClaimEpoch)
    image = it.cluster.image(it.disk["location"]["image"], pool="vms")
    image.ownership = Ownership(it.disk["uid"], epoch=epoch)
    assert await refusal(it, step) == "OwnershipUnclear"


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.9"], ids=["this host", "another"])
async def test_somebody_who_has_the_image_open(address: str) -> None:
    it = await host()
    await it.run(do.EnsureDisk)
    client = it.cluster.open(it.disk["location"]["image"], address=address, pool="vms")
    assert await refusal(it, do.RefuseWatchers) == "ForeignWatcher"
    it.cluster.close(client)
    await it.run(do.RefuseWatchers)
