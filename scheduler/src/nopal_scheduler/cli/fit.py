# SPDX-License-Identifier: Apache-2.0
"""`fit`: how many more virtual machines fit with the redundancy kept, and what is short first."""

import argparse
from collections import Counter
from typing import Any

from ..fit import FitResult, Share, fit
from ..model import Vm
from ..words import at_least
from .inputs import Loaded, add_cluster, add_vms, given_sizes
from .outcome import DONE, NO, InputError, Outcome, paragraphs, table

_MOST = 100_000


def add_verbs(verbs: Any, *, epilog: str) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "fit",
        help="how many more of a size, or of a mix, fit",
        description="Count how many more virtual machines fit with the redundancy kept, and say"
        " what the next one lacks. Several sizes are a mix: in the proportion of their counts,"
        " until the first finds no place.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_cluster(parser)
    add_vms(parser)
    parser.add_argument(
        "--most", type=int, default=_MOST, metavar="N", help="stop there (default %(default)s)"
    )
    parser.add_argument(
        "--at-least",
        type=int,
        default=1,
        metavar="N",
        help="exit with 1 where fewer fit (default %(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, loaded: Loaded) -> Outcome:
    """Count what fits."""
    sizes = given_sizes(options, loaded, name="new")
    if not sizes:
        raise InputError("say what is to fit: --cores and --memory, or --vm for every size")
    if not 1 <= options.most <= _MOST:
        raise InputError(f"--most: {options.most} is not a number from 1 to {_MOST}")
    result = fit(loaded.cluster, [Share(vm, weight) for vm, weight in sizes], most=options.most)
    reached = result.count >= options.most
    kept = str(loaded.cluster.redundancy) if loaded.cluster.redundancy.failures else "no redundancy"
    verb = "fits" if result.count == 1 else "fit"
    hosts = Counter(host for _, host in result.placements)
    return Outcome(
        DONE if result.count >= options.at_least else NO,
        paragraphs(
            _sizes([vm for vm, _ in sizes], result),
            f"{'at least ' * reached}{result.count} more {verb} with {kept}",
            "" if reached else f"first limit: {result.limit}\n{result.message}",
        ),
        {
            "count": result.count,
            "counts": dict(result.counts),
            "limit": None if reached else result.limit,
            "resource": result.resource or None,
            "lost": list(result.lost),
            "message": result.message,
            "hosts": dict(sorted(hosts.items())),
        },
    )


def _sizes(vms: list[Vm], result: FitResult) -> str:
    rows = [
        (vm.name, vm.needs.cpu, at_least(vm.needs.memory), result.counts[vm.name]) for vm in vms
    ]
    return table(("SIZE", "CPU", "MEMORY", "FIT"), rows, right="CPU MEMORY FIT")
