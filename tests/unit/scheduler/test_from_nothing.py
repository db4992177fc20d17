# SPDX-License-Identifier: Apache-2.0
"""A zone whose proof was kept up to date is built anew, as after a change of its hosts."""

import random
from dataclasses import replace

import pytest

from nopal_scheduler import Cluster, Host, Placement, Proof, Redundancy, Room, Scheduler, Vm
from nopal_scheduler.checker import check_proof
from nopal_scheduler.model import HOST, Rule, RuleKind

GIB = 1 << 30
SIZES = (2, 4, 8, 16, 24, 32, 48)
KINDS = (
    (RuleKind.ANTI_AFFINITY, HOST),
    (RuleKind.ANTI_AFFINITY, HOST),
    (RuleKind.SPREAD, "rack"),
    (RuleKind.AFFINITY, "rack"),
)


def filled(seed: int, *, hosts: int, failures: int) -> tuple[Scheduler, Cluster]:
    """Admit virtual machines, half of them with a rule, until some were refused."""
    chance = random.Random(seed)  # noqa: S311 - loads, not secrets
    cluster = Cluster(
        hosts=tuple(
            Host(name=f"h{n}", capacity=Room(4096, 160 * GIB), labels={"rack": f"r{n // 2}"})
            for n in range(hosts)
        ),
        vms=(),
        redundancy=Redundancy(failures),
    )
    scheduler, there, refused = Scheduler(cluster), list[Vm](), 0
    while refused < 20:
        number = len(there) + refused
        app = (("app", f"a{number // 4}"),)
        kind, topology = KINDS[number // 4 % len(KINDS)]
        vm = Vm(
            name=f"vm-{number:04}",
            needs=Room(1, chance.choices(SIZES, (30, 25, 20, 12, 8, 4, 1))[0] * GIB),
            labels=dict(app),
            rules=(Rule(kind, app, topology=topology),) if number % 2 else (),
        )
        answer = scheduler.admit(vm)
        if isinstance(answer, Placement):
            there.append(replace(vm, host=answer.host))
        else:
            refused += 1
    return scheduler, replace(cluster, vms=tuple(there))


@pytest.mark.parametrize("seed", [0, 4, 7])
def test_what_was_proven_stays_so_beside_the_old_one(seed: int) -> None:
    """So full that a search from nothing finds no proof; also with one more, empty host."""
    old, cluster = filled(seed, hosts=5, failures=2)
    assert old.proof() is not None
    again = Scheduler(cluster, like=old)
    more = replace(cluster, hosts=(replace(cluster.hosts[0], name="a-first"), *cluster.hosts))
    for scheduler, asked in ((again, cluster), (Scheduler(more, like=again), more)):
        verdict = scheduler.verdict()
        assert isinstance(verdict, Proof)
        assert check_proof(asked, verdict) == ()


def test_what_the_old_one_had_is_not_taken_on_trust() -> None:
    """A host is gone, another is closed, and all labels are other ones."""
    old, cluster = filled(1, hosts=6, failures=1)
    hosts = (replace(cluster.hosts[0], blocked="not ready"), *cluster.hosts[1:-1])
    names = {host.name for host in hosts}
    vms = tuple(
        replace(vm, labels={"app": "a0"}, rules=(Rule(RuleKind.SPREAD, (("app", "a0"),)),))
        for vm in cluster.vms[::3]
        if vm.host in names
    )
    asked = replace(cluster, hosts=hosts, vms=vms)
    verdict = Scheduler(asked, like=old).verdict()
    if isinstance(verdict, Proof):
        assert check_proof(asked, verdict) == ()


@pytest.mark.parametrize("seed", [1, 3, 7])
def test_most_of_what_fits_is_proven_from_nothing(seed: int) -> None:
    """Rules in the way of most moves and swaps: these need ejections."""
    _, cluster = filled(seed, hosts=5, failures=2)
    cluster = replace(cluster, vms=cluster.vms[: len(cluster.vms) * 17 // 20])
    verdict = Scheduler(cluster).verdict()
    assert isinstance(verdict, Proof)
    assert check_proof(cluster, verdict) == ()
