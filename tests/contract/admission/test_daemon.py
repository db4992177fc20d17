# SPDX-License-Identifier: Apache-2.0
"""A node daemon touches what its own node was given, and nothing else."""

from typing import Any

import pytest

from nopal_api import names
from nopal_api.kinds import DISK, HOST, IMAGE, LEASE, VIRTUAL_MACHINE, Kind
from support import objects
from support.admission import World
from support.apiserver import Answer, ApiServer

pytestmark = pytest.mark.real

READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Running",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def report(
    who: ApiServer, world: World, kind: Kind, name: str, *, manager: str = "", **status: Any
) -> Answer:
    manager = manager or names.MANAGER_NODE
    return who.apply_status(kind, name, world.space(kind), manager=manager, status=status)


def refused(answer: Answer, policy: str, *words: str) -> bool:
    """Refused by a policy of that name (or that begins so), with these words."""
    assert answer.code == 403, answer
    assert f"ValidatingAdmissionPolicy '{policy}" in answer.message, answer.message
    for word in words:
        assert word in answer.message, answer.message
    return True


class TestVirtualMachine:
    def test_its_own_it_reports_on(self, world: World) -> None:
        name = world.vm()
        done = report(
            world.daemon,
            world,
            VIRTUAL_MACHINE,
            name,
            power="Stopped",
            releasedEpoch=3,
            conditions=[READY],
        )
        assert done.ok, done
        status = world.read(VIRTUAL_MACHINE, name)["status"]
        assert status["power"] == "Stopped"
        assert status["assignment"] == world.assignment()

    def test_another_nodes_it_does_not(self, world: World) -> None:
        name = world.vm(nodeName=world.there)
        answer = report(world.daemon, world, VIRTUAL_MACHINE, name, power="Stopped")
        assert refused(answer, "nopal-node-virtualmachines", f"assigned to {world.there}")

    def test_one_that_nobody_assigned_it_does_not(self, world: World) -> None:
        name = world.make(VIRTUAL_MACHINE, objects.vm(namespace=world.namespace))
        answer = report(world.daemon, world, VIRTUAL_MACHINE, name, assignment=world.assignment())
        assert refused(answer, "nopal-node-virtualmachines", "no node")

    def test_after_a_move_the_old_host_is_shut_out(self, world: World) -> None:
        name = world.vm()
        assert report(world.daemon, world, VIRTUAL_MACHINE, name, power="Stopped").ok
        moved = world.assignment(nodeName=world.there, epoch=4)
        world.decide(VIRTUAL_MACHINE, name, {"assignment": moved})
        answer = report(world.daemon, world, VIRTUAL_MACHINE, name, power="Running")
        assert refused(answer, "nopal-node-virtualmachines")
        assert report(world.neighbour, world, VIRTUAL_MACHINE, name, power="Running").ok

    @pytest.mark.parametrize(
        "change",
        [
            {"nodeName": "elsewhere"},
            {"epoch": 9},
            {"memory": 2**40},
            {"interfaces": [{"name": "lan", "network": "lan", "bridge": "mgmt", "mac": "02:0"}]},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_the_assignment_it_does_not_change(self, world: World, change: dict[str, Any]) -> None:
        name = world.vm()
        moved = world.assignment(**change)
        # Under the operator's own manager name: field managers are no protection.
        for manager in (names.MANAGER_NODE, names.MANAGER_ASSIGNMENT):
            answer = report(
                world.daemon, world, VIRTUAL_MACHINE, name, manager=manager, assignment=moved
            )
            assert refused(answer, "nopal-node-virtualmachines", "assignment belongs")

    def test_the_assignment_it_does_not_remove(self, world: World) -> None:
        name = world.vm()
        answer = report(
            world.daemon,
            world,
            VIRTUAL_MACHINE,
            name,
            manager=names.MANAGER_ASSIGNMENT,
            power="Stopped",
        )
        assert refused(answer, "nopal-node-virtualmachines", "assignment belongs")

    @pytest.mark.parametrize("word", ["Scheduled", "Deleting"])
    def test_some_conditions_are_the_operators_words(self, world: World, word: str) -> None:
        name = world.vm()
        said = {**READY, "type": word, "status": "False"}
        answer = report(world.daemon, world, VIRTUAL_MACHINE, name, conditions=[said])
        assert refused(answer, "nopal-node-virtualmachines", word)

    def test_it_releases_no_epoch_ahead(self, world: World) -> None:
        """Else a host could call the next one's guest stopped, and it would run twice."""
        name = world.vm()
        answer = report(world.daemon, world, VIRTUAL_MACHINE, name, releasedEpoch=4)
        assert refused(answer, "nopal-node-virtualmachines", "releasedEpoch")


class TestDisk:
    def test_its_own_it_reports_on(self, world: World) -> None:
        name = world.disk()
        done = report(
            world.daemon,
            world,
            DISK,
            name,
            size="1073741824",
            deletedEpoch=2,
            releasedClaimEpoch=5,
            conditions=[READY],
        )
        assert done.ok, done
        assert world.read(DISK, name)["status"]["size"] == "1073741824"

    def test_another_nodes_it_does_not(self, world: World) -> None:
        name = world.disk(executor={"nodeName": world.there, "epoch": 2})
        answer = report(world.daemon, world, DISK, name, deletedEpoch=2)
        assert refused(answer, "nopal-node-disks", f"hands of {world.there}")

    def test_one_without_an_executor_it_does_not(self, world: World) -> None:
        name = world.make(DISK, objects.disk(namespace=world.namespace))
        answer = report(
            world.daemon, world, DISK, name, executor={"nodeName": world.here, "epoch": 1}
        )
        assert refused(answer, "nopal-node-disks", "no node")

    @pytest.mark.parametrize(
        "change",
        [
            {"executor": {"nodeName": "elsewhere", "epoch": 2}},
            {"claim": {"vmName": "mine", "vmUID": "u2", "nodeName": "elsewhere", "epoch": 6}},
            {"location": {"fsid": objects.FSID, "pool": "vms", "image": "another-tenants"}},
            {
                "parent": {
                    "location": {"fsid": objects.FSID, "pool": "vms", "image": "secret"},
                    "snapshot": "s",
                }
            },
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_what_the_operator_decided_it_does_not_change(
        self, world: World, change: dict[str, Any]
    ) -> None:
        name = world.disk()
        answer = report(world.daemon, world, DISK, name, **change)
        assert refused(answer, "nopal-node-disks", "belong to the operator")

    def test_the_claim_it_does_not_remove(self, world: World) -> None:
        name = world.disk()
        answer = report(
            world.daemon,
            world,
            DISK,
            name,
            manager=names.MANAGER_ASSIGNMENT,
            location={"fsid": objects.FSID, "pool": "vms", "image": "disk-1"},
            executor={"nodeName": world.here, "epoch": 2},
        )
        assert refused(answer, "nopal-node-disks", "belong to the operator")

    def test_deleting_is_the_operators_word(self, world: World) -> None:
        name = world.disk()
        deleting = {**READY, "type": "Deleting"}
        answer = report(world.daemon, world, DISK, name, conditions=[deleting])
        assert refused(answer, "nopal-node-disks", "Deleting")

    @pytest.mark.parametrize("epoch", [{"deletedEpoch": 3}, {"releasedClaimEpoch": 6}])
    def test_it_reports_no_epoch_ahead(self, world: World, epoch: dict[str, Any]) -> None:
        answer = report(world.daemon, world, DISK, world.disk(), **epoch)
        assert refused(answer, "nopal-node-disks", next(iter(epoch)))

    def test_what_it_released_may_stay_when_the_claim_is_gone(self, world: World) -> None:
        name = world.disk()
        assert report(world.daemon, world, DISK, name, releasedClaimEpoch=5).ok
        executor = {"nodeName": world.here, "epoch": 2}
        location = world.read(DISK, name)["status"]["location"]
        world.decide(DISK, name, {"executor": executor, "location": location})
        assert report(world.daemon, world, DISK, name, releasedClaimEpoch=5, size="1").ok


class TestImage:
    def entry(self, pool: str, **fields: Any) -> dict[str, Any]:
        return {"zone": "z1", "pool": pool, **fields}

    def put(self, who: ApiServer, world: World, name: str, *pools: dict[str, Any]) -> Answer:
        manager = names.image_manager("z1", pools[0]["pool"])
        return report(who, world, IMAGE, name, manager=manager, pools=list(pools))

    def test_its_own_entry_it_reports_on(self, world: World) -> None:
        name = world.image()
        entry = self.entry("mine", state="Fetching", epoch=2, progressPercent=40)
        done = self.put(world.daemon, world, name, entry)
        assert done.ok, done
        theirs = self.entry("theirs", state="Ready", epoch=2, snapshot="s", size="1")
        assert self.put(world.neighbour, world, name, theirs).ok
        states = {p["pool"]: p["state"] for p in world.read(IMAGE, name)["status"]["pools"]}
        assert states == {"mine": "Fetching", "theirs": "Ready"}

    def test_another_nodes_entry_it_does_not(self, world: World) -> None:
        """Else a host could pass its own bytes off as an image of the other pool's."""
        entry = self.entry("theirs", state="Ready", epoch=2, snapshot="s")
        answer = self.put(world.daemon, world, world.image(), entry)
        assert refused(answer, "nopal-node-images", "another executor")

    @pytest.mark.parametrize(
        "change",
        [
            {"executor": {"nodeName": "elsewhere", "epoch": 2}},
            {"location": {"fsid": objects.FSID, "pool": "vms", "image": "evil"}},
            {"epoch": 3},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_what_the_operator_decided_it_does_not_change(
        self, world: World, change: dict[str, Any]
    ) -> None:
        answer = self.put(world.daemon, world, world.image(), self.entry("mine", **change))
        assert refused(answer, "nopal-node-images", "belong to the operator")

    def test_it_adds_no_entry(self, world: World) -> None:
        executor = {"nodeName": world.here, "epoch": 1}
        entry = self.entry("new", state="Ready", executor=executor)
        answer = self.put(world.daemon, world, world.image(), entry)
        assert refused(answer, "nopal-node-images", "adds and removes")

    def test_it_removes_no_entry(self, world: World) -> None:
        name = world.image()
        answer = report(
            world.daemon,
            world,
            IMAGE,
            name,
            manager=names.MANAGER_ASSIGNMENT,
            pools=world.image_pools()[:1],
        )
        assert refused(answer, "nopal-node-images", "adds and removes")

    def test_the_conditions_are_the_operators_words(self, world: World) -> None:
        answer = report(world.daemon, world, IMAGE, world.image(), conditions=[READY])
        assert refused(answer, "nopal-node-images", "conditions")

    def test_the_longest_list_is_within_the_cost_limit(self, world: World) -> None:
        name = world.make(IMAGE, objects.image())
        executor = {"nodeName": world.here, "epoch": 1}
        pools = [{"zone": f"z{number}", "pool": "p", "executor": executor} for number in range(256)]
        world.decide(IMAGE, name, {"pools": pools})
        entry = {"zone": "z77", "pool": "p", "state": "Ready", "epoch": 1}
        done = report(world.daemon, world, IMAGE, name, pools=[entry])
        assert done.ok, done


class TestHost:
    def test_it_makes_its_own_and_reports_on_it(self, world: World) -> None:
        made = world.daemon.create(HOST, objects.host(world.here))
        assert made.ok, made
        assert names.FINALIZER in made.body["metadata"]["finalizers"]
        done = report(world.daemon, world, HOST, world.here, bootID="b", conditions=[READY])
        assert done.ok, done

        world.operator.apply_status(
            HOST, world.here, manager=names.MANAGER_OPERATOR, status={"zone": "z1"}
        )
        assert report(world.daemon, world, HOST, world.here, bootID="c").ok
        answer = report(world.daemon, world, HOST, world.here, zone="z2")
        assert refused(answer, "nopal-node-hosts", "zone belongs")
        assert world.read(HOST, world.here)["status"]["zone"] == "z1"

        for word in ("InZone", "Deleting"):
            said = {**READY, "type": word}
            answer = report(world.daemon, world, HOST, world.here, conditions=[said])
            assert refused(answer, "nopal-node-hosts", word)

    def test_another_nodes_it_neither_makes_nor_reports_on(self, world: World) -> None:
        answer = world.daemon.create(HOST, objects.host(world.there))
        assert refused(answer, "nopal-node-hosts", world.there)
        world.make(HOST, objects.host(), name=world.there)
        answer = report(world.daemon, world, HOST, world.there, bootID="b")
        assert refused(answer, "nopal-node-hosts", world.there)

    def test_a_generated_name_is_no_way_round(self, world: World) -> None:
        answer = world.daemon.create(HOST, {"metadata": {"generateName": f"{world.here}-"}})
        assert refused(answer, "nopal-node-hosts")


class TestLease:
    def lease(self, name: str, namespace: str = names.HOST_LEASE_NAMESPACE) -> dict[str, Any]:
        return {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 15},
        }

    def test_its_own_it_makes_and_renews(self, world: World) -> None:
        made = world.daemon.create(LEASE, self.lease(world.here))
        assert made.ok, made
        made.body["spec"]["renewTime"] = "2026-01-01T00:00:00.000000Z"
        assert world.daemon.replace(LEASE, made.body).ok

    def test_another_nodes_it_neither_makes_nor_renews(self, world: World) -> None:
        """Else a host could keep a dead one alive, or a live one from being seen."""
        answer = world.daemon.create(LEASE, self.lease(world.there))
        assert refused(answer, "nopal-node-leases", "its own Lease")
        made = world.neighbour.create(LEASE, self.lease(world.there))
        assert made.ok, made
        answer = world.daemon.replace(LEASE, made.body)
        assert refused(answer, "nopal-node-leases", "its own Lease")

    def test_the_operators_is_out_of_reach(self, world: World) -> None:
        lease = self.lease("nopal-operator", names.SYSTEM_NAMESPACE)
        assert world.daemon.create(LEASE, lease).code == 403
        assert world.daemon.get(LEASE, "nopal-operator", names.SYSTEM_NAMESPACE).code == 403


class TestTokenWithoutNode:
    """A token that no node stands behind writes nothing, not even where a name would fit."""

    def test_it_writes_no_status(self, world: World) -> None:
        made = {VIRTUAL_MACHINE: world.vm(), DISK: world.disk(), IMAGE: world.image()}
        for kind, name in made.items():
            answer = report(world.nodeless, world, kind, name)
            assert answer.code == 403, (kind, answer)
            assert "ValidatingAdmissionPolicy" in answer.message

    def test_an_empty_name_does_not_match_an_empty_claim(self, world: World) -> None:
        name = world.make(VIRTUAL_MACHINE, objects.vm(namespace=world.namespace))
        answer = report(world.nodeless, world, VIRTUAL_MACHINE, name, power="Running")
        assert refused(answer, "nopal-node")

    def test_it_makes_no_host_and_no_lease(self, world: World) -> None:
        assert refused(world.nodeless.create(HOST, objects.host("t-any")), "nopal-node")
        lease = {"metadata": {"name": "t-any", "namespace": names.HOST_LEASE_NAMESPACE}}
        assert refused(world.nodeless.create(LEASE, lease), "nopal-node-leases")
