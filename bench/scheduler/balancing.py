# SPDX-License-Identifier: Apache-2.0
"""Balance: moves and time to the score that hbal reaches; every score is by htools itself.

By default htools counts every virtual machine as one unit of each of four loads, and those
outweigh the rest; with --ignore-dynu free memory and virtual CPUs decide. We run with N+1 as hbal
does, which makes no move that breaks it.
"""

import statistics
from collections import Counter
from dataclasses import dataclass, replace

from bench.scheduler.generate import make_cluster, make_hosts
from bench.scheduler.htools import Htools
from bench.scheduler.report import Report, Row, seconds, timed
from nopal_scheduler.checker import check_placement
from nopal_scheduler.model import Cluster
from nopal_scheduler.moving.balance import balance
from nopal_scheduler.moving.plan import Limits, Plan
from nopal_scheduler.moving.score import Weights
from nopal_scheduler.state import State

GOAL = 1.0


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of htools' two scores, and our weights for the same.

    htools takes the deviation of virtual CPUs by physical ones (four times our share), and that of
    the number of virtual machines as it is (its mean times our share) in each of four loads.
    """

    name: str
    weights: Weights
    ignore_load: bool


@dataclass(frozen=True, slots=True)
class _Theirs:
    """What hbal did."""

    htools: Htools
    before: float
    score: float
    moves: int
    copied: int
    """Bytes of memory."""
    seconds: float


def measure(report: Report) -> None:
    """Balance the same random clusters."""
    hosts, vms, seeds = (10, 100, (1,)) if report.quick else (50, 500, (1, 2, 3))
    mean = vms / hosts
    kinds = (
        _Kind("all loads", Weights(cpu=4, memory=1, vms=4 * mean), ignore_load=False),
        _Kind("--ignore-dynu", Weights(cpu=4, memory=1, vms=0), ignore_load=True),
    )
    for kind in kinds:
        for seed in seeds:
            cluster = make_cluster(make_hosts(hosts), vms, seed=seed, failures=1)
            _measure(report, cluster, kind, f"{hosts} hosts, {vms} VMs, {kind.name}, seed {seed}")
    for seed in seeds:
        cluster = make_cluster(make_hosts(hosts), vms, seed=seed, failures=1)
        _by_default(report, cluster, f"{hosts} hosts, {vms} VMs, our own score, seed {seed}")


def _measure(report: Report, cluster: Cluster, kind: _Kind, name: str) -> None:
    report.say(f"balance, {name}")
    asked = report.ask(lambda htools: _ask(htools, cluster, kind))
    if isinstance(asked, str):
        plan, took = timed(lambda: balance(State(cluster), Limits(), kind.weights))
        ours = f"{_words(plan, took)}; our score {plan.before.total:.4f} to {plan.after.total:.4f}"
        report.add(Row(f"balance, {name}", ours, asked))
        return
    # The whole question: as few moves as reach what hbal reached. A hair below it, because hinfo
    # rounds to eight digits.
    limits = Limits(enough=asked.score - 1e-6)
    plan, took = timed(lambda: balance(State(cluster), limits, kind.weights))
    reached = _score(asked.htools, cluster, plan, kind)
    least = _least_moves(cluster, asked.score, kind)
    fewer = len(plan.moves) < asked.moves or len(plan.moves) == least
    report.add(
        Row(
            what=f"balance, {name}",
            ours=f"{asked.before:.4f} to {reached:.4f}, {_words(plan, took)}",
            beside=(
                f"hbal {asked.before:.4f} to {asked.score:.4f}, {asked.moves} moves,"
                f" {asked.copied >> 30} GiB, {seconds(asked.seconds)}"
                f"{f'; nobody can in fewer than {least} moves' if least else ''}"
            ),
            goal=f"{seconds(GOAL)}, no worse, fewer moves",
            met=None if report.quick else took <= GOAL and reached <= asked.score and fewer,
            raw={
                "before": asked.before,
                "ours": {"score": reached, "moves": len(plan.moves), "seconds": took},
                "hbal": {"score": asked.score, "moves": asked.moves, "seconds": asked.seconds},
            },
        )
    )


def _ask(htools: Htools, cluster: Cluster, kind: _Kind) -> _Theirs:
    done = htools.balance(cluster, ignore_load=kind.ignore_load)
    sizes = {vm.name: vm.needs.memory for vm in cluster.vms}
    return _Theirs(
        htools=htools,
        before=htools.score(cluster, ignore_load=kind.ignore_load),
        score=htools.score(_moved(cluster, done.moves), ignore_load=kind.ignore_load),
        moves=len(done.moves),
        copied=sum(sizes[name] for name, _ in done.moves),
        seconds=done.seconds,
    )


def _by_default(report: Report, cluster: Cluster, name: str) -> None:
    """Our own score and limits, with what becomes of htools' two scores."""
    plan, took = timed(lambda: balance(State(cluster)))
    spreads = ", ".join(f"{key} {value:.3f}" for key, value in plan.after.spread.items())

    def words(htools: Htools) -> str:
        after = _moved(cluster, _targets(plan))
        pairs = [
            f"{htools.score(cluster, ignore_load=ignore):.3f} to"
            f" {htools.score(after, ignore_load=ignore):.3f}"
            for ignore in (False, True)
        ]
        return f"htools' scores {pairs[0]} and {pairs[1]}"

    report.add(
        Row(
            what=f"balance, {name}",
            ours=(
                f"{plan.before.total:.4f} to {plan.after.total:.4f}, {_words(plan, took)},"
                f" deviations left: {spreads}"
            ),
            beside=report.ask(words),
            raw={
                "moves": len(plan.moves),
                "seconds": took,
                "median gain": statistics.median([0.0, *(move.gain for move in plan.moves)]),
            },
        )
    )


def _least_moves(cluster: Cluster, target: float, kind: _Kind) -> int:
    """Return a lower bound of the moves to a score; 0 where we know none.

    With one virtual machine more on one host than on another each of the four loads deviates by
    sqrt(2 / hosts) at least. A score below that needs even numbers: everyone above has to move.
    """
    hosts = len(cluster.hosts)
    share, rest = divmod(len(cluster.vms), hosts)
    if kind.ignore_load or rest or target >= 4 * (2 / hosts) ** 0.5:
        return 0
    counts = Counter(vm.host for vm in cluster.vms)
    return sum(max(0, count - share) for count in counts.values())


def _score(htools: Htools, cluster: Cluster, plan: Plan, kind: _Kind) -> float:
    after = _moved(cluster, _targets(plan))
    wrong = check_placement(after)
    if wrong:
        raise RuntimeError(f"the plan breaks a promise: {wrong[0].message}")
    return htools.score(after, ignore_load=kind.ignore_load)


def _targets(plan: Plan) -> tuple[tuple[str, str], ...]:
    return tuple((move.vm, move.target) for move in plan.moves)


def _moved(cluster: Cluster, moves: tuple[tuple[str, str], ...]) -> Cluster:
    """The cluster after the moves; of two moves of one virtual machine the last one counts."""
    to = dict(moves)
    vms = tuple(replace(vm, host=to.get(vm.name, vm.host)) for vm in cluster.vms)
    return replace(cluster, vms=vms)


def _words(plan: Plan, took: float) -> str:
    return f"{len(plan.moves)} moves, {plan.memory >> 30} GiB, {seconds(took)}"
