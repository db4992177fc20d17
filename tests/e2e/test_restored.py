# SPDX-License-Identifier: Apache-2.0
"""kube-apiserver that went back in time, or is another one: the hosts know better than it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nopal_dev.hosts import Host
from support.etcd import Etcd
from support.parts import Parts, qemus
from support.site import SETTINGS, Object, Space, condition, reason_of, status_of
from support.vanishing import held
from support.waiting import wait

pytestmark = pytest.mark.real


@pytest.fixture
def etcd(space: Space) -> Iterator[Etcd]:
    """etcd, with everything running again when the test ends."""
    yield Etcd(space.site.cluster)
    Parts(space.site.cluster).mend()


@pytest.fixture
def kubelet(etcd: Etcd) -> Iterator[None]:
    """The operator is started again whenever it ends: etcd is away for long."""
    with Parts(etcd.cluster).kubelet():
        yield


def run_ahead(
    space: Space, etcd: Etcd, copy: Path, *, first: str, then: str
) -> tuple[int, Host, int]:
    """Run a VM on one node, keep etcd's state, run it again on a node, and restore etcd.

    Returns the restored epoch, and where the guest of the newer one runs.
    """
    space.apply(space.disk("root"), space.vm("vm1", "root", placement=on(first)))
    epoch: int = space.running("vm1")["status"]["assignment"]["epoch"]
    etcd.backup(copy)
    space.running("vm1")  # kube-apiserver knows our kinds again
    space.patch("vm", "vm1", {"powerState": "Stopped", "placement": on(then)})
    space.until("vm1", lambda v: v["status"]["power"] == "Stopped", "stops")
    space.patch("vm", "vm1", {"powerState": "Running"})
    ahead = space.until(
        "vm1",
        lambda v: v["status"]["assignment"]["epoch"] > epoch and status_of(v, "Ready") == "True",
        "runs at a higher epoch",
    )
    host, pid = space.domain(ahead)
    space.counts("root")
    etcd.restore(copy)
    return epoch, host, pid


def on(node: str) -> Object:
    return {"nodeSelector": {"matchLabels": {"kubernetes.io/hostname": node}}}


@pytest.mark.usefixtures("kubelet")
def test_a_guest_that_is_ahead_of_a_restored_etcd_is_left_alone(
    space: Space, etcd: Etcd, tmp_path: Path
) -> None:
    epoch, host, pid = run_ahead(space, etcd, tmp_path / "etcd", first="node-1", then="node-1")

    vm = space.until("vm1", lambda v: reason_of(v, "Ready") == "EpochAhead", "is held")
    assert vm["status"]["assignment"]["epoch"] == epoch
    assert status_of(vm, "Ready") == "Unknown"
    assert "restore" in condition(vm, "Ready")["message"]
    space.counts("root")
    assert qemus(vm["metadata"]["uid"]) == {pid}
    assert pid in host.qemu_pids()
    # The way out that the condition names.
    space.delete("vm", "vm1")
    assert pid not in host.qemu_pids()
    space.apply(space.vm("vm1", "root"))
    space.running("vm1")
    assert space.counts("root").boots == 3


@pytest.mark.usefixtures("kubelet")
def test_a_guest_that_a_restored_etcd_has_elsewhere_is_not_started_twice(
    space: Space, etcd: Etcd, tmp_path: Path
) -> None:
    _, host, pid = run_ahead(space, etcd, tmp_path / "etcd", first="node-1", then="node-2")

    vm = space.until("vm1", lambda v: reason_of(v, "Ready") == "OwnershipUnclear", "is not started")
    assert vm["status"]["assignment"]["nodeName"] == "node-1"
    assert "restored" in condition(vm, "Ready")["message"]
    space.counts("root")
    assert qemus(vm["metadata"]["uid"]) == {pid}
    assert pid in host.qemu_pids()
    space.delete("vm", "vm1")
    wait(lambda: pid not in host.qemu_pids(), "the guest that no object names is ended")
    space.apply(space.vm("vm1", "root"))
    space.running("vm1")
    assert space.counts("root").boots == 3


def test_another_cluster_ends_no_guest_and_removes_no_image(
    space: Space, etcd: Etcd, tmp_path: Path
) -> None:
    """The daemons of a whole site get a kubeconfig of another cluster, which knows nothing."""
    site, cluster = space.site, space.site.cluster
    space.apply(space.disk("root"), space.vm("vm1", "root"))
    vm = space.running("vm1")
    host, pid = space.domain(vm)
    written, image, before = space.counts("root"), space.image("root"), site.images()
    try:
        cluster.workloads.stop()
        etcd.wipe(tmp_path / "etcd")
        cluster.workloads.start(SETTINGS)
        site.apply(site.zone(), site.network())

        wait(lambda: "another Kubernetes cluster" in held(space, host.name), "the orphan is held")

        assert "kubeconfig" in held(space, host.name)
        assert site.get("vm", "vm1", space.namespace) is None
        assert qemus(vm["metadata"]["uid"]) == {pid}
        now = site.counter(image)
        assert now is not None
        assert now.value > written.value
        kept = {image for image in before if not image.startswith("trash:")}
        assert kept <= site.images() <= before  # the trash may be emptied meanwhile
    finally:
        cluster.workloads.stop()
        etcd.restore(tmp_path / "etcd")
        cluster.workloads.start(SETTINGS)
    wait(lambda: not held(space, host.name), "the Host says no more of orphans")
    space.running("vm1")
    assert space.domain(vm) == (host, pid)
    assert space.counts("root").boots == 1
