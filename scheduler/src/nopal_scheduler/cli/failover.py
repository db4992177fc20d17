# SPDX-License-Identifier: Apache-2.0
"""`failover`: what is restarted where after the loss of hosts, and in which order."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..failover import FailoverPlan, plan_failover
from ..model import Cluster
from ..proof import Proof
from ..scheduler import Scheduler
from ..words import at_least, counted
from .inputs import Loaded, add_cluster, chosen_hosts, read_proof, write_file
from .outcome import DONE, NO, Outcome, listed, paragraphs, table


def add_verbs(verbs: Any, *, epilog: str) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "failover",
        help="what is restarted where after the loss of hosts",
        description="Plan the restarts after a loss: higher priority first, to the places of the"
        " proof where it has them, searched again where the world has changed.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_cluster(parser)
    parser.add_argument(
        "lost",
        nargs="+",
        metavar="LOST",
        help="a host that is lost; or KEY=VALUE, every host with that label",
    )
    parser.add_argument(
        "--proof", metavar="FILE", help="proof from before; left out, one is looked for"
    )
    parser.add_argument("--write", metavar="FILE", help="write the cluster as it is then")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, loaded: Loaded) -> Outcome:
    """Plan the restarts."""
    cluster = loaded.cluster
    lost = chosen_hosts(cluster, options.lost)
    plan = plan_failover(cluster, lost, _proof(options, cluster))
    vms = {vm.name: vm for vm in cluster.vms}
    if options.write:
        write_file(options.write, _after(cluster, lost, plan), overhead=loaded.overhead)
    return Outcome(
        NO if plan.unplaced else DONE,
        paragraphs(
            _summary(lost, plan),
            _restarts(cluster, plan),
            _unplaced(plan),
            f"stay off, as they do not restart: {listed(plan.stays_off)}" if plan.stays_off else "",
        ),
        {
            "lost": list(lost),
            "restarts": [
                {
                    "vm": r.vm,
                    "host": r.host,
                    "from": _from(r.proven),
                    "wasOn": vms[r.vm].host,
                    "priority": vms[r.vm].priority,
                    "memory": vms[r.vm].needs.memory,
                }
                for r in plan.restarts
            ],
            "unplaced": [{"vm": each.vm, "reason": each.reason} for each in plan.unplaced],
            "staysOff": list(plan.stays_off),
        },
    )


def _proof(options: argparse.Namespace, cluster: Cluster) -> Proof | None:
    if options.proof:
        return read_proof(options.proof)
    return Scheduler(cluster).proof() if cluster.redundancy.failures else None


def _after(cluster: Cluster, lost: Sequence[str], plan: FailoverPlan) -> Cluster:
    """Return the cluster with the lost hosts not ready and everything where it is then."""
    hosts = {restart.vm: restart.host for restart in plan.restarts}
    return replace(
        cluster,
        hosts=tuple(
            replace(host, blocked="not ready") if host.name in lost else host
            for host in cluster.hosts
        ),
        vms=tuple(
            replace(vm, host=hosts.get(vm.name)) if vm.host in lost else vm for vm in cluster.vms
        ),
    )


def _summary(lost: Sequence[str], plan: FailoverPlan) -> str:
    count = len(plan.restarts) + len(plan.unplaced)
    of = counted(count, "virtual machine")
    verb = "restarts" if count == 1 else "restart"
    return f"lost: {listed(lost)}; {len(plan.restarts)} of {of} {verb}"


def _restarts(cluster: Cluster, plan: FailoverPlan) -> str:
    if not plan.restarts:
        return ""
    vms = {vm.name: vm for vm in cluster.vms}
    rows = [
        (i, r.vm, vms[r.vm].priority, vms[r.vm].host, r.host, at_least(vms[r.vm].needs.memory),
         _from(r.proven))
        for i, r in enumerate(plan.restarts, start=1)
    ]  # fmt: skip
    header = ("ORDER", "VM", "PRIORITY", "WAS ON", "GOES TO", "MEMORY", "PLACE")
    return table(header, rows, right="ORDER PRIORITY MEMORY")


def _unplaced(plan: FailoverPlan) -> str:
    if not plan.unplaced:
        return ""
    rows = [(each.vm, each.reason) for each in plan.unplaced]
    return table(("NO HOST FOR", "WHY"), rows)


def _from(proven: bool) -> str:
    return "proof" if proven else "search"
