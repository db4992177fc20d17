# SPDX-License-Identifier: Apache-2.0
"""What Nopal relies on from an API server: the fake one must behave as the real one does."""

from typing import Any

import pytest

from nopal_api.image import Image
from nopal_api.kinds import HOST, IMAGE, LEASE, VIRTUAL_MACHINE
from nopal_api.names import FINALIZER
from nopal_api.virtualmachine import VirtualMachine
from nopal_runtime.errors import ConflictError, NotFoundError, TerminalError
from nopal_runtime.kube import client
from nopal_runtime.kube.api import Body
from nopal_runtime.kube.cache import make_record
from support import objects

from .conftest import World

A, B = "test/a", "test/b"
T0 = "2026-01-01T00:00:00Z"
LOCATION = {"fsid": objects.FSID, "pool": "vms", "image": "disk-1"}


def condition(kind: str, status: str = "True") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": "Because", "lastTransitionTime": T0}


def assignment(node: str = "node-1", **more: Any) -> dict[str, Any]:
    disks = [{"name": "root", "diskName": "d", "uid": "u", "location": LOCATION, "size": 1}]
    return {"nodeName": node, "epoch": 1, "cores": 1, "memory": 2**30, "disks": disks, **more}


def version(body: Body) -> str:
    return str(body["metadata"]["resourceVersion"])


async def test_create_and_get(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    read = await world.read(VIRTUAL_MACHINE, made)
    assert read["metadata"]["uid"] == made["metadata"]["uid"]
    assert read["metadata"]["generation"] == 1
    assert make_record(VIRTUAL_MACHINE, read).model(VirtualMachine).spec.cpu.cores == 1
    assert "status" not in read or not read["status"].get("power")


async def test_create_ignores_a_status(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, {**objects.vm(), "status": {"power": "Running"}})
    assert "power" not in (await world.read(VIRTUAL_MACHINE, made)).get("status", {})


async def test_the_policy_adds_the_finalizer(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    assert FINALIZER in made["metadata"]["finalizers"]


async def test_create_twice(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    with pytest.raises(ConflictError) as error:
        await world.api.create(
            VIRTUAL_MACHINE,
            {"metadata": {k: made["metadata"][k] for k in ("name", "namespace")}, **spec(made)},
        )
    assert error.value.reason == "AlreadyExists"


def spec(body: Body) -> dict[str, Any]:
    return {"spec": body["spec"]}


async def test_create_refuses_what_the_schema_refuses(world: World) -> None:
    with pytest.raises(TerminalError) as error:
        await world.make(VIRTUAL_MACHINE, objects.vm(powerState="Dancing"))
    assert error.value.reason == "Invalid"
    assert "powerState" in error.value.message or "power_state" in error.value.message


async def test_get_of_what_is_not_there(world: World) -> None:
    with pytest.raises(NotFoundError):
        await world.api.get(VIRTUAL_MACHINE, namespace=world.namespace, name="nobody")


async def test_list_tells_its_version(world: World) -> None:
    made = [await world.make(VIRTUAL_MACHINE, objects.vm()) for _ in range(3)]
    listing = await world.api.list(VIRTUAL_MACHINE)
    names = {item["metadata"]["name"] for item in listing.items}
    assert names >= {body["metadata"]["name"] for body in made}
    assert int(listing.resource_version) >= max(int(version(body)) for body in made)
    assert all(item["kind"] == "VirtualMachine" for item in listing.items)


async def test_list_reads_all_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE", 2)
    made = [await world.make(VIRTUAL_MACHINE, objects.vm()) for _ in range(5)]
    found = [item["metadata"]["name"] for item in (await world.api.list(VIRTUAL_MACHINE)).items]
    assert len(found) == len(set(found))
    assert set(found) >= {body["metadata"]["name"] for body in made}


async def test_list_by_field(world: World) -> None:
    mine, other = [await world.make(VIRTUAL_MACHINE, objects.vm()) for _ in range(2)]
    node = f"node-{mine['metadata']['uid']}"
    await world.apply(VIRTUAL_MACHINE, mine, A, {"assignment": assignment(node)})
    await world.apply(VIRTUAL_MACHINE, other, A, {"assignment": assignment("elsewhere")})
    listing = await world.api.list(
        VIRTUAL_MACHINE, field_selector=f"status.assignment.nodeName={node}"
    )
    assert [item["metadata"]["name"] for item in listing.items] == [mine["metadata"]["name"]]


async def test_list_of_a_built_in_kind_names_it(world: World) -> None:
    await world.make(LEASE, {"metadata": {"name": "lease"}, "spec": {"holderIdentity": "me"}})
    listing = await world.api.list(LEASE)
    assert listing.items
    assert all(item["kind"] == "Lease" for item in listing.items)


async def test_generation_counts_changes_of_the_spec_only(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    body = await world.apply(VIRTUAL_MACHINE, made, A, {"power": "Running"})
    assert body["metadata"]["generation"] == 1
    labelled = {**body, "metadata": {**body["metadata"], "labels": {"a": "b"}}}
    body = await world.api.replace(VIRTUAL_MACHINE, labelled)
    assert body["metadata"]["generation"] == 1
    changed = {**body, "spec": {**body["spec"], "powerState": "Stopped"}}
    body = await world.api.replace(VIRTUAL_MACHINE, changed)
    assert body["metadata"]["generation"] == 2
    assert body["status"]["power"] == "Running"


async def test_replace_needs_the_current_version(world: World) -> None:
    made = await world.make(LEASE, {"metadata": {"name": "lease"}, "spec": {"holderIdentity": "a"}})
    await world.api.replace(LEASE, {**made, "spec": {"holderIdentity": "b"}})
    with pytest.raises(ConflictError) as error:
        await world.api.replace(LEASE, {**made, "spec": {"holderIdentity": "c"}})
    assert error.value.reason == "Conflict"
    assert (await world.read(LEASE, made))["spec"]["holderIdentity"] == "b"


async def test_managers_do_not_disturb_each_other(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    await world.apply(
        VIRTUAL_MACHINE, made, A, {"assignment": assignment(), "conditions": [condition("A")]}
    )
    body = await world.apply(
        VIRTUAL_MACHINE, made, B, {"power": "Running", "conditions": [condition("B")]}
    )
    assert body["status"]["assignment"]["nodeName"] == "node-1"
    assert body["status"]["power"] == "Running"
    assert {c["type"] for c in body["status"]["conditions"]} == {"A", "B"}


async def test_what_a_manager_leaves_out_is_removed(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    await world.apply(VIRTUAL_MACHINE, made, B, {"power": "Running"})
    both = [condition("Kept"), condition("Dropped")]
    await world.apply(VIRTUAL_MACHINE, made, A, {"assignment": assignment(), "conditions": both})
    body = await world.apply(VIRTUAL_MACHINE, made, A, {"conditions": [condition("Kept")]})
    status = make_record(VIRTUAL_MACHINE, body).model(VirtualMachine).status
    assert status.assignment is None
    assert [c.type for c in status.conditions] == ["Kept"]
    assert status.power == "Running"


async def test_a_disk_leaves_the_assignment(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    await world.apply(VIRTUAL_MACHINE, made, A, {"assignment": assignment()})
    body = await world.apply(VIRTUAL_MACHINE, made, A, {"assignment": assignment(disks=[])})
    status = make_record(VIRTUAL_MACHINE, body).model(VirtualMachine).status
    assert status.assignment is not None
    assert status.assignment.disks == ()


async def test_a_manager_can_give_up_everything_if_another_has_something(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    mine = {"assignment": assignment(), "conditions": [condition("Ready")]}
    await world.apply(VIRTUAL_MACHINE, made, A, mine)
    await world.apply(VIRTUAL_MACHINE, made, B, {"power": "Stopped"})
    record = make_record(VIRTUAL_MACHINE, await world.apply(VIRTUAL_MACHINE, made, A, {}))
    status = record.model(VirtualMachine).status
    assert status.assignment is None
    assert status.conditions == ()
    assert set(record.owned) == {B}
    with pytest.raises(TerminalError):
        await world.apply(VIRTUAL_MACHINE, made, B, {})


async def test_a_condition_is_taken_over_and_given_back(world: World) -> None:
    """The operator's word over the host's while the host is silent, and the host's return."""
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    await world.apply(VIRTUAL_MACHINE, made, B, {"conditions": [condition("Ready")]})
    body = await world.apply(
        VIRTUAL_MACHINE, made, A, {"conditions": [condition("Ready", "Unknown")]}
    )
    assert [c["status"] for c in body["status"]["conditions"]] == ["Unknown"]
    body = await world.apply(VIRTUAL_MACHINE, made, B, {"conditions": [condition("Ready")]})
    assert [c["status"] for c in body["status"]["conditions"]] == ["True"]
    body = await world.apply(VIRTUAL_MACHINE, made, A, {"power": "Unknown"})
    assert [c["status"] for c in body["status"]["conditions"]] == ["True"]


async def test_a_list_map_by_two_keys_is_shared(world: World) -> None:
    made = await world.make(IMAGE, objects.image())
    item = {"zone": "z1", "pool": "main"}
    executor = {"nodeName": "node-1", "epoch": 1}
    await world.apply(IMAGE, made, A, {"pools": [{**item, "executor": executor}]})
    body = await world.apply(
        IMAGE, made, B, {"pools": [{**item, "state": "Fetching"}, {**item, "pool": "other"}]}
    )
    pools = make_record(IMAGE, body).model(Image).status.pools
    assert [(p.pool, p.state) for p in pools] == [("main", "Fetching"), ("other", None)]
    assert pools[0].executor is not None
    body = await world.apply(IMAGE, made, B, {"pools": [{**item, "state": "Ready"}]})
    pools = make_record(IMAGE, body).model(Image).status.pools
    assert [(p.pool, p.state) for p in pools] == [("main", "Ready")]
    body = await world.apply(IMAGE, made, A, {})
    assert [p.state for p in make_record(IMAGE, body).model(Image).status.pools] == ["Ready"]


async def test_an_atomic_list_is_replaced_whole(world: World) -> None:
    made = await world.make(HOST, objects.host())
    await world.apply(HOST, made, A, {"cephAddresses": ["10.0.0.1", "10.0.0.2"]})
    body = await world.apply(HOST, made, A, {"cephAddresses": ["10.0.0.3"]})
    assert body["status"]["cephAddresses"] == ["10.0.0.3"]


async def test_the_same_apply_again_changes_nothing(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    status = {"assignment": assignment(), "conditions": [condition("Ready")]}
    first = await world.apply(VIRTUAL_MACHINE, made, A, status)
    assert version(await world.apply(VIRTUAL_MACHINE, made, A, status)) == version(first)


async def test_apply_needs_the_current_version(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    await world.apply(VIRTUAL_MACHINE, made, A, {"power": "Running"})
    with pytest.raises(ConflictError) as error:
        await world.apply(VIRTUAL_MACHINE, made, A, {"power": "Stopped"}, version(made))
    assert error.value.reason == "Conflict"
    assert (await world.read(VIRTUAL_MACHINE, made))["status"]["power"] == "Running"


async def test_apply_to_what_is_not_there(world: World) -> None:
    with pytest.raises(NotFoundError):
        await world.api.apply_status(
            VIRTUAL_MACHINE,
            namespace=world.namespace,
            name="nobody",
            manager=A,
            resource_version="1",
            status={"power": "Running"},
        )


async def test_a_late_apply_does_not_reach_a_namesake(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    await world.finalize(VIRTUAL_MACHINE, made, ())
    await world.delete(VIRTUAL_MACHINE, made)
    meta = {k: made["metadata"][k] for k in ("name", "namespace")}
    await world.api.create(VIRTUAL_MACHINE, {"metadata": meta, **spec(made)})
    with pytest.raises(ConflictError):
        await world.apply(VIRTUAL_MACHINE, made, A, {"power": "Running"}, version(made))


@pytest.mark.parametrize("status", [{"power": "Dancing"}, {"dance": True}])
async def test_apply_refuses_what_the_schema_refuses(world: World, status: dict[str, Any]) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    with pytest.raises(TerminalError) as error:
        await world.apply(VIRTUAL_MACHINE, made, A, status)
    assert error.value.reason == "Invalid"
    assert next(iter(status)) in error.value.message


async def test_apply_refuses_a_manager_of_over_128_bytes(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    with pytest.raises(TerminalError):
        await world.apply(VIRTUAL_MACHINE, made, "x" * 129, {"power": "Running"})


async def test_a_finalizer_holds_a_deletion(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    await world.finalize(VIRTUAL_MACHINE, made, (FINALIZER, "example.com/other"))
    await world.delete(VIRTUAL_MACHINE, made)
    record = make_record(VIRTUAL_MACHINE, await world.read(VIRTUAL_MACHINE, made))
    assert record.deleting
    assert record.generation == 2
    await world.delete(VIRTUAL_MACHINE, made)  # again: the same
    body = await world.apply(VIRTUAL_MACHINE, made, A, {"power": "Stopped"})
    assert body["status"]["power"] == "Stopped"
    kept = await world.finalize(VIRTUAL_MACHINE, made, ("example.com/other",))
    assert kept["metadata"]["finalizers"] == ["example.com/other"]
    with pytest.raises(TerminalError) as refused:
        await world.finalize(VIRTUAL_MACHINE, made, ("example.com/other", "example.com/new"))
    assert refused.value.reason == "Invalid"
    assert int(version(kept)) > int(version(body))
    await world.finalize(VIRTUAL_MACHINE, made, ())
    with pytest.raises(NotFoundError):
        await world.read(VIRTUAL_MACHINE, made)


async def test_finalizers_of_exactly_that_object_at_that_version(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    changed = await world.apply(VIRTUAL_MACHINE, made, A, {"power": "Running"})
    for uid, at in (
        ("00000000-dead-4000-8000-000000000000", version(changed)),
        (made["metadata"]["uid"], version(made)),
    ):
        with pytest.raises(ConflictError):
            await world.api.set_finalizers(
                VIRTUAL_MACHINE,
                namespace=world.namespace,
                name=made["metadata"]["name"],
                uid=uid,
                resource_version=at,
                finalizers=(),
            )
    assert make_record(VIRTUAL_MACHINE, await world.read(VIRTUAL_MACHINE, made)).finalizers == (
        FINALIZER,
    )


async def test_delete_of_exactly_that_object(world: World) -> None:
    made = await world.make(VIRTUAL_MACHINE, objects.vm())
    name = made["metadata"]["name"]
    with pytest.raises(ConflictError):
        await world.api.delete(
            VIRTUAL_MACHINE,
            namespace=world.namespace,
            name=name,
            uid="00000000-dead-4000-8000-000000000000",
        )
    assert not (await world.read(VIRTUAL_MACHINE, made))["metadata"].get("deletionTimestamp")
    with pytest.raises(NotFoundError):
        await world.api.delete(VIRTUAL_MACHINE, namespace=world.namespace, name="nobody", uid="x")
