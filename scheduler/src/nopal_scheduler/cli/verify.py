# SPDX-License-Identifier: Apache-2.0
"""`check`: whether a placement and a proof of N+k hold, by code that is no part of the search."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..checker import Violation, check_placement, check_proof
from ..model import Cluster
from ..proof import Proof
from ..scheduler import Scheduler
from ..words import counted
from .inputs import Loaded, add_cluster, read_proof
from .outcome import DONE, NO, InputError, Outcome, listed, paragraphs, table
from .redundancy import verdict_data, verdict_text

_SHOWN = 50
"""Violations that a table has; JSON has all."""


def add_verbs(verbs: Any, *, epilog: str) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "check",
        help="whether a placement, and a proof of N+k, hold",
        description="Verify that every virtual machine may be where it is, and that the cluster"
        " survives its losses: by the proof in a file, or by one that is looked for now.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_cluster(parser)
    parser.add_argument("--proof", metavar="FILE", help="proof that `place --proof` wrote; - reads"
                        " standard input")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, loaded: Loaded) -> Outcome:
    """Verify the placement, then the proof."""
    cluster = loaded.cluster
    if options.proof == "-" and options.cluster == "-":
        raise InputError("--proof: standard input is the cluster already")
    given = read_proof(options.proof) if options.proof else None
    placement = check_placement(cluster)
    waiting = sorted(vm.name for vm in cluster.vms if vm.host is None)
    said, data, proven = _redundancy(cluster, given)
    return Outcome(
        NO if placement or not proven else DONE,
        paragraphs(
            _placement(cluster, placement),
            f"without a host, and not looked at: {listed(waiting)}" if waiting else "",
            said,
        ),
        {
            "placement": {"violations": [_data(each) for each in placement], "waiting": waiting},
            "redundancy": data,
        },
    )


def _placement(cluster: Cluster, violations: Sequence[Violation]) -> str:
    placed = sum(vm.host is not None for vm in cluster.vms)
    if not violations:
        hosts = counted(len(cluster.hosts), "host")
        return f"placement: holds for {counted(placed, 'virtual machine')} on {hosts}"
    return f"placement: {_counted(violations)}\n\n{_table(violations)}"


def _redundancy(cluster: Cluster, given: Proof | None) -> tuple[str, dict[str, Any], bool]:
    """Return what is to be said of the proof, the same as data, and whether it holds."""
    if given is not None:
        violations = check_proof(cluster, given)
        data = {
            "failures": cluster.redundancy.failures,
            "topology": cluster.redundancy.topology,
            "verdict": "refuted" if violations else "proven",
            "violations": [_data(each) for each in violations],
        }
        if not violations:
            return f"{cluster.redundancy}: the proof holds", data, True
        said = f"{cluster.redundancy}: the proof does not hold, {_counted(violations)}"
        return f"{said}\n\n{_table(violations)}", data, False
    verdict = Scheduler(cluster).verdict()
    data = verdict_data(cluster, verdict)
    if not isinstance(verdict, Proof):
        return verdict_text(cluster, verdict), data, False
    violations = check_proof(cluster, verdict) if cluster.redundancy.failures else ()
    if violations:  # a fault of the search, and the reason why there is a checker
        said = f"{cluster.redundancy}: the search gave a proof that does not hold: please report it"
        return f"{said}\n\n{_table(violations)}", {**data, "verdict": "refuted"}, False
    said = verdict_text(cluster, verdict)
    return f"{said}, verified" if said else "", data, True


def _counted(violations: Sequence[Violation]) -> str:
    return counted(len(violations), "violation")


def _table(violations: Sequence[Violation]) -> str:
    rows = [
        (", ".join(v.lost) or None, v.vm or None, v.host or None, v.reason)
        for v in violations[:_SHOWN]
    ]
    header = ("LOST", "VM", "HOST", "WHAT DOES NOT HOLD")
    if not any(row[0] for row in rows):
        header, rows = header[1:], [row[1:] for row in rows]  # type: ignore[assignment, misc]
    text = table(header, rows)
    rest = len(violations) - _SHOWN
    return f"{text}\nand {rest} more" if rest > 0 else text


def _data(violation: Violation) -> dict[str, Any]:
    return {**asdict(violation), "lost": list(violation.lost)}
