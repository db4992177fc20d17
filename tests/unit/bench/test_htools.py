# SPDX-License-Identifier: Apache-2.0
"""What we write for htools and what we read from it; the words are those of 3.0.2."""

import json
from itertools import islice

import pytest
from bench.scheduler.ganeti_files import to_request, to_text
from bench.scheduler.generate import GIB, make_cluster, make_hosts, make_vms
from bench.scheduler.htools import parse_answer, parse_fit, parse_moves, parse_score

from nopal_scheduler.model import Cluster, Host, Room, Vm

HOSTS = (
    Host("a", Room(cpu=8, memory=16 * GIB)),
    Host("b", Room(cpu=8, memory=16 * GIB)),
)
CLUSTER = Cluster(HOSTS, (Vm("v", Room(cpu=2, memory=4 * GIB), host="b"),))


def test_the_text_file_has_five_sections_and_room_for_equal_amounts() -> None:
    groups, nodes, instances, tags, policies = to_text(CLUSTER).split("\n\n", 4)
    assert groups == "default|group-1|preferred||"
    assert nodes.splitlines() == [
        "a|16385|0|16385|0|0|2|M|group-1|1",
        "b|16385|0|12289|0|0|2|N|group-1|1",
    ]
    assert instances == "v|4096|1024|2|running|Y|b||rbd||1"
    assert tags == ""
    assert [line.count("|") for line in policies.strip().splitlines()] == [5, 5]


def test_a_single_size_is_all_that_the_policy_lets_in() -> None:
    policy = to_text(CLUSTER, only=Vm("x", Room(cpu=2, memory=8 * GIB))).splitlines()[-1]
    _, standard, limits, *_ = policy.split("|")
    assert standard == "8192,2,1024,1,0,1"
    assert limits == f"{standard};{standard}"


def test_the_request_carries_the_whole_state() -> None:
    cluster = make_cluster(make_hosts(5), 40, seed=1)
    new = next(make_vms(2, prefix="new"))
    request = json.loads(json.dumps(to_request(cluster, new)))
    assert request["request"]["name"] == new.name
    assert {name: each["nodes"] for name, each in request["instances"].items()} == {
        vm.name: [vm.host] for vm in cluster.vms
    }
    for name, node in request["nodes"].items():
        there = sum(vm.needs.memory for vm in cluster.vms if vm.host == name) // 2**20
        assert node["free_memory"] + there == node["total_memory"] == 256 * 1024 + 1


def test_hails_yes_and_no() -> None:
    yes = '{"success":true,"info":"Request successful: x","result":["host-09"]}'
    no = '{"success":false,"info":"Request failed: FailN1: 5","result":[]}'
    assert parse_answer(yes, 0.5).host == "host-09"
    refused = parse_answer(no, 0.5)
    assert refused.host is None
    assert refused.why == "Request failed: FailN1: 5"


def test_hbals_moves_and_hinfos_score() -> None:
    text = """Initial score: 10.29550559
Trying to minimize the CV...
    1. vm-000091 host-06         => host-09           9.06599165 a=fa:host-09
   12. vm-000000 host-06         => host-08           8.08995436 a=fa:host-08
Cluster score improved from 10.29550559 to 6.98126877
Solution length=2
"""
    assert parse_moves(text) == (("vm-000091", "host-09"), ("vm-000000", "host-08"))
    assert parse_score("   location_score  0.0  x1.00\nCluster score: 10.29550559\n") == 10.29550559
    with pytest.raises(RuntimeError, match="no score"):
        parse_score("Error: failed to load data")


def test_hspaces_pairs() -> None:
    text = "HTS_SPEC_MEM=8192\nHTS_ALLOC_INSTANCES=288\nHTS_ALLOC_FAIL_REASON='FAILN1'\nHTS_OK=1\n"
    fitted = parse_fit(text, 1.5)
    assert (fitted.count, fitted.why, fitted.seconds) == (288, "FAILN1", 1.5)


def test_names_sort_as_their_numbers() -> None:
    names = [host.name for host in make_hosts(1000)]
    assert names == sorted(names)
    assert [vm.name for vm in islice(make_vms(1), 20)] == [f"vm-{n:06}" for n in range(20)]
