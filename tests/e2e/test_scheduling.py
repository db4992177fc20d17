# SPDX-License-Identifier: Apache-2.0
"""Placement by rules, room that is kept for a lost host, and what the zone says of itself."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from support.site import ZONE, Object, Site, Space, condition, reason_of, status_of, wait

pytestmark = pytest.mark.real

HOSTS = "hosts.nopal.dev"
SIZES = [
    {"name": "small", "cores": 1, "memory": "64Mi"},
    {"name": "vast", "cores": 1, "memory": "8Ti"},
]


@pytest.fixture
def redundant(site: Site) -> Iterator[Site]:
    """The zone is to survive one host, and says what more fits."""
    site.apply(site.zone(redundancy={"failures": 1}, standardSizes=SIZES))
    yield site
    # An apply takes away what an earlier one put there.
    site.apply(site.zone())
    wait(lambda: not condition(zone(site), "Redundant"), "the zone is as it was")


def zone(site: Site) -> Object:
    found = site.get("zone", ZONE)
    assert found is not None
    return found


def until_zone(site: Site, reason: str) -> Object:
    wait(lambda: reason_of(zone(site), "Redundant") == reason, f"the zone says {reason}")
    return zone(site)


def half(site: Site) -> int:
    """So many cores that a host has room for one such virtual machine and not for two."""
    host = site.get(HOSTS, "node-1")
    assert host is not None
    return 4 * int(host["status"]["capacity"]["cpu"]) // 2 + 1


def labelled(space: Space, name: str, label: str, **spec: Any) -> Object:
    vm = space.vm(name, **spec)
    vm["metadata"]["labels"] = {"app": label}
    return vm


def node(vm: Object) -> str:
    return str(vm["status"]["assignment"]["nodeName"])


def refused(space: Space, name: str, reason: str) -> str:
    vm = space.until(name, lambda found: reason_of(found, "Scheduled") == reason, f"says {reason}")
    assert status_of(vm, "Ready") == "False"
    assert "assignment" not in vm["status"]
    return str(condition(vm, "Scheduled")["message"])


def test_a_node_selector_waits_for_its_label(space: Space) -> None:
    kubectl = space.site.cluster.kubectl
    wanted = {"nodeSelector": {"matchLabels": {"example.com/disk": "nvme"}}}
    space.apply(space.vm("vm1", placement=wanted))
    assert "2 no label example.com/disk=nvme" in refused(space, "vm1", "Unschedulable")
    kubectl.run("label", "node", "node-2", "example.com/disk=nvme")
    try:
        assert node(space.running("vm1")) == "node-2"
    finally:
        kubectl.run("label", "node", "node-2", "example.com/disk-")
    time.sleep(1.0)
    assert node(space.running("vm1")) == "node-2", "what has a host keeps it"


def test_virtual_machines_that_must_be_apart(space: Space) -> None:
    apart = {"antiAffinity": [{"matchLabels": {"app": "db"}}]}
    space.apply(*(labelled(space, f"db{n}", "db", placement=apart) for n in range(2)))
    assert {node(space.running(f"db{n}")) for n in range(2)} == {"node-1", "node-2"}

    space.apply(labelled(space, "db2", "db", placement=apart))
    message = refused(space, "db2", "Unschedulable")
    assert message.startswith("0/2 hosts fit: 2 anti-affinity to app=db"), message

    gone = node(space.get("vm", "db0"))
    space.delete("vm", "db0")
    assert node(space.running("db2")) == gone


def test_virtual_machines_that_belong_together(space: Space) -> None:
    near = {"affinity": [{"matchLabels": {"app": "db"}}]}
    space.apply(labelled(space, "web", "web", placement=near))
    assert "affinity to app=db" in refused(space, "web", "Unschedulable")
    space.apply(labelled(space, "db", "db"))
    assert node(space.running("web")) == node(space.running("db"))


def test_a_cpu_feature_that_a_guest_must_have(space: Space) -> None:
    host = space.site.get(HOSTS, "node-1")
    assert host is not None
    offered = host["status"]["cpuFeatures"]
    assert {"avx2", "lm", "sse4.2"} <= set(offered)
    assert offered == sorted(offered)

    space.apply(space.vm("vm1", cpu={"cores": 1, "features": ["sse4.2", "avx2"]}))
    uid = space.running("vm1")["metadata"]["uid"]
    runs_on = space.site.host_of(uid)
    assert runs_on is not None
    live = ET.fromstring(runs_on.virsh("dumpxml", uid))  # noqa: S314 - libvirt's own
    required = live.findall("cpu/feature[@policy='require']")
    assert {feature.get("name") for feature in required} >= {"sse4.2", "avx2"}

    space.apply(space.vm("vm2", cpu={"cores": 1, "features": ["amx-tile", "avx2"]}))
    message = refused(space, "vm2", "Unschedulable")
    assert message == "0/2 hosts fit: 2 cpu feature amx-tile missing"
    space.apply(space.vm("vm2", cpu={"cores": 1, "features": ["avx2"]}))
    space.running("vm2")


def test_things_that_a_host_has_a_number_of(space: Space) -> None:
    kubectl = space.site.cluster.kubectl

    def offer(count: int | None) -> None:
        patch = {"spec": {"resources": {"example.com/licence": count}}}
        kubectl.run("patch", HOSTS, "node-2", "--type=merge", "-p", json.dumps(patch))

    takes = {"example.com/licence": 1}
    space.apply(space.vm("vm1", resources=takes))
    message = refused(space, "vm1", "Unschedulable")
    assert message == "0/2 hosts fit: 2 no example.com/licence"
    offer(1)
    try:
        assert node(space.running("vm1")) == "node-2"
        space.apply(space.vm("vm2", resources=takes))
        message = refused(space, "vm2", "Unschedulable")
        assert message.startswith("0/2 hosts fit: 2 insufficient example.com/licence"), message
        space.delete("vm", "vm1")
        assert node(space.running("vm2")) == "node-2"
    finally:
        offer(None)


def test_room_is_kept_for_what_a_lost_host_had(space: Space, redundant: Site) -> None:
    cores = half(redundant)
    space.apply(space.vm("vm1", cpu={"cores": cores}))
    space.running("vm1")
    space.apply(space.vm("vm2", cpu={"cores": cores}))
    message = refused(space, "vm2", "RedundancyNotKept")
    assert message.startswith("0/2 hosts fit"), message
    assert "N+1" in message
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
    site.apply(site.zone(redundancy={"failures": 1}))
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
    until_zone(redundant, "Survives")
    status = zone(redundant)["status"]

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
    space.apply(space.disk("root"), space.vm("vm1", "root"), space.vm("vm2", cpu={"cores": 250}))
    space.running("vm1")
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
    redundant.cluster.workloads.restart_operator()
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
    assert "N+1" in refused(space, "db1", "RedundancyNotKept")
    env = os.environ | {"KUBECONFIG": str(redundant.cluster.control_plane.kubeconfig)}
    export = tool("nopal_operator", "export-zone", ZONE, env=env)
    assert export.returncode == 0, export.stderr
    assert f"{space.namespace}/db0" in export.stdout
    assert f"{space.namespace}/db1" in export.stdout

    check = tool("nopal_scheduler", "check", "-", stdin=export.stdout)
    assert check.returncode == 0, check.stdout + check.stderr
    absent = tool("nopal_operator", "export-zone", "nowhere", env=env)
    assert absent.returncode == 1
    assert "ZoneNotFound" in absent.stderr


def tool(
    module: str, *arguments: str, env: dict[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        argv, input=stdin, env=env, capture_output=True, text=True, timeout=60, check=False
    )
