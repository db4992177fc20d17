# SPDX-License-Identifier: Apache-2.0
"""What is around virtual machines changes all the time: most of it is nobody's business."""

import pytest

from nopal_api.kinds import NODE, ZONE
from nopal_operator import schedulers
from nopal_scheduler import Cluster, Scheduler
from support.operatorlab import Lab


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Cluster]:
    """Every zone that is searched from the start."""
    found: list[Cluster] = []

    def build(cluster: Cluster, *, like: Scheduler | None) -> Scheduler:
        found.append(cluster)
        return Scheduler(cluster, like=like)

    monkeypatch.setattr(schedulers, "Scheduler", build)
    return found


async def test_what_a_kubelet_writes_of_its_node_is_nobodys_business(lab: Lab) -> None:
    waits = lab.vm("large", memory={"size": "100Gi"})
    await lab.act_all()
    lab.dirty.clear()
    labels = {"zone": "z1"}
    lab.put(NODE, {"metadata": {"name": "n1", "labels": labels}, "status": {"phase": "Running"}})
    await lab.sync()
    assert lab.dirty == set()
    lab.put(NODE, {"metadata": {"name": "n1", "labels": {**labels, "rack": "a"}}})
    await lab.sync()
    assert waits in lab.dirty


async def test_new_labels_of_every_node_are_no_search_each(lab: Lab, built: list[Cluster]) -> None:
    await lab.act(lab.vm("first"))
    for name in ("n1", "n2"):
        for count in range(5):
            labels = {"zone": "z1", "found": str(count)}
            lab.put(NODE, {"metadata": {"name": name, "labels": labels}})
            await lab.act(lab.vm(f"vm-{name}-{count}", memory={"size": "64Mi"}))
    assert len(built) == 1
    picky = lab.vm("picky", placement={"nodeSelector": {"matchLabels": {"found": "4"}}})
    await lab.act(picky)
    assert lab.said(picky).reason == "Assigned"


async def test_a_zone_that_is_to_survive_takes_none_before_every_host_was_heard_of(
    lab: Lab, built: list[Cluster]
) -> None:
    """At the operator's start hosts are heard of one by one: that is one search, not one each."""
    lab.zone(redundancy={"failures": 1})
    beats = lab.world.heartbeats
    beats.update(n1=None, n2=None)
    vm = lab.vm()
    word = (await lab.refused(vm))[1]
    assert word == "0/2 hosts fit: 2 not ready (no heartbeat seen yet)"
    beats["n1"] = True
    assert (await lab.refused(vm))[1] == word, "nothing new is said meanwhile"
    assert built == []
    beats["n2"] = True
    await lab.act(vm)
    assert lab.said(vm).reason == "Assigned"
    assert len(built) == 1


async def test_of_a_zone_that_is_gone_nothing_is_kept(lab: Lab, built: list[Cluster]) -> None:
    other = lab.zone("z2", redundancy={"failures": 1})
    await lab.host("n3", zone="z2")
    vm = lab.vm("there", zone="z2", availability={"hostLoss": "Leave"})
    await lab.act_all()
    assert lab.said(vm).reason == "Assigned"
    world = lab.world
    lab.kube.remove(ZONE, "z2")
    await lab.sync()
    assert not lab.is_there(other)
    kept = (world.premises, world.times.zone_written)
    assert [z for each in kept for z in each] == ["z1", "z1"]
    assert world.load("n3").cpu == 1, "the room is held all the same"
    built.clear()
    lab.zone("z2", redundancy={"failures": 1})
    await lab.act_all()
    assert [len(cluster.vms) for cluster in built] == [1]
