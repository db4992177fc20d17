# SPDX-License-Identifier: Apache-2.0
"""Room that is kept for a lost host, and what the zone says of itself."""

import json
import time
from collections.abc import Iterator

import pytest

from support.scheduling import (
    export,
    half,
    labelled,
    node,
    node_labels,
    refused,
    tool,
    until_zone,
    zone,
)
from support.site import HOSTS, ZONE, Site, Space, condition, reason_of, status_of
from support.waiting import wait

pytestmark = pytest.mark.real

RACK = "example.com/rack"
SIZES = [
    {"name": "small", "cores": 1, "memory": "64Mi"},
    {"name": "vast", "cores": 1, "memory": "8Ti"},
]


@pytest.fixture
def redundant(site: Site) -> Iterator[Site]:
    """The zone is to survive one host, and says what more fits."""
    site.apply_zone(redundancy={"failures": 1}, standardSizes=SIZES)
    yield site
    # An apply takes away what an earlier one put there.
    site.apply(site.zone())
    wait(lambda: not condition(zone(site), "Redundant"), "the zone is as it was")


def test_room_is_kept_for_what_a_lost_host_had(space: Space, redundant: Site) -> None:
    cores = half(redundant)
    space.apply(space.vm("vm1", cpu={"cores": cores}))
    space.running("vm1")
    space.apply(space.vm("vm2", cpu={"cores": cores}))
    message = refused(space, "vm2", "RedundancyNotKept", "N+1")
    assert message.startswith("0/2 hosts fit"), message
    assert status_of(until_zone(redundant, "Survives"), "Redundant") == "True"

    space.delete("vm", "vm1")
    space.running("vm2")


def test_who_does_not_restart_needs_no_room_elsewhere(space: Space, redundant: Site) -> None:
    cores = half(redundant)
    leave = {"hostLoss": "Leave"}
    space.apply(*(space.vm(f"vm{n}", cpu={"cores": cores}, availability=leave) for n in range(2)))
    assert {node(space.running(f"vm{n}")) for n in range(2)} == {"node-1", "node-2"}
    until_zone(redundant, "Survives")


def test_of_two_at_once_one_gets_the_room(space: Space, redundant: Site) -> None:
    cores = half(redundant)
    space.apply(*(space.vm(f"vm{n}", cpu={"cores": cores}) for n in range(4)))

    def decided() -> bool:
        said = [reason_of(space.get("vm", f"vm{n}"), "Scheduled") for n in range(4)]
        return sorted(said) == ["Assigned"] + ["RedundancyNotKept"] * 3

    wait(decided, "exactly one has a host")


def test_a_redundancy_that_is_asked_for_too_late(space: Space) -> None:
    site = space.site
    cores = half(site)
    space.apply(*(space.vm(f"vm{n}", cpu={"cores": cores}) for n in range(2)))
    for n in range(2):
        space.running(f"vm{n}")
    site.apply_zone(redundancy={"failures": 1})
    try:
        found = until_zone(site, "ComputeImpossible")
        assert status_of(found, "Redundant") == "False"
        assert found["status"]["redundancy"]["failures"] == 0
        assert found["status"]["redundancy"]["compute"] == 0
        assert all(status_of(space.get("vm", f"vm{n}"), "Ready") == "True" for n in range(2))
        space.delete("vm", "vm1")
        until_zone(site, "Survives")
    finally:
        site.apply(site.zone())


def test_the_zone_tells_what_it_survives_and_what_fits(space: Space, redundant: Site) -> None:
    space.apply(space.vm("vm1"))
    space.running("vm1")
    status = until_zone(redundant, "Survives")["status"]

    ceph = redundant.cluster.ceph
    detail = json.loads(ceph.ceph("osd", "pool", "ls", "detail", "-f", "json"))
    pool = next(each for each in detail if each["pool_name"] == "nopal")
    (told,) = status["redundancy"]["pools"]
    assert (told["name"], told["size"], told["minSize"]) == ("main", pool["size"], pool["min_size"])
    assert told["copies"] == min(3, pool["size"] - pool["min_size"])
    assert told["rawSpace"] >= 1
    assert status["redundancy"]["failures"] == status["redundancy"]["compute"] == 1
    columns = redundant.cluster.kubectl.run("get", "zone", ZONE)
    assert "SURVIVES" in columns
    fits = {fit["name"]: fit for fit in status["fits"]}
    assert fits["small"]["count"] > 0
    assert fits["vast"]["count"] == 0
    assert "insufficient memory" in fits["vast"]["limit"]

    for host in redundant.cluster.hosts:
        seen = redundant.get(HOSTS, host)
        assert seen is not None
        (there,) = seen["status"]["pools"]
        assert (there["failureDomain"], there["domains"]) == ("host", 3)
        assert there["rawUsedPercent"] % 5 == 0


def test_copies_that_are_too_few_are_said(space: Space, redundant: Site) -> None:
    space.apply(space.vm("vm1"))
    until_zone(redundant, "Survives")
    ceph = redundant.cluster.ceph
    detail = json.loads(ceph.ceph("osd", "pool", "ls", "detail", "-f", "json"))
    pool = next(each for each in detail if each["pool_name"] == "nopal")
    ceph.ceph("osd", "pool", "set", "nopal", "min_size", str(pool["size"]))
    try:
        found = until_zone(redundant, "TooFewCopies")
        assert "ceph osd pool set" in condition(found, "Redundant")["message"]
    finally:
        ceph.ceph("osd", "pool", "set", "nopal", "min_size", str(pool["min_size"]))
    until_zone(redundant, "Survives")


def test_a_zone_with_figures_is_as_quiet_as_any(space: Space, redundant: Site) -> None:
    apart = {"antiAffinity": [{"matchLabels": {"app": "db"}}]}
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    space.apply(space.vm("vm2", memory={"size": "16Ti"}))  # fits nowhere
    space.apply(labelled(space, "vm3", "web", placement=apart, availability={"hostLoss": "Leave"}))
    space.running("vm1")
    space.running("vm3")
    refused(space, "vm2", "Unschedulable")
    until_zone(redundant, "Survives")
    last, since = versions(space), time.monotonic()

    def quiet() -> bool:
        nonlocal last, since
        now = versions(space)
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 10.0

    wait(quiet, "nothing is written for ten seconds")
    led = redundant.leader()
    redundant.cluster.workloads.restart_operator()
    wait(lambda: redundant.leader() not in ("", led), "the new operator leads")
    time.sleep(12.0)
    assert versions(space) == last, "a restart is no news"


def versions(space: Space) -> dict[str, str]:
    kubectl = space.site.cluster.kubectl
    found = kubectl.get("zones.nopal.dev,hosts.nopal.dev")["items"]
    found += kubectl.get("vms,disks", "-n", space.namespace)["items"]
    return {f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"] for o in found}


def test_a_zone_that_is_exported_is_checked_at_home(space: Space, redundant: Site) -> None:
    apart = {"antiAffinity": [{"matchLabels": {"app": "db"}}]}
    space.apply(labelled(space, "db0", "db", placement=apart))
    space.running("db0")
    space.apply(labelled(space, "db1", "db", placement=apart))
    # There is no third host, where one of the two could restart away from the other.
    refused(space, "db1", "RedundancyNotKept", "N+1")
    exported = export(redundant)
    assert exported.returncode == 0, exported.stderr
    assert f"{space.namespace}/db0" in exported.stdout
    assert f"{space.namespace}/db1" in exported.stdout

    check = tool("nopal_scheduler", "check", "-", stdin=exported.stdout)
    assert check.returncode == 0, check.stdout + check.stderr
    absent = export(redundant, "nowhere")
    assert absent.returncode == 1
    assert "ZoneNotFound" in absent.stderr


def test_racks_that_fail_as_a_whole(space: Space, redundant: Site) -> None:
    redundant.apply_zone(redundancy={"failures": 1, "topologyKey": RACK}, standardSizes=SIZES)
    kubectl = redundant.cluster.kubectl
    with node_labels(redundant, RACK, {"node-1": "a", "node-2": "a"}):
        wait(lambda: count_of(redundant, "small") == 0, "the operator has seen the labels")
        space.apply(space.vm("vm1"))
        refused(space, "vm1", "RedundancyNotKept", "2 N+1 impossible (after the loss of a ")
        kubectl.run("label", "node", "node-2", f"{RACK}=b", "--overwrite")
        space.running("vm1")
        # Its pool's CRUSH rule keeps copies on different hosts, which may be of one rack.
        found = until_zone(redundant, "TooFewCopies")
        assert RACK in condition(found, "Redundant")["message"]
        assert found["status"]["redundancy"]["compute"] == 1
        assert found["status"]["redundancy"]["failures"] == 0
        kubectl.run("label", "node", "node-2", f"{RACK}=a", "--overwrite")
        until_zone(redundant, "ComputeImpossible")
        assert status_of(space.get("vm", "vm1"), "Ready") == "True"


def count_of(site: Site, size: str) -> int | None:
    """For how many more of a standard size the zone says that there is room."""
    fits = zone(site).get("status", {}).get("fits", [])
    return next((fit["count"] for fit in fits if fit["name"] == size), None)


def test_what_one_tenant_edits_stops_nobody(space: Space, redundant: Site) -> None:
    space.apply(space.vm("mine"))
    space.running("mine")
    space.patch("vm", "mine", {"placement": {"nodeSelector": {"matchLabels": {"no": "where"}}}})
    space.apply(space.vm("theirs"))
    space.running("theirs")
    until_zone(redundant, "Survives")
    assert status_of(space.get("vm", "mine"), "Ready") == "True"


def test_room_that_is_not_to_be_kept_any_more(space: Space, redundant: Site) -> None:
    cores = half(redundant)
    space.apply(space.vm("vm1", cpu={"cores": cores}))
    space.running("vm1")
    space.apply(space.vm("vm2", cpu={"cores": cores}, availability={"hostLoss": "Leave"}))
    refused(space, "vm2", "RedundancyNotKept")
    space.patch("vm", "vm1", {"availability": {"hostLoss": "Leave"}})
    space.running("vm2")
    # Asking for it again counts at the next start, when it is known whether there is room.
    space.patch("vm", "vm1", {"availability": {"hostLoss": "Restart"}})
    time.sleep(1.0)
    assert space.get("vm", "vm1")["status"]["assignment"]["hostLoss"] == "Leave"
    until_zone(redundant, "Survives")


def test_hosts_that_are_down_are_lost_already(space: Space, redundant: Site) -> None:
    workloads = redundant.cluster.workloads
    space.apply(space.vm("vm1"))
    there = node(space.running("vm1"))
    until_zone(redundant, "Survives")
    workloads.stop_daemon(there)
    try:
        found = until_zone(redundant, "HostsDown")
        assert there in condition(found, "Redundant")["message"]
        assert found["status"]["redundancy"]["compute"] == 0
    finally:
        workloads.restart_daemon(there)
    until_zone(redundant, "Survives")
    space.running("vm1")
