# SPDX-License-Identifier: Apache-2.0
"""Objects that vanish without being deleted, as after a restore: no guest and no image goes."""

from collections.abc import Iterator

import pytest

from support.parts import qemus
from support.site import Space, reason_of
from support.vanishing import away, held, vanish
from support.waiting import wait

pytestmark = pytest.mark.real


@pytest.fixture
def one_host(space: Space) -> Iterator[str]:
    """The node that takes all guests of this test; no domain of it outlives the test."""
    only, *others = space.site.cluster.hosts
    for node in others:
        space.site.patch_host(node, {"scheduling": "Disabled"})
    yield only
    for node in others:
        space.site.patch_host(node, {"scheduling": "Enabled"})
    for uid in space.site.cluster.hosts[only].virsh("list", "--uuid").split():
        space.site.cluster.hosts[only].virsh("destroy", uid)


def test_guests_whose_objects_all_vanish_are_held_until_somebody_decides(
    space: Space, one_host: str
) -> None:
    host = space.site.cluster.hosts[one_host]
    disks = [space.disk(f"d{n}") for n in range(2)]
    vms = [space.vm(f"vm{n}", f"d{n}") for n in range(2)]
    space.apply(*disks, *vms)
    old = [space.running(f"vm{n}") for n in range(2)]
    pids = [space.domain(vm)[1] for vm in old]
    with away(space, one_host):
        for n in range(2):
            vanish(space, "vm", f"vm{n}")
    space.apply(*vms)

    wait(lambda: "2 of 2 domains" in held(space, one_host), "the orphans are held")

    assert "virsh destroy" in held(space, one_host)
    for n in range(2):
        space.until(f"vm{n}", lambda v: reason_of(v, "Scheduled") == "DiskInUse", "waits")
        claim = space.get("disk", f"d{n}")["status"]["claim"]
        assert claim["vmUID"] == old[n]["metadata"]["uid"]
        space.counts(f"d{n}")
    assert host.qemu_pids() == sorted(pids)

    host.virsh("destroy", old[0]["metadata"]["uid"])  # what the condition says

    # One that is left is no longer "many": the rule removes it.
    wait(lambda: pids[1] not in host.qemu_pids(), "the other orphan is removed")
    for n in range(2):
        new = space.running(f"vm{n}")
        assert new["metadata"]["uid"] != old[n]["metadata"]["uid"]
        assert space.counts(f"d{n}").boots == 2
    wait(lambda: not held(space, one_host), "the Host says no more of orphans")


def test_a_host_object_that_was_made_anew_removes_no_guest(space: Space, one_host: str) -> None:
    """As after CRDs were deleted and made again: what was known is gone, or has another UID."""
    host = space.site.cluster.hosts[one_host]
    space.apply(space.disk("a"), space.disk("b"), space.vm("lost", "a"), space.vm("known", "b"))
    lost, known = space.running("lost"), space.running("known")
    pid, other = space.domain(lost)[1], space.domain(known)[1]
    before = space.site.get("hosts.nopal.dev", one_host)
    with away(space, one_host):
        vanish(space, "hosts.nopal.dev", one_host, namespace="")
        vanish(space, "vm", "lost")

    wait(lambda: "made anew" in held(space, one_host), "the orphan is held")

    after = space.site.get("hosts.nopal.dev", one_host)
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    space.counts("a")
    assert host.qemu_pids() == sorted([pid, other])
    space.running("known")
    host.virsh("destroy", lost["metadata"]["uid"])
    wait(lambda: not held(space, one_host), "the Host says no more of orphans")
    wait(lambda: "claim" not in space.get("disk", "a")["status"], "its disk is free")
    assert host.qemu_pids() == [other]


@pytest.mark.parametrize("who", ["daemon", "operator", "both"])
def test_what_is_deleted_and_made_anew_inside_a_gap_is_another_thing(
    space: Space, who: str
) -> None:
    """The VM and its Disk go and come back under their names while nobody watches."""
    objects = (space.disk("root"), space.vm("vm1", "root"))
    space.apply(*objects)
    old = space.running("vm1")
    host, pid = space.domain(old)
    written, old_image = space.counts("root"), space.image("root")
    nodes = [] if who == "operator" else [host.name]
    with away(space, *nodes, operator=who != "daemon"):
        vanish(space, "vm", "vm1")
        vanish(space, "disk", "root")
        space.apply(*objects)
    try:
        new = space.running("vm1")

        assert new["metadata"]["uid"] != old["metadata"]["uid"]
        assert space.image("root") != old_image
        assert space.counts("root").boots == 1
        wait(lambda: qemus(old["metadata"]["uid"]) == set(), "the old guest is removed")
        assert len(qemus(new["metadata"]["uid"])) == 1
        kept = space.site.counter(old_image)
        assert kept is not None
        assert kept.value >= written.value, "the old image is not touched"
    finally:
        wait(lambda: qemus(old["metadata"]["uid"]) == set(), "the old guest is removed")
        space.site.remove_image(old_image)
    assert pid not in host.qemu_pids()
