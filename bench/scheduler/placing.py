# SPDX-License-Identifier: Apache-2.0
"""Plain placement, without N+k: decisions per second, each seen by the next."""

import itertools

from bench.scheduler.generate import Rules, make_cluster, make_hosts, make_vms
from bench.scheduler.htools import Htools
from bench.scheduler.report import Report, Row, seconds, timed
from nopal_scheduler.model import Cluster
from nopal_scheduler.placing.place import Placement, place
from nopal_scheduler.state import State

GOAL = 5_000
PUBLISHED = "kube-scheduler 680 to 810/s (published)"


def measure(report: Report) -> None:
    """Decisions per second on a large zone; each virtual machine stays where it was placed."""
    hosts, vms, decisions = (100, 5_000, 500) if report.quick else (1_000, 50_000, 5_000)
    for rules in (Rules.NONE, Rules.MIXED):
        name = f"placement, {hosts:,} hosts, {vms:,} VMs, {rules.value}"
        report.say(name)
        cluster = _cluster(hosts, vms, rules=rules)
        state = State(cluster)
        # The share of virtual machines with rules is that of the cluster.
        stream = itertools.islice(make_vms(2, rules=rules, prefix="new"), decisions)

        def decide() -> int:
            placed = 0
            for vm in stream:  # noqa: B023 - called at once
                answer = place(state, vm)  # noqa: B023
                if isinstance(answer, Placement):
                    state.add(vm, state.index[answer.host])  # noqa: B023
                    placed += 1
            return placed

        placed, took = timed(decide)
        if placed != decisions:
            raise RuntimeError(f"only {placed} of {decisions} were placed: the hosts are too full")
        rate = decisions / took
        report.add(
            Row(
                what=name,
                ours=f"{rate:,.0f}/s",
                beside=f"{PUBLISHED}{'' if rules is Rules.MIXED else _peer(report, cluster)}",
                goal=f"{GOAL:,}/s",
                met=None if report.quick else rate >= GOAL,
                raw={"per second": rate, "decisions": decisions},
            )
        )


def _cluster(hosts: int, vms: int, *, rules: Rules) -> Cluster:
    """Hosts of 768 GiB and 768 virtual CPUs: 50 of our mix take three quarters of one."""
    return make_cluster(make_hosts(hosts, memory=768, cpu=768), vms, seed=1, rules=rules)


def _peer(report: Report, cluster: Cluster) -> str:
    def words(htools: Htools) -> str:
        answer = htools.allocate(cluster, next(make_vms(2, prefix="new")), redundant=False)
        return f"without N+1 {seconds(answer.seconds)} each"

    return f"; hail {report.ask(words)}"
