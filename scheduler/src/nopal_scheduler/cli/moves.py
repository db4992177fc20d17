# SPDX-License-Identifier: Apache-2.0
"""`balance` and `evacuate`: what to move, in which order, what it wins and what it copies."""

import argparse
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..model import Cluster
from ..moving.balance import balance, evacuate
from ..moving.plan import DEFAULT_LIMITS, Limits, Move, Plan
from ..moving.score import Score
from ..proof import Proof
from ..scheduler import Scheduler
from ..state import State
from ..words import at_least, counted
from .inputs import Loaded, add_cluster, chosen_hosts, write_file
from .outcome import DONE, NO, InputError, Outcome, paragraphs, table
from .redundancy import verdict_data, verdict_text

_LEAST = {"moves": 0, "concurrent": 1, "per_host": 1, "gain": 0, "enough": 0, "price": 0}
"""What an option is at least."""


def add_verbs(verbs: Any, *, epilog: str) -> None:
    """Add both verbs to the command line."""
    parser = verbs.add_parser(
        "balance",
        help="moves that lower the score",
        description="Find moves that even out the hosts and put right what is wrong. Every step"
        " keeps room, required rules and the proof.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_cluster(parser)
    _add_limits(parser)
    parser.add_argument(
        "--gain",
        type=float,
        default=DEFAULT_LIMITS.gain,
        metavar="X",
        help="what a move must win, as score times hosts (default %(default)s)",
    )
    parser.add_argument(
        "--enough",
        type=float,
        default=DEFAULT_LIMITS.enough,
        metavar="SCORE",
        help="stop with as few moves as reach this score",
    )
    parser.set_defaults(run=run_balance)
    parser = verbs.add_parser(
        "evacuate",
        help="moves that empty hosts",
        description="Empty hosts: those that are named, or all that are draining.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_cluster(parser)
    parser.add_argument(
        "hosts",
        nargs="*",
        metavar="HOST",
        help="a host; or KEY=VALUE, every host with that label; none: those that are draining",
    )
    parser.add_argument(
        "--closed-failures",
        type=int,
        choices=range(4),
        metavar="K",
        help="losses that are to be survived once the hosts are closed, or the exit code is 1;"
        " left out, as many as before",
    )
    _add_limits(parser)
    parser.set_defaults(run=run_evacuate)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = DEFAULT_LIMITS
    parser.add_argument("--moves", type=int, default=limits.moves, metavar="N",
                        help="moves at most (default %(default)s)")  # fmt: skip
    parser.add_argument("--concurrent", type=int, default=limits.concurrent, metavar="N",
                        help="moves that run at once (default %(default)s)")  # fmt: skip
    parser.add_argument("--per-host", type=int, default=limits.per_host, metavar="N",
                        help="of these, at one host (default %(default)s)")  # fmt: skip
    parser.add_argument("--price", type=float, default=limits.price, metavar="X",
                        help="what a move must win besides for each GiB")  # fmt: skip
    parser.add_argument("--write", metavar="FILE", help="write the cluster as it is then")


def run_balance(options: argparse.Namespace, loaded: Loaded) -> Outcome:
    """Look for moves that lower the score."""
    limits = replace(_limits(options), gain=options.gain, enough=options.enough)
    plan = balance(State(loaded.cluster), limits)
    return _outcome(options, loaded, plan)


def run_evacuate(options: argparse.Namespace, loaded: Loaded) -> Outcome:
    """Look for moves that empty hosts."""
    cluster = loaded.cluster
    hosts = chosen_hosts(cluster, options.hosts)
    if not options.hosts:
        hosts = tuple(host.name for host in cluster.hosts if host.draining)
    if not hosts:
        raise InputError("no host is draining: name the hosts that are to be emptied")
    plan = evacuate(State(cluster), hosts, _limits(options))
    return _outcome(options, loaded, plan, without=hosts)


def _limits(options: argparse.Namespace) -> Limits:
    for name, least in _LEAST.items():
        value = getattr(options, name, least)
        if not least <= value < math.inf:  # nan is neither
            option = name.replace("_", "-")
            raise InputError(f"--{option}: {value} is no amount: give {least} or more")
    return Limits(
        moves=options.moves,
        concurrent=options.concurrent,
        per_host=options.per_host,
        price=options.price,
    )


def _outcome(
    options: argparse.Namespace, loaded: Loaded, plan: Plan, *, without: Collection[str] = ()
) -> Outcome:
    after = _after(loaded.cluster, plan.moves)
    if options.write:
        write_file(options.write, after, overhead=loaded.overhead)
    survives = _survives(after, without, getattr(options, "closed_failures", None))
    lost = survives is not None and not survives.is_proven
    stays = [(each.vm, each.host, each.why) for each in plan.stays]
    return Outcome(
        NO if plan.stays or lost else DONE,
        paragraphs(
            moves_text(plan),
            table(("STAYS", "ON", "WHY"), stays) if stays else "",
            f"with them closed, {survives.text}" if survives else "",
            _score(plan.before, plan.after),
        ),
        {
            "steps": steps_data(plan),
            "memory": plan.memory,
            "score": {"before": _parts(plan.before), "after": _parts(plan.after)},
            "stays": [{"vm": vm, "host": host, "why": why} for vm, host, why in stays],
            **({"withThemClosed": survives.data} if survives else {}),
        },
    )


@dataclass(frozen=True, slots=True)
class _Survival:
    is_proven: bool
    text: str
    data: dict[str, Any]


def _survives(cluster: Cluster, without: Collection[str], failures: int | None) -> _Survival | None:
    """Return what the cluster survives while these hosts take nothing.

    The moves keep the proof as long as emptied hosts may still take restarts; who then switches
    them off wants to know the rest.

    Args:
        cluster: Where everything is after the moves.
        without: The hosts that are closed then.
        failures: How many losses are to be survived; None for the cluster's own.
    """
    redundancy = cluster.redundancy
    if failures is not None:
        redundancy = replace(redundancy, failures=failures)
    if not (without and redundancy.failures):
        return None
    hosts = tuple(replace(h, draining=h.draining or h.name in without) for h in cluster.hosts)
    closed = replace(cluster, hosts=hosts, redundancy=redundancy)
    verdict = Scheduler(closed).verdict()
    is_proven = isinstance(verdict, Proof)
    return _Survival(is_proven, verdict_text(closed, verdict), verdict_data(closed, verdict))


def moves_text(plan: Plan) -> str:
    """Return the moves as a table; those of one step may run at once."""
    if not plan.moves:
        return "no moves"
    rows = [
        (step, move.vm, move.source, move.target, f"{move.gain:+.4f}", at_least(move.memory))
        for step, batch in enumerate(plan.batches, start=1)
        for move in batch
    ]
    return paragraphs(
        table(("STEP", "VM", "FROM", "TO", "GAIN", "COPIES"), rows, right="STEP GAIN COPIES"),
        f"{counted(len(plan.moves), 'move')} in {counted(len(plan.batches), 'step')},"
        f" {at_least(plan.memory)} to copy;"
        " moves of one step may run at once",
    )


def steps_data(plan: Plan) -> list[list[dict[str, Any]]]:
    """Return the same for programs; memory in bytes."""
    return [
        [
            {"vm": m.vm, "from": m.source, "to": m.target, "gain": m.gain, "memory": m.memory}
            for m in batch
        ]
        for batch in plan.batches
    ]


def _score(before: Score, after: Score) -> str:
    parts = after.parts
    rows = [
        (name, f"{value:.4f}", f"{parts[name]:.4f}")
        for name, value in before.parts.items()
        if value or parts[name]
    ]
    rows.append(("score, lower is better", f"{before.total:.4f}", f"{after.total:.4f}"))
    return table(("SCORE", "BEFORE", "AFTER"), rows, right="BEFORE AFTER")


def _parts(score: Score) -> dict[str, Any]:
    return {"total": score.total, "parts": dict(score.parts)}


def _after(cluster: Cluster, moves: Sequence[Move]) -> Cluster:
    hosts = {move.vm: move.target for move in moves}
    return replace(
        cluster, vms=tuple(replace(vm, host=hosts.get(vm.name, vm.host)) for vm in cluster.vms)
    )
