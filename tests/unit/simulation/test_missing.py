# SPDX-License-Identifier: Apache-2.0
"""What is missing: a condition names it and the remedy, and all heals when it appears."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from nopal_api.kinds import DISK, HOST, IMAGE, NETWORK, NODE, SECRET, VIRTUAL_MACHINE, ZONE
from nopal_runtime.errors import TerminalError, TransientError
from support import objects
from support.simulation import (
    CONTENT,
    URL,
    Simulation,
    image,
    network,
    secret,
    simulate,
    zone,
)
from support.simulation_stories import (
    NAMESPACE,
    cluster,
    condition,
    disk,
    of_disk,
    of_vm,
    power,
    uses,
    vm,
)

Act = Callable[[Simulation], object]


def nothing(_sim: Simulation) -> None:
    pass


@dataclass(frozen=True)
class Missing:
    """Something that a VM needs is not there."""

    reason: str
    names: str
    """What the message names."""
    appears: Act
    goes: Act = nothing
    """Takes it away from a cluster that has all."""
    spec: dict[str, Any] = field(default_factory=dict)
    """What the VM asks for."""


def remake_disk(sim: Simulation) -> None:
    """The user's only way: a disk never changes its zone."""
    sim.kube.remove(DISK, "far", NAMESPACE)
    sim.kube.strip_finalizers(DISK, "far", NAMESPACE)
    disk(sim, "far")


def user_data(key: str) -> dict[str, Any]:
    data = {key: base64.b64encode(b"#cloud-config").decode()}
    return {"metadata": {"name": "init", "namespace": NAMESPACE}, "data": data}


def another_zone(sim: Simulation) -> None:
    for name in sim.host:
        sim.kube.put(NODE, {"metadata": {"name": name, "labels": {"zone": "z2"}}})
    sim.kube.put(ZONE, objects.zone("z2"))


def two_big_guests(sim: Simulation) -> None:
    for name in ("big1", "big2"):
        vm(sim, name, memory={"size": "13Gi"}, disks=[], interfaces=[])


def with_pool(sim: Simulation) -> None:
    pools = zone()["spec"]["pools"]
    fast = {**pools[0], "name": "fast", "ceph": {**pools[0]["ceph"], "pool": "fast"}}
    sim.kube.put(ZONE, zone(pools=[*pools, fast], defaultPool="main"))


def each_host(act: Callable[[Any], None]) -> Act:
    def do(sim: Simulation) -> None:
        for host in sim.host.values():
            act(host)

    return do


def cluster_is(**switches: Any) -> Act:
    def do(sim: Simulation) -> None:
        for name, value in switches.items():
            setattr(sim.cluster, name, value)

    return do


BY_SECRET = {"cloudInit": {"userDataSecretRef": {"name": "init", "key": "user-data"}}}
LAN2 = {"interfaces": [{"name": "eth0", "network": {"name": "lan2"}}]}

MISSING = {
    "zone": Missing(
        "ZoneNotFound",
        '"z2"',
        spec={"zone": "z2", "disks": [], "interfaces": []},
        appears=another_zone,
    ),
    "network": Missing(
        "NetworkNotFound",
        '"lan2"',
        spec=LAN2,
        appears=lambda sim: sim.kube.put(NETWORK, network("lan2")),
    ),
    "bridge": Missing(
        "Unschedulable",
        "lan2",
        spec=LAN2,
        goes=lambda sim: sim.kube.put(NETWORK, network("lan2", "Existing")),
        appears=each_host(lambda host: host.links.put("br-lan2", kind="bridge")),
    ),
    "disk": Missing(
        "DiskNotFound",
        '"more"',
        spec={"disks": uses("more")},
        appears=lambda sim: disk(sim, "more"),
    ),
    "disk of another zone": Missing(
        "DiskInOtherZone",
        '"z2"',
        spec={"disks": uses("far")},
        goes=lambda sim: disk(sim, "far", zone="z2"),
        appears=remake_disk,
    ),
    "disk in use": Missing(
        "DiskInUse",
        '"first"',
        goes=lambda sim: vm(sim, "first"),
        appears=lambda sim: sim.kube.remove(VIRTUAL_MACHINE, "first", NAMESPACE),
    ),
    "image": Missing(
        "ImageNotFound",
        '"other"',
        spec={"disks": uses("new")},
        goes=lambda sim: disk(sim, "new", source={"image": {"name": "other"}}),
        appears=lambda sim: sim.kube.put(IMAGE, image("other")),
    ),
    "pool": Missing(
        "PoolNotFound",
        '"fast"',
        spec={"disks": uses("new")},
        goes=lambda sim: disk(sim, "new", pool="fast"),
        appears=with_pool,
    ),
    "Secret of the user-data": Missing(
        "SecretNotFound",
        "init",
        spec=BY_SECRET,
        appears=lambda sim: sim.kube.put(SECRET, user_data("user-data")),
    ),
    "key in the Secret": Missing(
        "SecretNotFound",
        "user-data",
        spec=BY_SECRET,
        goes=lambda sim: sim.kube.put(SECRET, user_data("other")),
        appears=lambda sim: sim.kube.put(SECRET, user_data("user-data")),
    ),
    "room in the pool": Missing(
        "PoolFull",
        "full",
        spec={"disks": uses("root")},
        goes=cluster_is(full=True),
        appears=cluster_is(full=False),
    ),
    "room on a host": Missing(
        "Unschedulable",
        "insufficient memory",
        goes=two_big_guests,
        spec={"memory": {"size": "8Gi"}},
        appears=lambda sim: sim.kube.remove(VIRTUAL_MACHINE, "big1", NAMESPACE),
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_what_is_missing_is_named_and_heals_by_itself(what: str) -> None:
    case = MISSING[what]

    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()
        case.goes(sim)
        await sim.settle()
        vm(sim, **case.spec)
        await sim.settle()
        ready = of_vm(sim)
        assert (ready["status"], ready["reason"]) == ("False", case.reason), ready
        assert case.names in ready["message"], ready
        case.appears(sim)
        await sim.settle()
        assert power(sim) == "Running"
        assert of_vm(sim)["status"] == "True"

    simulate(play)


@dataclass(frozen=True)
class Down:
    """Something that a host needs does not answer."""

    reason: str
    goes: Act
    appears: Act


def without_secret(sim: Simulation) -> None:
    sim.kube.remove(SECRET, "ceph", "nopal-system")


def without_entry(sim: Simulation) -> None:
    sim.kube.put(SECRET, secret([]))


def with_secret(sim: Simulation) -> None:
    sim.kube.put(SECRET, secret(list(sim.host)))


DOWN = {
    "storage": Down("StorageUnreachable", cluster_is(down=True), cluster_is(down=False)),
    "libvirt": Down(
        "HypervisorUnreachable",
        each_host(lambda host: host.libvirt_goes()),
        each_host(lambda host: host.libvirt_returns()),
    ),
    "the Ceph Secret": Down("CephSecretNotFound", without_secret, with_secret),
    "the host's entry": Down("CephSecretNotFound", without_entry, with_secret),
}


@pytest.mark.parametrize("what", DOWN)
def test_a_host_without_it_takes_no_vm_until_it_is_back(what: str) -> None:
    case = DOWN[what]

    async def play(sim: Simulation) -> None:
        case.goes(sim)
        for name in sim.host:
            await sim.restart(name)  # what was read before would do
        cluster(sim)
        vm(sim, disks=uses("data"))
        await sim.settle()

        ready = condition(sim, HOST, "n1")
        assert (ready["status"], ready["reason"]) == ("False", case.reason), ready
        assert "not ready" in of_vm(sim)["message"]
        assert case.reason in of_vm(sim)["message"]
        assert sim.history.starts == []
        case.appears(sim)
        await sim.settle()
        assert power(sim) == "Running"

    simulate(play)


@pytest.mark.parametrize("what", ["storage", "libvirt"])
def test_what_goes_while_a_guest_runs_is_told_and_costs_no_guest(what: str) -> None:
    case = DOWN[what]

    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim)
        await sim.settle()
        starts = list(sim.history.starts)
        case.goes(sim)
        await sim.settle()
        if what == "libvirt":
            assert (power(sim), of_vm(sim)["status"]) == ("Unknown", "Unknown")
        else:
            assert of_disk(sim, "data")["reason"] == case.reason
            assert power(sim) == "Running"
        case.appears(sim)
        await sim.settle()
        assert power(sim) == "Running"
        assert of_vm(sim)["status"] == of_disk(sim, "data")["status"] == "True"
        assert sim.history.starts == starts

    simulate(play)


@pytest.mark.parametrize("what", ["storage", "libvirt"])
def test_what_goes_while_a_vm_is_stopped_is_no_news_of_the_vm(what: str) -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim)
        await sim.settle()
        vm(sim, powerState="Stopped")
        await sim.settle()
        DOWN[what].goes(sim)
        await sim.settle()
        assert (power(sim), of_vm(sim)["reason"]) == ("Stopped", "Stopped")
        DOWN[what].appears(sim)
        await sim.settle()
        assert (power(sim), of_vm(sim)["reason"]) == ("Stopped", "Stopped")

    simulate(play)


def test_a_full_pool_pauses_a_guest_and_room_lets_it_go_on() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        vm(sim)
        await sim.settle()
        ((host, uid),) = [(h, u) for h in sim.host.values() for u in h.domains]
        full = True

        def refuse(effect: Any) -> None:
            if effect.name == "resume" and effect.done and full:
                host.pause_on_io_error(uid)

        intercept = host.intercept

        def look(effect: Any) -> None:
            refuse(effect)
            intercept(effect)

        host.intercept = look
        host.pause_on_io_error(uid)
        sim.effects = 0
        await sim.until(lambda: of_vm(sim)["reason"] == "DiskError")
        assert power(sim) == "Paused"

        await asyncio.sleep(100)
        assert sim.effects < 20  # one try in ten seconds, and one word in the status
        full = False
        await sim.settle()
        assert power(sim) == "Running"
        assert of_vm(sim)["status"] == "True"

    simulate(play)


@pytest.mark.parametrize(
    ("served", "reason", "heals"),
    [
        (None, "DownloadFailed", True),
        (TransientError("DownloadFailed", "the server stalled"), "DownloadFailed", True),
        (TerminalError("DownloadRefused", "redirected to file://"), "DownloadRefused", False),
        (b"another file", "ChecksumMismatch", False),
    ],
    ids=["absent", "stalls", "refused", "another file"],
)
def test_an_image_that_cannot_be_fetched(served: Any, reason: str, heals: bool) -> None:
    async def play(sim: Simulation) -> None:
        if served is None:
            del sim.cluster.urls[URL]
        else:
            sim.cluster.urls[URL] = served
        cluster(sim)
        vm(sim)

        await asyncio.sleep(120)
        body = sim.kube.see(IMAGE, "debian") or {}
        (entry,) = body["status"]["pools"]
        assert (entry["reason"], entry["state"]) == (reason, "Fetching" if heals else "Failed")
        assert of_vm(sim)["reason"] == "ImageNotReady"
        left = [i for i in sim.cluster.pools["vms", ""].images if i.startswith("image-")]
        assert left == []  # nothing of a failed try stays in the pool
        sim.cluster.urls[URL] = CONTENT
        await sim.settle(quiet=320, limit=4000)
        assert (power(sim) == "Running") is heals

    simulate(play)


def test_a_download_that_fails_is_tried_again_with_pauses_whatever_else_happens() -> None:
    class Server(dict[str, Any]):
        asked = 0

        def get(self, url: str, default: Any = None) -> Any:
            self.asked += 1
            return super().get(url, default)

    async def play(sim: Simulation) -> None:
        sim.cluster.urls = server = Server()
        cluster(sim)
        for number in range(100):
            await asyncio.sleep(1)
            body = image()
            body["metadata"]["labels"] = {"touched": str(number)}  # an event each time
            sim.kube.put(IMAGE, body)
        assert 3 <= server.asked <= 6

    simulate(play)
