# SPDX-License-Identifier: Apache-2.0
"""Where nothing happens nothing is written, and a restart of our processes is no happening."""

import json
import re
import time
from collections import Counter

import pytest

from support.parts import Parts
from support.site import SETTINGS, Object, Site, Space
from support.waiting import wait

pytestmark = pytest.mark.real

KINDS = "zones.nopal.dev,hosts.nopal.dev,networks.nopal.dev,images.nopal.dev,disks.nopal.dev,vms"
QUIET = 10.0
"""Seconds: several polls and renewals of Leases, and half of the time between two lists."""


_REQUESTS = re.compile(r"^apiserver_request_total\{([^}]*)\} ([0-9.e+]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def writes(site: Site) -> Counter[str]:
    """Requests to write our kinds that kube-apiserver has had, also those that changed nothing.

    Without deletions: the policies refuse ours, and kube-controller-manager deletes what an earlier
    test's namespace held.
    """
    found: Counter[str] = Counter()
    for labels, count in _REQUESTS.findall(site.cluster.kubectl.run("get", "--raw", "/metrics")):
        told = dict(_LABEL.findall(labels))
        if told["group"] == "nopal.dev" and told["verb"] not in ("GET", "LIST", "WATCH", "DELETE"):
            found[f"{told['verb']} {told['resource']} {told['subresource']}"] += int(float(count))
    return found


def objects(site: Site) -> dict[str, Object]:
    """Every object of ours by kind, namespace and name."""
    out = site.cluster.kubectl.run("get", KINDS, "-A", "-o", "json", "--show-managed-fields")
    found = {}
    for each in json.loads(out)["items"]:
        meta = each["metadata"]
        found[f"{each['kind']} {meta.get('namespace', '')}/{meta['name']}"] = each
    return found


def changes(before: dict[str, Object], after: dict[str, Object]) -> list[str]:
    """What was written between the two, by whom."""
    told = [f"{name} came or went" for name in before.keys() ^ after.keys()]
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        if old["metadata"]["resourceVersion"] != new["metadata"]["resourceVersion"]:
            writers = [
                entry["manager"]
                for entry in new["metadata"]["managedFields"]
                if entry not in old["metadata"]["managedFields"]
            ]
            was, now = old.get("status", {}), new.get("status", {})
            fields = sorted(k for k in was.keys() | now.keys() if was.get(k) != now.get(k))
            told += [
                f"{name} by {writers}",
                *(f"{k}: {was.get(k)} -> {now.get(k)}" for k in fields),
            ]
    return told


def unchanged(before: dict[str, Object], after: dict[str, Object]) -> None:
    told = changes(before, after)
    assert not told, "\n".join(told)


def settle(site: Site) -> dict[str, Object]:
    """Wait until nothing has changed for three seconds."""
    last, since = objects(site), time.monotonic()

    def quiet() -> bool:
        nonlocal last, since
        now = objects(site)
        if changes(last, now):
            last, since = now, time.monotonic()
        return time.monotonic() - since > 3.0

    wait(quiet, "all is quiet")
    return last


def renewed(site: Site) -> dict[str, str]:
    leases = site.cluster.kubectl.get("leases", "-n", "nopal-hosts")["items"]
    return {lease["metadata"]["name"]: lease["spec"]["renewTime"] for lease in leases}


def test_where_nothing_happens_nothing_is_written(space: Space) -> None:
    site = space.site
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    space.running("vm1")
    before, leases, counted = settle(site), renewed(site), writes(site)
    assert counted.total() > 0, "nothing is counted"

    time.sleep(QUIET)

    assert writes(site) - counted == Counter()
    unchanged(before, objects(site))
    assert all(renewed(site)[name] != at for name, at in leases.items()), "who is dead is quiet"


def test_a_restart_of_our_processes_writes_nothing(space: Space) -> None:
    site = space.site
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    space.running("vm1")
    before, led, workloads = settle(site), site.leader(), site.cluster.workloads

    # Without the operator nobody counts how long a host is silent while its daemon starts.
    workloads.stop_operator()
    counted = writes(site)
    for node in site.cluster.hosts:
        workloads.restart_daemon(node)
    leases = renewed(site)  # what the old daemons renewed last
    wait(lambda: all(renewed(site)[name] != at for name, at in leases.items()), "all hosts live")
    workloads.restart_operator()
    wait(lambda: site.leader() not in ("", led), "the new operator leads")
    time.sleep(QUIET)

    unchanged(before, objects(site))
    assert writes(site) - counted == Counter()
    assert Parts(site.cluster).mend() == []
    assert float(SETTINGS["NOPAL_POLL_SECONDS"]) * 2 < QUIET
