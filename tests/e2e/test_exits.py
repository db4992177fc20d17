# SPDX-License-Identifier: Apache-2.0
"""Guests that go down by themselves: noticed, told apart, started again or left as is wanted."""

from collections.abc import Iterator

import pytest

from nopal_dev.bootsector import BootSector
from nopal_dev.hosts import Host
from support.parts import DAEMON, Parts, qemus
from support.site import Object, Space, condition, reason_of, status_of
from support.waiting import wait

pytestmark = pytest.mark.real


@pytest.fixture
def parts(space: Space) -> Iterator[Parts]:
    """The parts, all of them running again when the test ends, however it ends."""
    made = Parts(space.site.cluster)
    yield made
    made.mend()


def start(space: Space, policy: str, **disk: str) -> tuple[Object, Host, int]:
    """A VM that runs and has written; its host and its QEMU process."""
    space.apply(space.disk("root", **disk), space.vm("vm1", "root", restartPolicy=policy))
    vm = space.running("vm1")
    host, pid = space.domain(vm)
    assert space.counts("root").boots == 1
    return vm, host, pid


def kill(host: Host, pid: int) -> None:
    host.run("kill", "-9", str(pid))


def exit_of(vm: Object) -> str:
    return str(vm["status"].get("lastExit", {}).get("reason", ""))


def restarts(vm: Object) -> int:
    return int(vm["status"].get("restartCount", 0))


def stays_down(space: Space, reason: str, power: str) -> Object:
    """Wait until the VM is down for good and released, its exit told."""
    down = space.until(
        "vm1",
        lambda v: v["status"].get("releasedEpoch") == v["status"]["assignment"]["epoch"],
        "is released",
    )
    assert status_of(down, "Ready") == "False"
    assert reason_of(down, "Ready") == reason
    assert "powerState" in condition(down, "Ready")["message"], "the remedy is not told"
    assert down["status"]["power"] == power
    assert restarts(down) == 0
    assert qemus(down["metadata"]["uid"]) == set()
    return down


def starts_when_asked(space: Space, down: Object) -> None:
    """powerState Stopped, then Running, starts it again at a higher epoch."""
    space.patch("vm", "vm1", {"powerState": "Stopped"})
    space.until("vm1", lambda v: exit_of(v) == "Requested", "acknowledges the stop")
    space.patch("vm", "vm1", {"powerState": "Running"})
    again = space.running("vm1")
    assert again["status"]["assignment"]["epoch"] > down["status"]["assignment"]["epoch"]
    assert space.counts("root").boots == 2


def test_a_killed_qemu_is_started_again_with_back_off(space: Space) -> None:
    vm, host, first = start(space, "Always")
    epoch = vm["status"]["assignment"]["epoch"]

    kill(host, first)

    once = space.until("vm1", lambda v: restarts(v) == 1, "was started again")
    assert exit_of(once) == "Crashed"
    assert space.counts("root").boots == 2
    again = space.running("vm1")
    assert again["status"]["assignment"]["epoch"] == epoch
    same, second = space.domain(again)
    assert (same.name, second != first) == (host.name, True)

    kill(host, second)

    # The first restart is immediate, the second one waits: that is told.
    waits = space.until("vm1", lambda v: reason_of(v, "Ready") == "GuestCrashed", "tells the crash")
    assert waits["status"]["power"] == "Crashed"
    assert "started again" in condition(waits, "Ready")["message"]
    space.until("vm1", lambda v: restarts(v) == 2, "was started a second time")
    assert space.counts("root").boots == 3


def test_a_killed_qemu_stays_down_where_that_is_wanted(space: Space) -> None:
    _, host, pid = start(space, "Never")

    kill(host, pid)

    down = stays_down(space, "GuestCrashed", "Crashed")
    assert exit_of(down) == "Crashed"
    starts_when_asked(space, down)


def test_a_guest_that_powers_off_is_started_again(space: Space) -> None:
    space.site.apply(space.site.image("brief", BootSector(power_off_after=3)))
    space.apply(space.disk("root", image="brief"), space.vm("vm1", "root"))

    twice = space.until("vm1", lambda v: restarts(v) >= 2, "was started again")

    assert exit_of(twice) == "GuestShutdown"
    assert space.counts("root").boots >= 3


def test_a_guest_that_powers_off_stays_down_where_only_crashes_count(space: Space) -> None:
    _, host, pid = start(space, "OnCrash")

    kill(host, pid)

    once = space.until("vm1", lambda v: restarts(v) == 1, "was started again")
    assert exit_of(once) == "Crashed"
    space.running("vm1")
    assert space.counts("root").boots == 2
    # Nopal did not press this button, so the guest goes down by itself.
    host.virsh("shutdown", once["metadata"]["uid"], "--mode", "acpi")
    down = space.until("vm1", lambda v: reason_of(v, "Ready") == "GuestShutdown", "is down")
    down = space.until("vm1", lambda v: v["status"].get("releasedEpoch", 0) > 0, "is released")
    assert exit_of(down) == "GuestShutdown"
    assert down["status"]["power"] == "Stopped"
    assert qemus(down["metadata"]["uid"]) == set()


def test_a_paused_guest_is_told_and_left_alone(space: Space) -> None:
    vm, host, pid = start(space, "Always")
    uid = vm["metadata"]["uid"]

    host.virsh("suspend", uid)

    paused = space.until("vm1", lambda v: reason_of(v, "Ready") == "Paused", "is paused")
    assert status_of(paused, "Ready") == "False"
    assert paused["status"]["power"] == "Paused"
    assert host.virsh("domstate", uid).strip() == "paused"
    host.virsh("resume", uid)
    space.running("vm1")
    assert space.counts("root").boots == 1
    assert space.domain(vm) == (host, pid)


@pytest.mark.parametrize("reason", ["GuestShutdown", "GuestCrashed"])
def test_an_exit_while_nobody_watched_is_told(space: Space, parts: Parts, reason: str) -> None:
    vm, host, pid = start(space, "Never")
    uid = vm["metadata"]["uid"]
    parts.kill(DAEMON, host.name)

    if reason == "GuestShutdown":
        host.virsh("shutdown", uid, "--mode", "acpi")
    else:
        kill(host, pid)
    wait(lambda: space.site.host_of(uid) is None, "the guest is down")
    parts.start(DAEMON, host.name)

    power = "Stopped" if reason == "GuestShutdown" else "Crashed"
    down = stays_down(space, reason, power)
    assert exit_of(down) == reason.replace("GuestC", "C")
