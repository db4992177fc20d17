# SPDX-License-Identifier: Apache-2.0
"""`kill -9` of every part while a VM is created, runs and is deleted, and an API that is away.

A guest that ran runs on where it ran; everything comes to its end once the part is there again;
nothing runs twice and nothing is left.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import pytest

from nopal_api.kinds import VIRTUAL_MACHINE
from support.cluster import as_admin
from support.parts import (
    APISERVER,
    DAEMON,
    LIBVIRTD,
    OPERATOR,
    PARTS,
    Parts,
    never_twice,
    qemus,
    soon,
    taps,
    traces,
)
from support.site import NETWORK, SETTINGS, Object, Site, Space, reason_of, status_of
from support.waiting import wait

pytestmark = pytest.mark.real


@pytest.fixture
def parts(space: Space) -> Iterator[Parts]:
    """The parts, all of them running again when the test ends, however it ends."""
    made = Parts(space.site.cluster)
    yield made
    made.mend()


@pytest.fixture
def kubelet(parts: Parts, part: str) -> Iterator[None]:
    """Where kube-apiserver is killed, the operator's kubelet is at work."""
    with parts.kubelet() if part == APISERVER else nullcontext():
        yield


@dataclass
class Life:
    """One VM from apply to delete, with a part that is killed on the way."""

    space: Space
    parts: Parts
    part: str

    def apply(self) -> str:
        """Make a VM with all that a host keeps for one: a disk, a seed, a tap. Give its UID."""
        interface = {"name": "lan", "network": {"name": NETWORK}}
        extra = {
            "cloudInit": {"userData": "#cloud-config"},
            "interfaces": [interface],
            "restartPolicy": "Never",  # so that no second start hides the loss of the first
        }
        self.space.apply(self.space.disk("root"), self.space.vm("vm1", "root", **extra))
        return str(self._vm()["metadata"]["uid"])

    def node(self) -> str:
        """Wait for the assignment, and give its host."""
        soon(lambda: "assignment" in self._vm().get("status", {}), "the assignment appears")
        return str(self._vm()["status"]["assignment"]["nodeName"])

    def kill(self, node: str, *, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Kill the part and start it again; all others must get over it by themselves."""
        before = self.parts.pids()
        self.parts.kill(self.part, node)
        meanwhile()
        self.parts.start(self.part, node)
        gone = {self.parts.name(self.part, node)}
        if self.part == APISERVER:
            gone.add(OPERATOR)  # see `kubelet`: it may have ended, and been started again
        self._others = {name: pid for name, pid in before.items() if name not in gone}

    def others_survived(self) -> None:
        """See that no part but the killed one has ended."""
        after = self.parts.pids()
        assert {name: after[name] for name in self._others} == self._others

    def ends_well(self, uid: str) -> None:
        """Wait until the VM is gone; nothing of it is left, and its disk goes when it is told."""
        space = self.space
        wait(lambda: space.find("vm", "vm1") is None, "the VM is gone")
        assert traces(space.site, uid) == {}
        image = space.image("root")
        assert space.site.cluster.ceph.rbd("lock", "ls", f"nopal/{image}") == ""
        assert "claim" not in space.get("disk", "root")["status"]
        space.delete("disk", "root")
        wait(lambda: not [n for n in space.site.images() if image in n], "the image is gone")

    def _vm(self) -> Object:
        api = as_admin(self.space.site.cluster)
        return api.get(VIRTUAL_MACHINE, "vm1", self.space.namespace).body


@pytest.mark.usefixtures("kubelet")
@pytest.mark.parametrize(
    ("part", "moment"),
    [
        (OPERATOR, "applied"),
        (DAEMON, "assigned"),
        (DAEMON, "started"),
        (LIBVIRTD, "assigned"),
        (LIBVIRTD, "started"),
        (APISERVER, "assigned"),
    ],
)
def test_killed_while_a_vm_is_created(space: Space, parts: Parts, part: str, moment: str) -> None:
    """Moments: the VM is applied; its assignment is there; its QEMU process is there."""
    life, before = Life(space, parts, part), taps(space.site)
    uid = life.apply()
    with never_twice(uid):
        node = life.node() if moment != "applied" else ""
        if moment == "started":
            soon(lambda: bool(qemus(uid)), "QEMU starts")

        life.kill(node)

        vm = space.running("vm1")
        host, pid = space.domain(vm)
        assert host.name == vm["status"]["assignment"]["nodeName"]
        assert node in ("", host.name)
        assert space.counts("root").boots == 1
        assert space.domain(vm) == (host, pid)
        life.others_survived()
        space.delete("vm", "vm1")
        life.ends_well(uid)
    assert taps(space.site) == before


@pytest.mark.usefixtures("kubelet")
@pytest.mark.parametrize("part", PARTS)
def test_killed_while_a_vm_runs(space: Space, parts: Parts, part: str) -> None:
    life = Life(space, parts, part)
    uid = life.apply()
    with never_twice(uid):
        vm = space.running("vm1")
        host, pid = space.domain(vm)
        image = space.image("root")
        space.counts("root")

        life.kill(host.name, meanwhile=lambda: writes_on(space.site, image))

        space.running("vm1")
        assert space.counts("root").boots == 1
        assert qemus(uid) == {pid}
        life.others_survived()
        space.delete("vm", "vm1")  # which needs every part
        life.ends_well(uid)


@pytest.mark.usefixtures("kubelet")
@pytest.mark.parametrize(
    ("part", "moment"),
    [
        (OPERATOR, "deleted"),
        (DAEMON, "deleted"),
        (DAEMON, "down"),
        (LIBVIRTD, "deleted"),
        (APISERVER, "down"),
    ],
)
def test_killed_while_a_vm_is_deleted(space: Space, parts: Parts, part: str, moment: str) -> None:
    """Moments: the deletion is told, the guest is shutting down; its QEMU process has gone."""
    life, before = Life(space, parts, part), taps(space.site)
    uid = life.apply()
    with never_twice(uid):
        vm = space.running("vm1")
        node, image = vm["status"]["assignment"]["nodeName"], space.image("root")
        boots = space.counts("root").boots

        space.delete("vm", "vm1", wait=False)
        if moment == "down":
            soon(lambda: not qemus(uid), "QEMU ends")
        life.kill(node)

        life.ends_well(uid)
        life.others_survived()
    assert boots == 1
    assert taps(space.site) == before
    assert image not in space.site.images()


def writes_on(site: Site, image: str) -> None:
    """Wait until a guest has written twice more; nothing of Nopal is asked."""
    before = site.counter(image)
    assert before is not None

    def more() -> bool:
        now = site.counter(image)
        return now is not None and now.value >= before.value + 2

    wait(more, "the guest writes on")


def test_without_the_api_guests_run_and_none_starts(space: Space, parts: Parts) -> None:
    """kube-apiserver is away for longer than every Lease."""
    space.apply(*(space.disk(d) for d in ("one", "two")))
    space.apply(space.vm("runs", "one"), space.vm("dies", "two"))
    runs, dies = space.running("runs"), space.running("dies")
    (host, pid), (_, victim) = space.domain(runs), space.domain(dies)
    image, uid = space.image("one"), dies["metadata"]["uid"]
    space.counts("one")
    processes = parts.pids()

    parts.kill(APISERVER, "")
    host.run("kill", "-9", str(victim))
    written = space.site.counter(image)
    until = time.monotonic() + float(SETTINGS["NOPAL_LEASE_SECONDS"]) + 4.0
    while time.monotonic() < until:
        assert not qemus(uid) - {victim}, "a guest was started without the API"
        time.sleep(0.2)
    counter = space.site.counter(image)
    assert written is not None
    assert counter is not None
    assert counter.value > written.value
    parts.start(APISERVER, "")
    # An operator that could not renew its Lease has ended, for another one may lead by now. Its
    # kubelet starts it again; the daemons live through the outage.
    ended = parts.mend()

    assert ended in ([], [OPERATOR])
    space.until("dies", lambda vm: vm["status"].get("restartCount") == 1, "was started again")
    again = space.running("dies")
    assert again["status"]["lastExit"]["reason"] == "Crashed"
    assert space.counts("two").boots == 2
    wait(lambda: status_of(space.get("vm", "runs"), "Ready") == "True", "the other one is Ready")
    assert space.domain(runs) == (host, pid)
    assert space.counts("one").boots == 1
    after = parts.pids()
    for name in (n for n in processes if n.endswith((DAEMON, LIBVIRTD))):
        assert after[name] == processes[name]


def test_a_silent_host_is_told_and_its_guests_run_on(space: Space, parts: Parts) -> None:
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    vm = space.running("vm1")
    host, pid = space.domain(vm)

    parts.kill(DAEMON, host.name)

    silent = space.until("vm1", lambda v: status_of(v, "Ready") == "Unknown", "is Unknown")
    assert reason_of(silent, "Ready") == "HostUnreachable"
    space.counts("root")
    parts.start(DAEMON, host.name)
    space.running("vm1")
    assert space.domain(vm) == (host, pid)
