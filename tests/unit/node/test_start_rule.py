# SPDX-License-Identifier: Apache-2.0
"""The start rule: every single word of kube-apiserver and of Ceph that refuses a start."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from nopal_api.kinds import DISK, VIRTUAL_MACHINE
from nopal_api.names import MANAGER_ASSIGNMENT, MANAGER_NODE
from nopal_node.reconcile import steps as do
from nopal_node.storage.ownership import Ownership
from nopal_runtime.errors import NopalError, TransientError
from support import objects
from support.nodehost import EPOCH, NAMESPACE, Host, host
from support.nodeplan import OTHER


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
