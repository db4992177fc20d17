# SPDX-License-Identifier: Apache-2.0
"""The Disks of a host: what is made, removed and released is decided on fresh reads."""

from typing import Any

import pytest

from nopal_api.kinds import DISK, VIRTUAL_MACHINE
from nopal_api.names import MANAGER_ASSIGNMENT, MANAGER_NODE, seed_image
from nopal_node.disks import Disks
from nopal_node.reconcile import steps as do
from nopal_runtime.errors import NopalError
from nopal_runtime.kube.api import Key
from support.nodehost import EPOCH, NAMESPACE, Host, host
from support.nodeplan import NODE, OTHER

KEY = Key(DISK.kind, NAMESPACE, "disk1")


async def known(it: Host) -> None:
    """Have the daemon know what there is now."""
    for kind in (DISK, VIRTUAL_MACHINE):
        it.state.cache.sync(kind, await it.kube.list(kind))


async def executor(it: Host, *, node: str = NODE, **more: Any) -> None:
    status = {"location": it.disk["location"], "executor": {"nodeName": node, "epoch": EPOCH}}
    await it.tell(DISK, "disk1", {**status, **more}, MANAGER_ASSIGNMENT)


async def vanished() -> Host:
    """A VM ran here, and its object was removed by hand."""
    it = await host()
    claim = {"vmName": "vm1", "vmUID": it.uid, "nodeName": NODE, "epoch": EPOCH}
    await executor(it, claim=claim)
    await it.run(do.EnsureDisk)
    await it.tell(DISK, "disk1", {"size": str(2**30)}, MANAGER_NODE)
    return it


def vanish(it: Host) -> None:
    it.kube.strip_finalizers(VIRTUAL_MACHINE, "vm1", NAMESPACE)
    it.kube.remove(VIRTUAL_MACHINE, "vm1", NAMESPACE)


def status(it: Host) -> dict[str, Any]:
    body = it.kube.see(DISK, "disk1", NAMESPACE)
    assert body is not None
    found: dict[str, Any] = body["status"]
    return found


def images(it: Host) -> set[str]:
    pool = it.cluster.pools.get(("vms", ""))
    return set(pool.images) if pool else set()


async def reason(it: Host) -> str:
    with pytest.raises(NopalError) as caught:
        await Disks(it.state).reconcile(KEY)
    return caught.value.reason


async def test_a_free_disk_is_made_and_told() -> None:
    it = await host()
    await executor(it)
    await known(it)
    await Disks(it.state).reconcile(KEY)
    assert images(it) == {it.disk["location"]["image"]}
    assert status(it)["size"] == str(2**30)


async def test_a_disk_whose_vm_is_not_seen_here_yet_costs_one_read_of_each() -> None:
    """The claim is written before the assignment: the VM is not in this host's selection yet."""
    it = await host()
    claim = {"vmName": "vm1", "vmUID": it.uid, "nodeName": NODE, "epoch": EPOCH}
    await executor(it, claim=claim)
    it.state.cache.sync(DISK, await it.kube.list(DISK))
    await it.state.pools.default()  # the key of the pool is known
    it.kube.calls.clear()
    await Disks(it.state).reconcile(KEY)
    reads = [call.kind for call in it.kube.calls if call.verb == "get"]
    assert reads == [VIRTUAL_MACHINE.kind, DISK.kind]
    assert len(images(it)) == 1


async def test_a_stale_cache_makes_no_image_for_a_disk_that_is_gone() -> None:
    it = await host()
    await executor(it)
    await known(it)
    it.kube.strip_finalizers(DISK, "disk1", NAMESPACE)
    it.kube.remove(DISK, "disk1", NAMESPACE)
    await Disks(it.state).reconcile(KEY)
    assert images(it) == set()


@pytest.mark.parametrize("deleting", [False, True])
async def test_a_stale_cache_does_nothing_for_a_disk_that_is_another_hosts_by_now(
    deleting: bool,
) -> None:
    it = await host()
    await executor(it)
    if deleting:
        it.kube.remove(DISK, "disk1", NAMESPACE)
    await known(it)
    await executor(it, node=OTHER)
    await Disks(it.state).reconcile(KEY)
    assert images(it) == set()
    assert "deletedEpoch" not in status(it)


async def test_another_content_under_a_known_version_is_what_counts() -> None:
    """After a restore of etcd, resourceVersions are given a second time."""
    it = await host()
    await executor(it)
    await known(it)
    old = it.kube.see(DISK, "disk1", NAMESPACE)
    await executor(it, node=OTHER)
    now = it.kube.see(DISK, "disk1", NAMESPACE)
    assert old is not None
    assert now is not None
    old["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"]
    assert it.state.cache.offer(DISK, old)
    await Disks(it.state).reconcile(KEY)
    assert images(it) == set()


async def test_a_stale_cache_does_not_delete_what_is_claimed_by_now() -> None:
    it = await vanished()
    claim = {"vmName": "vm1", "vmUID": it.uid, "nodeName": NODE, "epoch": EPOCH}
    await executor(it)
    it.kube.remove(DISK, "disk1", NAMESPACE)
    await known(it)
    await executor(it, claim=claim)
    await Disks(it.state).reconcile(KEY)
    assert len(images(it)) == 1


async def test_the_claim_of_a_vanished_vm_is_released_and_all_of_it_tidied() -> None:
    it = await vanished()
    uid = it.uid
    pool = await it.state.pools.default()
    pool.storage.write_seed(seed_image(uid), owner_uid=uid, content=b"seed")
    vanish(it)
    await known(it)
    await Disks(it.state).reconcile(KEY)
    assert status(it)["releasedClaimEpoch"] == EPOCH
    assert images(it) == {it.disk["location"]["image"]}


async def test_no_claim_is_released_while_the_domain_runs() -> None:
    it = await vanished()
    await it.run(do.ClaimEpoch)
    await it.run(do.StartDomain)
    vanish(it)
    await known(it)
    assert await reason(it) == "VirtualMachineGone"
    assert "releasedClaimEpoch" not in status(it)


async def test_no_claim_is_released_while_somebody_has_the_image_open() -> None:
    it = await vanished()
    client = it.cluster.open(it.disk["location"]["image"], address="10.0.0.1", pool="vms")
    vanish(it)
    await known(it)
    assert await reason(it) == "ImageInUse"
    assert "releasedClaimEpoch" not in status(it)
    it.cluster.close(client)
    await known(it)
    await Disks(it.state).reconcile(KEY)
    assert status(it)["releasedClaimEpoch"] == EPOCH


async def test_no_claim_is_released_while_nothing_is_known_of_the_domain() -> None:
    it = await vanished()
    vanish(it)
    await known(it)
    it.host.libvirt_goes()
    assert await reason(it) == "HypervisorUnreachable"
    assert "releasedClaimEpoch" not in status(it)


async def test_a_vm_that_the_watch_has_not_brought_yet_is_not_gone() -> None:
    it = await vanished()
    it.state.cache.sync(DISK, await it.kube.list(DISK))
    await Disks(it.state).reconcile(KEY)
    assert "releasedClaimEpoch" not in status(it)
