# SPDX-License-Identifier: Apache-2.0
"""Pods and guests share a host's memory: what the Node allows is looked at again and again."""

import asyncio
from typing import Any

from nopal_api.kinds import HOST, NETWORK, NODE, ZONE
from nopal_runtime.kube.fake import Call
from support.simulation import OPERATOR, RESYNC_SECONDS, Simulation, network, simulate, zone
from support.simulation_stories import cluster, condition


def node(sim: Simulation, name: str, memory: str | None) -> None:
    """The kubelet tells what pods may take; a machine of the simulation has 16Gi."""
    status: dict[str, Any] = {"allocatable": {"memory": memory}} if memory else {}
    sim.kube.put(NODE, {"metadata": {"name": name, "labels": {"zone": "z1"}}, "status": status})


def said(sim: Simulation) -> tuple[str, str]:
    found = condition(sim, HOST, "n1", "PodsBounded")
    return found.get("status", ""), found.get("message", "")


def test_a_change_of_the_node_or_of_the_zone_counts_without_a_restart() -> None:
    async def play(sim: Simulation) -> None:
        cluster(sim)
        await sim.settle()
        assert said(sim)[0] == "", "no kubelet has told"

        node(sim, "n1", "16674816Ki")  # 100Mi below the machine, as kubelets do it by themselves
        await asyncio.sleep(RESYNC_SECONDS + 60)
        assert said(sim)[0] == "False"
        assert condition(sim, HOST, "n1")["status"] == "True"
        assert "PodsBounded" in condition(sim, HOST, "n1")["message"]
        assert "Zone z1 to 16284Mi" in said(sim)[1]

        sim.kube.put(ZONE, zone(hostReserved={"memory": "16284Mi"}))
        await sim.settle()
        assert said(sim)[0] == "True"
        sim.kube.put(ZONE, zone())
        await sim.settle()
        assert said(sim)[0] == "False"
        node(sim, "n1", "2Gi")
        await asyncio.sleep(RESYNC_SECONDS + 60)
        assert said(sim)[0] == "True"

    simulate(play)


def test_a_node_that_cannot_be_read_again_keeps_its_word_and_holds_nothing_up() -> None:
    async def play(sim: Simulation) -> None:
        node(sim, "n1", "12Gi")
        cluster(sim)
        await sim.settle()
        sim.refuse = lambda actor, call: actor != OPERATOR and call.kind == NODE.kind
        await asyncio.sleep(2 * RESYNC_SECONDS)
        sim.kube.put(NETWORK, network("lan2"))
        await asyncio.sleep(60)
        assert condition(sim, NETWORK, "lan2")["status"] == "True"
        assert said(sim)[0] == "False"

    simulate(play)


def test_looking_again_writes_nothing() -> None:
    async def play(sim: Simulation) -> None:
        node(sim, "n1", "12Gi")
        cluster(sim)
        await sim.settle()
        writes, reads = [], []

        async def count(call: Call) -> None:
            if call.kind == NODE.kind and call.verb == "get":
                reads.append(call)
            elif call.verb not in ("get", "list") and call.kind != "Lease":
                writes.append(str(call))

        sim.kube.hooks.append(count)
        await asyncio.sleep(3 * RESYNC_SECONDS)
        assert reads
        assert writes == []

    simulate(play)
