# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for clusters so small that every possibility can be tried."""

from dataclasses import replace

from hypothesis import strategies as st

from nopal_scheduler.model import HOST, Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm

APPS = ("db", "web")
TOPOLOGIES = (HOST, "rack")


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Required rules, and a preferred one now and then."""
    return Rule(
        kind=draw(st.sampled_from(list(RuleKind))),
        selector=(("app", draw(st.sampled_from(APPS))),),
        topology=draw(st.sampled_from(TOPOLOGIES)),
        max_skew=draw(st.integers(1, 2)),
        weight=draw(st.sampled_from((None, None, None, 10))),
    )


@st.composite
def hosts(draw: st.DrawFn, name: str) -> Host:
    """Hosts of 5 to 10 vCPUs and bytes, in one of two racks or none; one in eight takes nothing."""
    rack = draw(st.sampled_from(("r1", "r2", "r2", "")))
    return Host(
        name,
        Room(draw(st.integers(5, 10)), draw(st.integers(5, 10))),
        allocated=Room(0, draw(st.sampled_from((0, 0, 1)))),
        networks=draw(st.sampled_from((frozenset({"lan"}), frozenset({"lan"}), frozenset()))),
        cpu_features=draw(st.sampled_from((frozenset({"avx"}), frozenset()))),
        labels={"rack": rack} if rack else {},
        blocked=draw(st.sampled_from(("",) * 15 + ("not ready",))),
        draining=draw(st.sampled_from((False,) * 15 + (True,))),
    )


@st.composite
def vms(draw: st.DrawFn, name: str, *, ruled: bool) -> Vm:
    """Virtual machines of 1 to 3 vCPUs and bytes, half of them with a label or a rule."""
    app = draw(st.sampled_from((*APPS, "")))
    return Vm(
        name,
        Room(draw(st.integers(0, 2)), draw(st.integers(1, 3))),
        networks=draw(st.sampled_from(((), (), ("lan",)))),
        cpu_features=draw(st.sampled_from((frozenset(), frozenset(), frozenset({"avx"})))),
        node_selector=draw(st.sampled_from(({}, {}, {}, {"rack": "r2"}))),
        labels={"app": app} if app else {},
        rules=tuple(draw(st.lists(rules(), max_size=1))) if ruled else (),
        priority=draw(st.integers(0, 2)),
        restarts=draw(st.sampled_from((True, True, True, False))),
    )


@st.composite
def clusters(
    draw: st.DrawFn,
    *,
    max_hosts: int = 4,
    max_vms: int = 5,
    ruled: bool = True,
    failures: int | None = None,
) -> Cluster:
    """Clusters of 2 hosts and more, k = 1 or 2; hosts are not over capacity, rules may be broken.

    Args:
        max_hosts: at most so many hosts.
        max_vms: at most so many virtual machines; each has a host.
        ruled: whether there are any rules.
        failures: k; 2 is over hosts then and has a host more, so that it is possible at times.
    """
    fewest = 2 if failures is None else failures + 2
    made = [draw(hosts(f"h{i}")) for i in range(draw(st.integers(fewest, max_hosts)))]
    free = {host.name: host.free for host in made}
    placed: list[Vm] = []
    for i in range(draw(st.integers(1, max_vms))):
        vm = draw(vms(f"v{i}", ruled=ruled))
        room = [
            host.name
            for host in made
            if free[host.name].cpu >= vm.needs.cpu and free[host.name].memory >= vm.needs.memory
        ]
        if room:
            at = draw(st.sampled_from(room))
            free[at] -= vm.needs
            placed.append(replace(vm, host=at))
    k = failures or draw(st.sampled_from((1, 1, 2)))
    topology = HOST if failures == 2 else draw(st.sampled_from((HOST, HOST, "rack")))
    return Cluster(tuple(made), tuple(placed), Redundancy(k, topology))
