# SPDX-License-Identifier: Apache-2.0
"""What guests stand on goes away for a while: it is told, no guest is lost, all goes on."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.site import Site, Space, condition, reason_of, status_of
from support.waiting import wait

pytestmark = pytest.mark.real


@contextmanager
def ceph_stopped(site: Site) -> Iterator[None]:
    ceph = site.cluster.ceph
    ceph.stop_all()
    try:
        yield
    finally:
        ceph.start_all()


@contextmanager
def full_pool(site: Site) -> Iterator[None]:
    ceph = site.cluster.ceph
    ceph.set_quota(1)
    try:
        wait(ceph.pool_full, "the pool is full")
        yield
    finally:
        ceph.set_quota(0)
        wait(lambda: not ceph.pool_full(), "the pool has room")


def test_a_full_pool_refuses_new_disks_and_loses_nothing(space: Space) -> None:
    space.apply(space.disk("old"), space.vm("vm1", "old"))
    space.running("vm1")
    space.counts("old")
    with full_pool(space.site):
        space.apply(space.disk("new"), space.vm("vm2", "new"))
        space.until("vm2", lambda vm: reason_of(vm, "Ready") == "PoolFull", "says PoolFull")
    space.running("vm2")
    space.counts("new")
    space.counts("old")
    assert space.counts("old").boots == 1, "the guest waited, it was not started again"


def test_ceph_that_is_down_stops_no_guest(space: Space) -> None:
    space.apply(space.disk("old"), space.vm("vm1", "old"))
    vm = space.running("vm1")
    _, pid = space.domain(vm)
    space.counts("old")
    with ceph_stopped(space.site):
        space.apply(space.disk("new"), space.vm("vm2", "new"))
        unhappy = ("StorageUnreachable", "Unschedulable")
        space.until(
            "vm2",
            lambda v: reason_of(v, "Ready") in unhappy or reason_of(v, "Scheduled") in unhappy,
            "says so",
        )
        assert space.domain(vm)[1] == pid
    space.until("vm2", lambda v: status_of(v, "Ready") == "True", "runs")
    space.counts("old")
    assert space.domain(vm)[1] == pid


def test_libvirt_that_is_down_is_unknown_and_stops_no_guest(space: Space) -> None:
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    vm = space.running("vm1")
    host, pid = space.domain(vm)
    host.kill_libvirtd()
    try:
        unknown = space.until(
            "vm1", lambda v: reason_of(v, "Ready") == "HypervisorUnreachable", "says so"
        )
        assert status_of(unknown, "Ready") == "Unknown"
        assert pid in host.qemu_pids()
        wait(
            lambda: reason_of(site_host(space, host.name), "LibvirtReachable") != "Reachable",
            "the Host says so",
        )
        remedy = condition(site_host(space, host.name), "LibvirtReachable")["message"]
        assert "systemctl start" in remedy
    finally:
        host.start_libvirtd()
    space.running("vm1")
    assert space.domain(vm) == (host, pid)


def site_host(space: Space, name: str) -> dict[str, object]:
    found = space.site.get("hosts.nopal.dev", name)
    assert found is not None
    return found
