# SPDX-License-Identifier: Apache-2.0
"""Density: how much a stream gets onto a cluster before it has been refused 20 times.

The bound is what n - k hosts hold together: nobody can promise more.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from bench.scheduler.generate import AMPLE, SCARCE, make_hosts, make_vms
from bench.scheduler.htools import Htools
from bench.scheduler.report import Report, Row, timed
from nopal_scheduler.checker import check_placement, check_proof
from nopal_scheduler.model import Cluster, Redundancy, Room, Vm
from nopal_scheduler.placing.place import Placement
from nopal_scheduler.proof import Proof
from nopal_scheduler.scheduler import Scheduler
from support.killer import killed

GOAL = 0.98
REFUSALS = 20
LISTED = ((75, 2), (150, 2), (30, 3))
"""Hosts and k of zones that backup lists prove, not packings."""


@dataclass(frozen=True, slots=True)
class _Stream:
    """What became of one stream."""

    cluster: Cluster
    share: float
    """Of the bound, for the resource that is used most."""
    first: float
    """The same when the first was refused."""
    decisions: int
    seconds: float
    violations: int = 0
    """By the checker and by the killer."""


def measure(report: Report) -> None:
    """Send the same streams to us and to hail."""
    sizes, seeds = ((5, 10), (1,)) if report.quick else ((5, 10, 20), (1, 2, 3, 4, 5))
    for cpu in (AMPLE, SCARCE):
        for hosts in sizes:
            for failures in (1, 2):
                _measure(report, hosts, failures, cpu=cpu, seeds=seeds)
    for hosts, failures in () if report.quick else LISTED:
        _measure_listed(report, hosts, failures, seeds=seeds)


def _measure(
    report: Report, hosts: int, failures: int, *, cpu: int, seeds: tuple[int, ...]
) -> None:
    name = f"density, {hosts} hosts, k = {failures}{', cpu scarce' if cpu == SCARCE else ''}"
    empty = Cluster(make_hosts(hosts, cpu=cpu), redundancy=Redundancy(failures))
    ours = [_ours(report, f"{name}, seed {seed}", empty, seed) for seed in seeds]
    mean = sum(each.share for each in ours) / len(ours)
    violations = sum(each.violations for each in ours)
    report.add(
        Row(
            what=name,
            ours=f"{_words(ours)}, {violations} violations",
            beside=_peer(report, name, empty, seeds),
            goal=f"{GOAL:g}, none",
            met=mean >= GOAL and not violations,
            raw={
                "shares": [each.share for each in ours],
                "first refusals": [each.first for each in ours],
                "seconds": [each.seconds for each in ours],
                "decisions": [each.decisions for each in ours],
            },
        )
    )


def _measure_listed(report: Report, hosts: int, failures: int, *, seeds: tuple[int, ...]) -> None:
    name = f"density, {hosts} hosts, k = {failures}, backup lists"
    empty = Cluster(make_hosts(hosts), redundancy=Redundancy(failures))
    # The killer would go through every loss, of which there are thousands; so does the checker.
    ours = [_ours(report, f"{name}, seed {s}", empty, s, killer=False) for s in seeds]
    violations = sum(each.violations for each in ours)
    report.add(
        Row(
            what=name,
            ours=f"{_words(ours)}, {violations} violations",
            beside="the bound: 1",
            raw={"shares": [each.share for each in ours], "seconds": [e.seconds for e in ours]},
        )
    )


def _ours(report: Report, name: str, empty: Cluster, seed: int, *, killer: bool = True) -> _Stream:
    scheduler = Scheduler(empty)

    def decide(vm: Vm, _: Cluster) -> str | None:
        answer = scheduler.admit(vm)
        return answer.host if isinstance(answer, Placement) else None

    stream = _run(report, f"{name}, ours", empty, seed, decide)
    verdict = scheduler.verdict()
    if not isinstance(verdict, Proof):
        raise RuntimeError(f"{name}: admitted without a proof: {verdict.message}")
    checked = (*check_placement(stream.cluster), *check_proof(stream.cluster, verdict))
    found = [each.message for each in checked]
    if killer:
        found += killed(stream.cluster, verdict)
    for violation in found:
        report.say(f"VIOLATION {name}: {violation}")
    return replace(stream, violations=len(found))


def _peer(report: Report, name: str, empty: Cluster, seeds: Iterable[int]) -> str:
    if empty.redundancy.failures > 1:
        return "hail: k = 1 only"

    def words(htools: Htools) -> str:
        theirs = [
            _run(
                report, f"{name}, seed {seed}, hail", empty, seed,
                lambda vm, cluster: htools.allocate(cluster, vm).host,
            )
            for seed in seeds
        ]  # fmt: skip
        lost = sum(_lost_for_sure(each.cluster) for each in theirs)
        broken = f", {lost} losses of one host too much for the rest" if lost else ""
        return f"hail {_words(theirs)}{broken}"

    return report.ask(words)


def _run(
    report: Report,
    name: str,
    empty: Cluster,
    seed: int,
    decide: Callable[[Vm, Cluster], str | None],
) -> _Stream:
    cluster, refused, first, spent, decisions = empty, 0, 1.0, 0.0, 0
    for vm in make_vms(seed):
        host, took = timed(lambda: decide(vm, cluster))  # noqa: B023 - called at once
        spent += took
        decisions += 1
        if host is not None:
            cluster = replace(cluster, vms=(*cluster.vms, replace(vm, host=host)))
        else:
            refused += 1
            first = _share(cluster) if refused == 1 else first
            if refused == REFUSALS:
                break
    stream = _Stream(cluster, _share(cluster), first, decisions, spent)
    report.say(f"{name}: {stream.share:.4f} of the bound in {decisions} decisions, {spent:.1f} s")
    return stream


def _share(cluster: Cluster) -> float:
    used = sum((vm.needs for vm in cluster.vms), Room())
    bound = cluster.hosts[0].capacity
    left = len(cluster.hosts) - cluster.redundancy.failures
    return max(used.cpu / (bound.cpu * left), used.memory / (bound.memory * left))


def _lost_for_sure(cluster: Cluster) -> int:
    """Count hosts whose loss leaves less than everything needs: no search is needed to see it."""
    used = sum((vm.needs for vm in cluster.vms), Room())
    total = sum((host.capacity for host in cluster.hosts), Room())
    rests = (total - host.capacity for host in cluster.hosts)
    return sum(used.cpu > rest.cpu or used.memory > rest.memory for rest in rests)


def _words(streams: Iterable[_Stream]) -> str:
    shares = [stream.share for stream in streams]
    return f"{sum(shares) / len(shares):.3f} ({min(shares):.3f} to {max(shares):.3f})"
