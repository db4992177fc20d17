# SPDX-License-Identifier: Apache-2.0
"""Placement by what virtual machines ask of their hosts, and of each other."""

import json
import time
from xml.etree import ElementTree as ET

import pytest

from support.scheduling import (
    export,
    half,
    labelled,
    named_nodes,
    node,
    on,
    refused,
    tool,
)
from support.site import HOSTS, Space, status_of
from support.waiting import wait

pytestmark = pytest.mark.real


def test_a_node_selector_waits_for_its_label(space: Space) -> None:
    kubectl = space.site.cluster.kubectl
    wanted = {"nodeSelector": {"matchLabels": {"example.com/disk": "nvme"}}}
    space.apply(space.vm("vm1", placement=wanted))
    refused(space, "vm1", "Unschedulable", "2 no label example.com/disk=nvme")
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
    lacks = "0/2 hosts fit: 2 anti-affinity to app=db"
    assert refused(space, "db2", "Unschedulable", lacks).startswith(lacks)

    gone = node(space.get("vm", "db0"))
    space.delete("vm", "db0")
    assert node(space.running("db2")) == gone


def test_virtual_machines_that_belong_together(space: Space) -> None:
    near = {"affinity": [{"matchLabels": {"app": "db"}}]}
    space.apply(labelled(space, "web", "web", placement=near))
    refused(space, "web", "Unschedulable", "affinity to app=db")
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
    lacks = "0/2 hosts fit: 2 cpu feature amx-tile missing"
    assert refused(space, "vm2", "Unschedulable", lacks) == lacks
    space.apply(space.vm("vm2", cpu={"cores": 1, "features": ["avx2"]}))
    space.running("vm2")


def test_things_that_a_host_has_a_number_of(space: Space) -> None:
    def offer(count: int | None) -> None:
        space.site.patch_host("node-2", {"resources": {"example.com/licence": count}})

    takes = {"example.com/licence": 1}
    space.apply(space.vm("vm1", resources=takes))
    lacks = "0/2 hosts fit: 2 no example.com/licence"
    assert refused(space, "vm1", "Unschedulable", lacks) == lacks
    offer(1)
    try:
        assert node(space.running("vm1")) == "node-2"
        space.apply(space.vm("vm2", resources=takes))
        lacks = "0/2 hosts fit: 2 insufficient example.com/licence"
        assert refused(space, "vm2", "Unschedulable", lacks).startswith(lacks)
        space.delete("vm", "vm1")
        assert node(space.running("vm2")) == "node-2"
    finally:
        offer(None)


def test_virtual_machines_that_are_spread(space: Space) -> None:
    even = {"spread": [{"matchLabels": {"app": "web"}, "maxSkew": 1}]}
    with named_nodes(space.site):
        space.apply(space.vm("heavy", cpu={"cores": half(space.site)}, placement=on("node-1")))
        space.running("heavy")
        space.apply(*(labelled(space, f"web{n}", "web", placement=even) for n in range(2)))
        # The least loaded host alone would have got both.
        assert {node(space.running(f"web{n}")) for n in range(2)} == {"node-1", "node-2"}


def test_the_preference_of_more_weight_decides(space: Space) -> None:
    with named_nodes(space.site):
        for name, app in (("node-1", "one"), ("node-2", "two")):
            space.apply(labelled(space, app, app, placement=on(name)))
            space.running(app)

        def near(one: int, two: int) -> dict[str, object]:
            wanted = (("one", one), ("two", two))
            terms = [{"matchLabels": {"app": app}, "weight": weight} for app, weight in wanted]
            return {"affinity": terms}

        space.apply(
            space.vm("vm1", placement=near(60, 10)), space.vm("vm2", placement=near(10, 60))
        )
        assert node(space.running("vm1")) == "node-1"
        assert node(space.running("vm2")) == "node-2"


def test_a_host_that_drains_takes_nothing_new(space: Space) -> None:
    with named_nodes(space.site):
        space.apply(space.vm("vm1", placement=on("node-2")))
        space.running("vm1")
        space.site.patch_host("node-2", {"scheduling": "Draining"})
        try:
            space.apply(space.vm("vm2", placement=on("node-2")))
            refused(space, "vm2", "Unschedulable", "1 draining")
            space.apply(space.vm("vm3"))
            assert node(space.running("vm3")) == "node-1"
            assert status_of(space.get("vm", "vm1"), "Ready") == "True", "nothing moves it yet"
        finally:
            space.site.patch_host("node-2", {"scheduling": None})
        space.running("vm2")


def test_priority_and_eviction_count_in_plans_at_home(space: Space) -> None:
    """Nothing in the cluster acts on them yet."""
    space.site.patch_host("node-2", {"scheduling": "Disabled"})
    try:
        space.apply(
            space.vm("stays", placement={"eviction": "Forbidden"}),
            space.vm("first", availability={"priority": 10}),
        )
        assert {node(space.running(name)) for name in ("stays", "first")} == {"node-1"}
    finally:
        space.site.patch_host("node-2", {"scheduling": None})

    def open_again() -> bool:
        exported = export(space.site)
        return exported.returncode == 0 and "Unschedulable" not in exported.stdout

    wait(open_again, "node-2 takes virtual machines")
    file = export(space.site).stdout
    plan = tool("nopal_scheduler", "failover", "-", "node-1", "-o", "json", stdin=file)
    mine = [each["vm"] for each in json.loads(plan.stdout)["restarts"]]
    assert mine == [f"{space.namespace}/first", f"{space.namespace}/stays"], plan.stdout
    plan = tool("nopal_scheduler", "evacuate", "-", "node-1", "-o", "json", stdin=file)
    (left,) = json.loads(plan.stdout)["stays"]
    assert left["vm"] == f"{space.namespace}/stays", plan.stdout
