# SPDX-License-Identifier: Apache-2.0
"""The loads of the bench are what they are said to be, and the same for everybody."""

from collections import defaultdict
from itertools import islice

import pytest
from bench.scheduler.generate import (
    CPUS,
    GIB,
    RACK,
    SIZES,
    Rules,
    make_cluster,
    make_hosts,
    make_vms,
)

from nopal_scheduler.model import RuleKind


def test_a_seed_is_a_stream() -> None:
    first, again = (list(islice(make_vms(7, rules=Rules.MIXED), 200)) for _ in range(2))
    assert first == again
    assert first != list(islice(make_vms(8, rules=Rules.MIXED), 200))


def test_sizes_are_skewed_as_said() -> None:
    vms = list(islice(make_vms(1), 20_000))
    memory = [vm.needs.memory // GIB for vm in vms]
    assert set(memory) == set(SIZES)
    assert memory.count(2) / len(vms) == pytest.approx(0.30, abs=0.02)
    assert sum(memory) / len(vms) == pytest.approx(11.2, abs=0.4)
    assert {vm.needs.cpu for vm in vms} == set(CPUS)
    assert sum(vm.needs.cpu for vm in vms) / len(vms) == pytest.approx(3.5, abs=0.15)


def test_half_of_them_have_a_rule_of_each_kind_in_groups_of_four() -> None:
    vms = list(islice(make_vms(1, rules=Rules.MIXED), 800))
    ruled = [vm for vm in vms if vm.rules]
    assert len(ruled) == 400
    assert {vm.rules[0].kind for vm in ruled} == set(RuleKind)
    assert all(sum(vm.rules[0].matches(other.labels) for other in vms) == 4 for vm in ruled)
    apart = list(islice(make_vms(1, rules=Rules.APART), 800))
    assert {rule.kind for vm in apart for rule in vm.rules} == {RuleKind.ANTI_AFFINITY}


def test_random_places_keep_room_and_rules() -> None:
    hosts = make_hosts(30)
    cluster = make_cluster(hosts, 300, seed=3, rules=Rules.MIXED, limit=0.8)
    assert cluster == make_cluster(hosts, 300, seed=3, rules=Rules.MIXED, limit=0.8)
    used: defaultdict[str | None, int] = defaultdict(int)
    apps = defaultdict(list)
    for vm in cluster.vms:
        used[vm.host] += vm.needs.memory
        apps[vm.labels.get("app")].append(vm)
    assert all(used[host.name] <= 0.8 * host.capacity.memory for host in hosts)
    racks = {host.name: host.labels[RACK] for host in hosts}
    for app, members in apps.items():
        there = [vm.host for vm in members]
        if app is None:
            continue
        match members[0].rules[0].kind:
            case RuleKind.ANTI_AFFINITY:
                assert len(set(there)) == len(there)
            case RuleKind.AFFINITY:
                assert len({racks[host] for host in there if host}) == 1
            case RuleKind.SPREAD:
                counts = [sum(racks[h] == r for h in there if h) for r in set(racks.values())]
                assert max(counts) - min(counts) <= 1


def test_too_many_for_the_hosts_is_an_error() -> None:
    with pytest.raises(ValueError, match="full at vm-"):
        make_cluster(make_hosts(2), 1000, seed=1)
