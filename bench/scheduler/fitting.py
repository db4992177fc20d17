# SPDX-License-Identifier: Apache-2.0
"""How many more of one size fit with N+1, and how long it takes to say so."""

from bench.scheduler.generate import GIB, make_cluster, make_hosts
from bench.scheduler.htools import Htools
from bench.scheduler.report import Report, Row, seconds, timed
from nopal_scheduler.fit import fit
from nopal_scheduler.model import Cluster, Room, Vm

SIZE = Vm("more", Room(cpu=2, memory=8 * GIB))


def measure(report: Report) -> None:
    """Ask for 8 GiB on empty hosts, and on hosts with a mix on them."""
    for hosts in (5, 10) if report.quick else (5, 10, 20):
        for used in (False, True):
            cluster = make_cluster(make_hosts(hosts), hosts * 10 if used else 0, seed=1, failures=1)
            _measure(report, cluster, "10 VMs a host" if used else "empty")


def _measure(report: Report, cluster: Cluster, kind: str) -> None:
    name = f"fit of 8 GiB, {len(cluster.hosts)} hosts, {kind}, k = 1"
    report.say(name)
    found, took = timed(lambda: fit(cluster, SIZE))
    bound = _bound(cluster)

    def words(htools: Htools) -> str:
        theirs = htools.fit(cluster, SIZE)
        return f"hspace {theirs.count} in {seconds(theirs.seconds)}"

    report.add(
        Row(
            what=name,
            ours=f"{found.count} in {seconds(took)}, then: {found.limit}",
            beside=f"{report.ask(words)}; no more than {bound} fit",
            raw={"count": found.count, "seconds": took, "bound": bound},
        )
    )


def _bound(cluster: Cluster) -> int:
    """Return what the rest of all but one host would hold if it were one."""
    free = sum(host.capacity.memory for host in cluster.hosts[1:])
    return (free - sum(vm.needs.memory for vm in cluster.vms)) // SIZE.needs.memory
