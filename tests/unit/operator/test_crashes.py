# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the operator at every write, and any order of things: one end, and never twice.

The hosts follow the contract, and a referee looks at what they run after every round.
"""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nopal_api.kinds import DISK, IMAGE, NETWORK, VIRTUAL_MACHINE
from nopal_runtime.errors import NopalError
from nopal_runtime.kube.api import Key
from support.objects import on, uses
from support.operatorcrashes import Crash, CrashPoints, settle
from support.operatorhosts import Hosts
from support.operatorlab import Lab

LAN = on("lan")
# The fixture that silences the log may be shared; a test's own list stands for the profile's.
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


async def begin() -> tuple[Lab, Hosts]:
    lab = Lab()
    lab.zone()
    await lab.host("n1", networks=["lan"])
    await lab.host("n2", networks=["lan"])
    lab.network("lan")
    lab.image("debian")
    return lab, Hosts(lab)


async def story(points: list[tuple[int, str]]) -> tuple[int, list[object]]:
    """A few lives of virtual machines; return the operator's writes and what was seen."""
    lab, hosts = await begin()
    crashes = CrashPoints(lab, points)
    seen: list[object] = []

    async def rest() -> None:
        await settle(lab, hosts)
        hosts.check_claims()
        seen.append(
            {
                "running": sorted(_name(lab, uid) for _, uid in hosts.running),
                "images": len(hosts.images),
                "said": {
                    f"{body['kind']} {body['metadata']['name']}": [
                        (c["type"], c["status"], c["reason"])
                        for c in body.get("status", {}).get("conditions", ())
                    ]
                    for kind in (VIRTUAL_MACHINE, DISK, IMAGE, NETWORK)
                    for body in hosts._all(kind)
                },
            }
        )

    lab.disk("root", size="2Gi", source={"image": {"name": "debian"}})
    lab.disk("data")
    lab.disk("free")
    lab.vm("a", disks=uses("root", "data"), interfaces=LAN, memory={"size": "8Gi"})
    lab.vm("b", memory={"size": "8Gi"})
    await rest()
    lab.vm("a", disks=uses("root"), interfaces=LAN, memory={"size": "8Gi"}, powerState="Stopped")
    lab.vm("c", disks=uses("data"), memory={"size": "8Gi"})
    await rest()
    lab.kube.remove(VIRTUAL_MACHINE, "b", "default")
    lab.vm("a", disks=uses("root"), interfaces=LAN, memory={"size": "8Gi"}, powerState="Running")
    await rest()
    lab.kube.strip_finalizers(VIRTUAL_MACHINE, "c", "default")
    lab.kube.remove(VIRTUAL_MACHINE, "c", "default")
    lab.kube.remove(DISK, "root", "default")
    lab.kube.remove(IMAGE, "debian")
    await rest()
    for name in ("root", "data", "free"):
        if lab.is_there(Key("Disk", "default", name)):
            lab.kube.remove(DISK, name, "default")
    lab.kube.remove(VIRTUAL_MACHINE, "a", "default")
    await rest()
    return crashes.count, seen


def _name(lab: Lab, uid: str) -> str:
    found = lab.world.vm_by_uid(uid)
    return found.record.name if found else f"vanished {uid}"


async def test_the_story_without_a_crash() -> None:
    writes, seen = await story([])
    assert [s["running"] for s in seen] == [["a", "b"], ["b", "c"], ["a", "c"], ["a"], []]  # type: ignore[index]
    assert seen[-1]["images"] == 0  # type: ignore[index]
    assert [k for k in seen[-1]["said"] if k.startswith(("Disk", "Virtual"))] == []  # type: ignore[index]
    assert writes > 30


@pytest.mark.slow
async def test_a_crash_after_every_write_leads_to_the_same_end() -> None:
    writes, expected = await story([])
    for number in range(writes):
        _, seen = await story([(number, "after")])
        assert seen == expected, f"after a crash after write {number}"


@pytest.mark.slow
async def test_an_answer_that_is_lost_after_any_write_leads_to_the_same_end() -> None:
    writes, expected = await story([])
    for number in range(writes):
        _, seen = await story([(number, "lost")])
        assert seen == expected, f"after the lost answer to write {number}"


# Any order of things

VMS, DISKS = ("a", "b", "c"), ("x", "y", "z")
actions = st.one_of(
    st.tuples(st.just("apply"), st.sampled_from(VMS), st.sets(st.sampled_from(DISKS), max_size=2)),
    st.tuples(st.just("stop"), st.sampled_from(VMS)),
    st.tuples(st.just("delete"), st.sampled_from(VMS)),
    st.tuples(st.just("vanish"), st.sampled_from(VMS)),
    st.tuples(st.just("delete disk"), st.sampled_from(DISKS)),
    st.tuples(st.just("silent"), st.sampled_from(["n1", "n2"])),
    st.tuples(st.just("alive"), st.sampled_from(["n1", "n2"])),
    st.tuples(st.just("list")),
    st.tuples(st.just("act"), st.integers(0, 20)),
    st.tuples(st.just("act"), st.integers(0, 20)),
    st.tuples(st.just("act all")),
    st.tuples(st.just("hosts")),
    st.tuples(st.just("crash"), st.integers(0, 3), st.sampled_from(["before", "after"])),
    st.tuples(st.just("restart")),
    st.tuples(st.just("lost"), st.sampled_from(VMS), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("lost"), st.sampled_from(VMS), st.integers(0, 3), st.booleans()),
)


@pytest.mark.slow
@settings(max_examples=50, suppress_health_check=SHARED)
@given(st.lists(actions, max_size=40))
@pytest.mark.asyncio
async def test_any_order_of_things_is_safe_and_comes_to_rest(script: list[tuple[Any, ...]]) -> None:
    lab, hosts = await begin()
    await lab.act_all()  # without a zone no host would get anything
    crashes = CrashPoints(lab)
    for name in DISKS:
        lab.disk(name)
    for name in VMS:
        lab.vm(name, memory={"size": "5Gi"}, disks=uses(*DISKS[:1]))
    await lab.sync()
    for action in script:
        try:
            await _do(lab, hosts, crashes, action)
        except Crash:
            lab.restart()
        except NopalError:
            continue  # the queue would try it again
        hosts.judge()
    for node in ("n1", "n2"):
        lab.heartbeats[node] = True
    crashes._points.clear()
    await settle(lab, hosts)
    _check_the_end(lab, hosts)


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=SHARED)
@given(st.lists(st.tuples(st.integers(0, 1), actions), max_size=60))
@pytest.mark.asyncio
async def test_a_leader_that_does_not_know_yet_that_it_lost_does_no_harm(
    script: list[tuple[int, tuple[Any, ...]]],
) -> None:
    """Two operators act at once, each on what it knew at some time. (Room is not the subject.)"""
    lab, hosts = await begin()
    await lab.act_all()  # without a zone no host would get anything
    late = Lab(lab.kube)
    late.heartbeats = late.world.heartbeats = lab.heartbeats
    for name in DISKS:
        lab.disk(name)
    for name in VMS:
        lab.vm(name, memory={"size": "2Gi"}, disks=uses(*DISKS[:1]))
    crashes = CrashPoints(lab)
    await lab.sync()
    await late.sync()
    for who, action in script:
        try:
            await _do((lab, late)[who], hosts, crashes, action, memory="2Gi")
        except Crash:
            (lab, late)[who].restart()
        except NopalError:
            continue
        hosts.judge()
    for node in ("n1", "n2"):
        lab.heartbeats[node] = True
    crashes._points.clear()
    await settle(lab, hosts)
    _check_the_end(lab, hosts)


async def _do(
    lab: Lab, hosts: Hosts, crashes: CrashPoints, action: tuple[Any, ...], *, memory: str = "5Gi"
) -> None:
    verb, *about = action
    lab.now += 1.0
    if verb == "apply":
        lab.vm(about[0], memory={"size": memory}, disks=uses(*sorted(about[1])))
    elif verb == "stop" and lab.is_there(Key("VirtualMachine", "default", about[0])):
        lab.vm(about[0], memory={"size": memory}, powerState="Stopped")
    elif verb in ("delete", "vanish") and lab.is_there(Key("VirtualMachine", "default", about[0])):
        if verb == "vanish":
            lab.kube.strip_finalizers(VIRTUAL_MACHINE, about[0], "default")
        if lab.is_there(Key("VirtualMachine", "default", about[0])):
            lab.kube.remove(VIRTUAL_MACHINE, about[0], "default")
    elif verb == "delete disk" and lab.is_there(Key("Disk", "default", about[0])):
        lab.kube.remove(DISK, about[0], "default")
    elif verb in ("silent", "alive"):
        lab.heartbeats[about[0]] = verb == "alive"
    elif verb == "list":
        await lab.sync()
    elif verb == "act":
        keys = sorted(k for kind in (VIRTUAL_MACHINE, DISK) for k in lab.world.keys(kind))
        if keys:  # on what is known, however old
            await lab.act_on_what_is_known(keys[about[0] % len(keys)])
    elif verb == "act all":
        for kind in (VIRTUAL_MACHINE, DISK):
            for key in sorted(lab.world.keys(kind)):
                await lab.act(key)
    elif verb == "hosts":
        await hosts.act()
    elif verb == "crash":
        crashes._points.add((crashes.count + about[0], about[1]))
    elif verb == "restart":
        lab.restart()
    elif verb == "lost":
        await _lose_an_answer(lab, crashes, *about)


async def _lose_an_answer(
    lab: Lab, crashes: CrashPoints, name: str, number: int, is_silent: bool
) -> None:
    """A write lands and its answer is lost; the retry comes before the watch does.

    Meanwhile the hosts' heartbeats may look lost, because nobody could send any.
    """
    key = Key("VirtualMachine", "default", name)
    point = (crashes.count + number, "lost")
    crashes._points.add(point)
    with suppress(NopalError):
        await lab.act(key)
    crashes._points.discard(point)
    heartbeats = dict(lab.heartbeats)
    if is_silent:
        lab.heartbeats.update(dict.fromkeys(heartbeats, False))
    try:
        await lab.act_on_what_is_known(key)
    finally:
        lab.heartbeats.update(heartbeats)


def _check_the_end(lab: Lab, hosts: Hosts) -> None:
    hosts.check_claims()
    running = {uid for _, uid in hosts.running}
    claimed: dict[str, str] = {}
    for body in hosts._all(DISK):
        claim = DISK.model.model_validate(body).status.claim  # type: ignore[union-attr]
        if claim is not None:
            claimed[body["metadata"]["name"]] = claim.vm_uid
    uids = set()
    for body in hosts._all(VIRTUAL_MACHINE):
        uid = body["metadata"]["uid"]
        uids.add(uid)
        assert "deletionTimestamp" not in body["metadata"]
        scheduled = next(c for c in body["status"]["conditions"] if c["type"] == "Scheduled")
        if body["spec"].get("powerState") == "Stopped":
            assert uid not in running
            assert scheduled["reason"] == "Stopped"
        elif uid in running:
            assert scheduled["status"] == "True"
            named = {d["disk"]["name"] for d in body["spec"].get("disks", ())}
            held = {name for name, owner in claimed.items() if owner == uid}
            attached = {d["diskName"] for d in body["status"]["assignment"].get("disks", ())}
            assert attached <= held <= attached | named
        else:
            assert scheduled["reason"] in ("DiskInUse", "DiskNotFound")
    assert running <= uids, "a guest without an object runs on"
    assert set(claimed.values()) <= uids, "a disk is claimed by nobody"
