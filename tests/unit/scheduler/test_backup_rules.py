# SPDX-License-Identifier: Apache-2.0
"""Backup lists and required rules: affinity and spread are kept in every loss."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings

from nopal_scheduler.answer import Placement
from nopal_scheduler.checker import check_proof
from nopal_scheduler.model import HOST, Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.placing.place import ranking
from nopal_scheduler.proof import Impossible, NotProven, Proof
from nopal_scheduler.proving.backups.prover import BackupProver
from nopal_scheduler.scheduler import Scheduler
from nopal_scheduler.state import State
from support.backupclusters import now
from support.killer import find_proof, killed
from support.tinyclusters import clusters

WEB = (("app", "web"),)
SPREAD = Rule(RuleKind.SPREAD, WEB, topology="rack")
TOGETHER = Rule(RuleKind.AFFINITY, WEB, topology="rack")


def racks(*sizes: int, memory: int = 16) -> tuple[Host, ...]:
    """Hosts "a0", "a1" and so on in rack a, "b0" in rack b, ..."""
    return tuple(
        Host(f"{rack}{i}", Room(100, memory), labels={"rack": rack})
        for rack, size in zip("abcdefgh", sizes, strict=False)
        for i in range(size)
    )


def web(name: str, host: str | None, *rules: Rule, memory: int = 1, **more: object) -> Vm:
    made = Vm(name, Room(1, memory), host=host, labels=dict(WEB), rules=rules)
    return replace(made, **more)  # type: ignore[arg-type]


def proven(prover: BackupProver, cluster: Cluster) -> dict[str, set[str]]:
    """The racks of each list, once it was made sure that it is a proof."""
    verdict = prover.verdict()
    assert isinstance(verdict, Proof), verdict
    there = now(prover._state, cluster)
    assert check_proof(there, verdict) == ()
    assert killed(there, verdict) == []
    return {name: {host[0] for host in hosts} for name, hosts in verdict.backups.items()}


def start(cluster: Cluster) -> BackupProver:
    return BackupProver(State(cluster))


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
@given(cluster=clusters(max_hosts=5))
def test_what_is_said_of_a_tiny_cluster_holds(cluster: Cluster) -> None:
    prover = start(cluster)
    verdict = prover.verdict()
    if isinstance(verdict, Proof):
        proven(prover, cluster)
    elif isinstance(verdict, Impossible):
        assert find_proof(cluster) is None


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(i, i + 20) for i in range(0, 120, 20)], ids=str)
def test_walks_with_every_kind_of_rule(seeds: range) -> None:
    """Come and go at random: every proof on the way holds, by the checker and by the killer."""
    for seed in seeds:
        random = Random(seed)  # noqa: S311 - a walk, not a secret
        cluster = walked(random)
        prover = start(cluster)
        state = prover._state
        for number in range(random.randint(1, 14)):
            vm, chance = walker(random, f"v{number}"), random.random()
            fits = [state.hosts[i].name for i in np.flatnonzero(state.fits(vm))]
            if state.vms and chance < 0.25:
                prover.remove(random.choice(sorted(state.vms)))
            elif fits and chance < 0.4:
                prover.add(vm, state.index[random.choice(fits)])
            elif fits:
                was = prover.verdict()
                if prover.admit(vm, state.index[random.choice(fits)]) is not None:
                    assert prover.verdict() == was
            if isinstance(prover.verdict(), Proof):
                proven(prover, cluster)


def walked(random: Random) -> Cluster:
    count = random.choice((2, 3, 4))
    hosts = []
    for i in range(random.choice((4, 6, 8, 9))):
        labels = {"rack": f"r{i % count}"} if random.random() < 0.93 else {}
        labels |= {"row": f"w{i // 2}"} if random.random() < 0.95 else {}
        blocked = "not ready" if random.random() < 0.08 else ""
        room = Room(100, random.choice((12, 16, 24)))
        hosts.append(Host(f"h{i}", room, labels=labels, blocked=blocked))
    vms = [walker(random, f"p{i}") for i in range(random.choice((0, 0, 4, 8)))]
    return Cluster(
        tuple(hosts),
        tuple(replace(vm, host=random.choice(hosts).name) for vm in vms),
        Redundancy(random.choice((1, 2, 2, 3)), random.choice((HOST, HOST, "row", "rack"))),
    )


def walker(random: Random, name: str) -> Vm:
    rules = tuple(
        Rule(
            random.choice(tuple(RuleKind)),
            (("app", random.choice("ab")),) if random.random() < 0.95 else (),
            random.choice((HOST, "rack", "rack", "row")),
            max_skew=random.choice((1, 1, 2)),
            weight=None if random.random() < 0.9 else 5,
        )
        for _ in range(random.choice((0, 0, 1, 1, 2)))
    )
    return Vm(
        name,
        Room(1, random.choice((1, 1, 2, 3))),
        labels={"app": random.choice("ab")} if random.random() < 0.6 else {},
        rules=rules,
        restarts=random.random() < 0.9,
        node_selector={"rack": "r1"} if random.random() < 0.05 else {},
    )


def test_who_must_be_in_one_rack_stays_there() -> None:
    vms = tuple(web(f"v{i}", f"a{i}", TOGETHER) for i in range(3))
    cluster = Cluster(racks(4, 4, 4), vms, Redundancy(2))
    assert proven(start(cluster), cluster) == {f"v{i}": {"a"} for i in range(3)}


def test_who_must_be_on_one_host_go_together_when_it_is_lost() -> None:
    vms = tuple(web(f"v{i}", "a0", replace(TOGETHER, topology=HOST)) for i in range(3))
    cluster = Cluster(racks(3, 3), vms, Redundancy(2))
    prover = start(cluster)
    proven(prover, cluster)
    verdict = prover.verdict()
    assert isinstance(verdict, Proof)
    assert len(set(verdict.backups.values())) == 1


def test_who_must_be_on_one_host_need_a_host_with_room_for_all() -> None:
    on_one = replace(TOGETHER, topology=HOST)
    vms = tuple(web(f"v{i}", "a0", on_one, memory=5) for i in range(3))
    roomy = racks(1, memory=15) + racks(0, 3, memory=14)
    assert not isinstance(start(Cluster(roomy, vms, Redundancy(2))).verdict(), Proof)
    roomy = racks(1, memory=15) + racks(0, 3, memory=15)
    cluster = Cluster(roomy, vms, Redundancy(2))
    proven(start(cluster), cluster)


def test_the_first_of_a_group_goes_anywhere_until_another_comes() -> None:
    """Alone it may leave its rack, which is small; another one leaves no room for it in there."""
    alone = web("v", "a0", TOGETHER, memory=10)
    cluster = Cluster((*racks(2, memory=12), *racks(0, 3)), (alone,), Redundancy(2))
    prover = start(cluster)
    assert "b" in proven(prover, cluster)["v"]
    where = prover._state.index
    second = web("w", None, memory=3)
    assert prover.admit(second, where["a1"]) is not None
    assert "b" in proven(prover, cluster)["v"]
    prover.add(second, where["a1"])
    assert isinstance(prover.verdict(), NotProven)
    prover.remove("w")
    assert "b" in proven(prover, cluster)["v"]


def test_what_does_not_restart_is_nobody_to_count_on() -> None:
    vms = (web("v", "a0", TOGETHER), web("w", "a1", restarts=False))
    verdict = start(Cluster(racks(4, 4), vms, Redundancy(2))).verdict()
    assert isinstance(verdict, NotProven)
    assert verdict.unplaced == ("v",)
    assert '"v" requires affinity by rack, and in a zone of this size' in verdict.message
    # With one loss less the two are not lost at once.
    cluster = Cluster(racks(4, 4), vms, Redundancy(1))
    assert proven(start(cluster), cluster) == {"v": {"a"}}


def test_whom_others_count_on_gets_its_list_first() -> None:
    """Twenty that must be on the host of a small one: its list decides about theirs."""
    beside = Rule(RuleKind.AFFINITY, WEB, topology=HOST)
    others = tuple(Vm(f"x{i:02}", Room(1, 1), host="a0", rules=(beside,)) for i in range(20))
    hosts = (*racks(1, memory=40), *racks(0, 4, memory=6), *racks(0, 0, 3, memory=40))
    cluster = Cluster(hosts, (*others, web("v", "a0")), Redundancy(2))
    prover = start(cluster)
    proven(prover, cluster)
    verdict = prover.verdict()
    assert isinstance(verdict, Proof)
    assert len(set(verdict.backups.values())) == 1


def test_who_is_spread_stays_in_its_rack() -> None:
    vms = tuple(web(f"v{rack}", f"{rack}0", SPREAD) for rack in "abc")
    cluster = Cluster(racks(4, 4, 4), vms, Redundancy(2))
    assert proven(start(cluster), cluster) == {f"v{rack}": {rack} for rack in "abc"}


def test_who_is_spread_leaves_its_rack_for_one_without() -> None:
    vms = tuple(web(f"v{rack}", f"{rack}0", SPREAD) for rack in "abc")
    cluster = Cluster(racks(1, 4, 4, 4), vms, Redundancy(2))
    assert proven(start(cluster), cluster)["va"] == {"d"}


def test_who_is_spread_over_hosts_shares_no_host_with_another() -> None:
    vms = tuple(web(f"v{i}", f"a{i}", replace(SPREAD, topology=HOST)) for i in range(4))
    cluster = Cluster(racks(8), vms, Redundancy(2))
    prover = start(cluster)
    proven(prover, cluster)
    verdict = prover.verdict()
    assert isinstance(verdict, Proof)
    assert len({hosts[0] for hosts in verdict.backups.values()}) == 4


def test_a_domain_that_fails_as_a_whole_does_not_count_as_empty() -> None:
    """One in each rack, and racks fail: two in one rack are one more than in the emptiest left."""
    vms = tuple(web(f"v{rack}", f"{rack}0", SPREAD) for rack in "abcd")
    cluster = Cluster(racks(2, 2, 2, 2), vms, Redundancy(1, "rack"))
    proven(start(cluster), cluster)


def test_where_one_that_goes_leaves_the_others_uneven_nothing_is_proven() -> None:
    vms = (*(web(f"v{i}", f"a{i}", SPREAD) for i in range(2)), web("w", "b0", SPREAD))
    cluster = Cluster(racks(4, 4), vms, Redundancy(2))
    prover = start(cluster)
    proven(prover, cluster)
    prover.remove("w")
    verdict = prover.verdict()
    assert isinstance(verdict, NotProven)
    assert "requires spread by rack" in verdict.message
    assert isinstance(prover.admit(Vm("x", Room(1, 1)), 0), NotProven)
    prover.add(web("w", None), prover._state.index["b1"])
    proven(prover, cluster)


def test_one_without_a_rule_does_not_break_the_spread_of_others() -> None:
    """It is counted by their rule, so its list stays in its rack though another is emptier."""
    vms = (*(web(f"v{rack}", f"{rack}0", SPREAD) for rack in "ab"), web("w", "c0", memory=9))
    cluster = Cluster(racks(4, 4, 4), vms, Redundancy(2))
    assert proven(start(cluster), cluster)["w"] == {"c"}


def test_an_answer_does_not_depend_on_the_order_of_the_input() -> None:
    for seed in range(30):
        cluster = walked(Random(seed))  # noqa: S311 - a walk, not a secret
        turned = Cluster(cluster.hosts[::-1], cluster.vms[::-1], cluster.redundancy)
        assert start(cluster).verdict() == start(turned).verdict()


GROUPS: tuple[tuple[RuleKind, str] | None, ...] = (
    None,
    (RuleKind.ANTI_AFFINITY, HOST),
    (RuleKind.SPREAD, "rack"),
    (RuleKind.SPREAD, HOST),
    (RuleKind.AFFINITY, "rack"),
    (RuleKind.AFFINITY, HOST),
)


def admitted(seed: int, hosts: tuple[Host, ...], count: int) -> Cluster:
    """Groups of every kind that came one by one as long as there was room."""
    random = Random(seed)  # noqa: S311 - a load, not a secret
    state = State(Cluster(hosts, (), Redundancy(2)))
    prover = BackupProver(state)
    first = 0
    while first < count:
        kind = random.choice(GROUPS)
        app = (("app", f"g{first}"),)
        rules = (Rule(kind[0], app, topology=kind[1]),) if kind else ()
        end = first + random.choice((2, 3, 4, 6))
        for number in range(first, end):
            needs = Room(1, random.choice((1, 1, 2, 2, 4, 8)))
            vm = Vm(f"v{number:03}", needs, labels=dict(app), rules=rules)
            any(prover.admit(vm, host) is None for host in list(ranking(state, vm))[:4])
        first = end
    assert isinstance(prover.verdict(), Proof)
    return now(state, Cluster(hosts, (), Redundancy(2)))


@pytest.mark.parametrize("seed", [6, 18, 23])
def test_what_came_one_by_one_is_proven_from_nothing(seed: int) -> None:
    """A nearly full cluster: who must go together gets room together, and a second try helps."""
    cluster = admitted(seed, racks(4, 4, 4, memory=64), 150)
    assert len(cluster.vms) > 140
    proven(start(cluster), cluster)


@pytest.mark.parametrize("rule", [SPREAD, TOGETHER])
def test_a_zone_too_large_for_packings_takes_what_has_such_rules(rule: Rule) -> None:
    """71 hosts have 2,556 losses of one or two, more than are searched one by one."""
    scheduler = Scheduler(Cluster(racks(*(9,) * 7, 8), (), Redundancy(2)))
    for number in range(3):
        assert isinstance(scheduler.admit(web(f"v{number}", None, rule)), Placement)
    proof = scheduler.proof()
    assert proof is not None
    assert proof.backups.keys() == {"v0", "v1", "v2"}
    zone = Cluster(scheduler.state.hosts, (), proof.redundancy)
    assert check_proof(now(scheduler.state, zone), proof) == ()
