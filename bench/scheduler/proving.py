# SPDX-License-Identifier: Apache-2.0
"""One decision with N+k: a host, and the proof kept up to date."""

import itertools
from dataclasses import dataclass, replace

from bench.scheduler.generate import Rules, make_cluster, make_hosts, make_vms
from bench.scheduler.htools import Htools
from bench.scheduler.report import Report, Row, percentile, seconds, spread, timed
from nopal_scheduler.model import Cluster, Redundancy
from nopal_scheduler.placing.place import Placement
from nopal_scheduler.proof import Proof
from nopal_scheduler.scheduler import Scheduler

GOAL = 0.050


@dataclass(frozen=True, slots=True)
class _Case:
    hosts: int
    vms: int
    failures: int
    rules: Rules = Rules.NONE
    full: bool = False
    """Hosts nearly as full as random places make them."""

    @property
    def name(self) -> str:
        full = ", full" if self.full else ""
        return f"N+{self.failures}, {self.hosts} hosts, {self.vms:,} VMs{full}, {self.rules.value}"

    def cluster(self) -> Cluster:
        """At random places; where they are to be full, up to 95 % of a host."""
        cluster = make_cluster(
            make_hosts(self.hosts), self.vms, seed=1, rules=self.rules, limit=0.95
        )
        return replace(cluster, redundancy=Redundancy(self.failures))


_SHORT = (
    _Case(50, 500, 1),
    _Case(50, 500, 1, rules=Rules.MIXED),
    _Case(50, 500, 2),
)
_FULL = (
    *_SHORT,
    _Case(200, 2_000, 1),
    _Case(200, 2_000, 1, rules=Rules.MIXED),
    _Case(200, 4_000, 1, full=True),
    _Case(200, 3_600, 1, rules=Rules.MIXED, full=True),
    _Case(50, 500, 2, rules=Rules.MIXED),
    _Case(200, 2_000, 2),
    _Case(200, 2_000, 2, rules=Rules.APART),
    _Case(200, 2_000, 2, rules=Rules.MIXED),
)


def measure(report: Report) -> None:
    """Time single decisions on a cluster that stays as it was made but for them."""
    for case in _SHORT if report.quick else _FULL:
        _measure(report, case, decisions=20 if report.quick else 100)


def _measure(report: Report, case: _Case, *, decisions: int) -> None:
    report.say(f"one decision with {case.name}")
    cluster = case.cluster()

    def start() -> tuple[Scheduler, bool]:
        scheduler = Scheduler(cluster)
        return scheduler, isinstance(scheduler.verdict(), Proof)

    (scheduler, proven), first = timed(start)
    samples, placed = [], 0
    for vm in itertools.islice(make_vms(2, rules=case.rules, prefix="new"), decisions):
        answer, took = timed(lambda: scheduler.admit(vm))  # noqa: B023 - called at once
        placed += isinstance(answer, Placement)
        samples.append(took)
    middle = percentile(samples, 0.5)
    # The goal is for 200 hosts and k = 1; the slow ones count as well.
    has_goal = case.failures == 1 and case.hosts == 200
    words = "proven" if proven else "not proven before"
    report.add(
        Row(
            what=f"one decision, {case.name}",
            ours=f"{spread(samples)}; {placed} of {decisions} placed",
            beside=f"{_peer(report, case, cluster)}; ours from nothing {seconds(first)}, {words}",
            goal=seconds(GOAL) if has_goal else "",
            met=percentile(samples, 0.95) <= GOAL if has_goal else None,
            raw={"seconds": samples, "first": first, "p50": middle, "proven": proven},
        )
    )


def _peer(report: Report, case: _Case, cluster: Cluster) -> str:
    if case.failures > 1:
        return "hail: k = 1 only"

    def words(htools: Htools) -> str:
        answer = htools.allocate(cluster, next(make_vms(2, prefix="new")))
        kind = ", without rules" if case.rules is not Rules.NONE else ""
        return f"hail {seconds(answer.seconds)}{kind}"

    return report.ask(words, long=case.hosts > 100)
