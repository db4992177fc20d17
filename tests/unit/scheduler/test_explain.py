# SPDX-License-Identifier: Apache-2.0
"""The words for why a host is no place."""

from dataclasses import replace

from nopal_scheduler.model import HOST, Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.placing.explain import not_admitted
from nopal_scheduler.placing.place import NoPlacement, no_placement, place
from nopal_scheduler.proof import Case, Impossible, NotProven
from nopal_scheduler.scheduler import Scheduler
from nopal_scheduler.state import State

GIB = 2**30
WEB = (("app", "web"),)
APART = Rule(RuleKind.ANTI_AFFINITY, WEB, "rack")


def host(name: str, rack: str = "", **more: object) -> Host:
    made = Host(name, Room(8, 8 * GIB), labels={"rack": rack} if rack else {})
    return replace(made, **more)  # type: ignore[arg-type]


def web(name: str, at: str | None = None, *rules: Rule) -> Vm:
    return Vm(name, Room(1, 5 * GIB), at, labels=dict(WEB), rules=rules)


def why(vm: Vm, *hosts: Host, there: tuple[Vm, ...] = ()) -> str:
    answer = place(State(Cluster(hosts, there)), vm)
    assert isinstance(answer, NoPlacement)
    return answer.message


def test_room_as_kube_scheduler_words_it() -> None:
    there = (web("w1", "a"), web("w2", "b"))
    hosts = (host("a"), host("b", allocated=Room(0, GIB)), host("c", blocked="not ready"))
    assert why(Vm("x", Room(2, 8 * GIB)), *hosts, there=there) == (
        "0/3 hosts fit: 2 insufficient memory (needs 8Gi, at most 3Gi free), 1 not ready"
    )


def test_a_host_over_its_capacity_has_nothing_free() -> None:
    assert why(Vm("x", Room(2, 1)), host("a", allocated=Room(9, 0))) == (
        "0/1 hosts fit: 1 insufficient cpu (needs 2, 0 free)"
    )


def test_a_host_that_takes_none_has_that_one_reason() -> None:
    apart = web("x", None, APART)
    assert why(apart, host("a", blocked="not ready", draining=True), there=(web("w", "a"),)) == (
        "0/1 hosts fit: 1 not ready"
    )


def test_what_a_host_has_not() -> None:
    vm = Vm(
        "x",
        Room(1, GIB),
        networks=("lan",),
        cpu_features=frozenset({"avx512f"}),
        node_selector={"disk": "ssd"},
    )
    assert why(vm, host("a"), host("b", networks=frozenset({"lan"}), draining=True)) == (
        "0/2 hosts fit: 1 cpu feature avx512f missing, 1 draining, 1 network lan not realized,"
        " 1 no label disk=ssd"
    )


def test_a_network_that_is_asked_for_twice_is_missing_once() -> None:
    assert why(Vm("x", Room(1, GIB), networks=("lan", "lan")), host("a")) == (
        "0/1 hosts fit: 1 network lan not realized"
    )


def test_further_resources() -> None:
    gpus = host("a", capacity=Room(8, 8 * GIB, {"gpu": 2}))
    there = (Vm("w", Room(1, GIB, {"gpu": 1}), "a"),)
    wants = Vm("x", Room(1, GIB, {"gpu": 2}))
    assert why(wants, gpus, host("b"), there=there) == (
        "0/2 hosts fit: 2 insufficient gpu (needs 2, at most 1 free)"
    )
    assert why(wants, host("a"), host("b")) == "0/2 hosts fit: 2 no gpu"


def test_rules_are_named_with_their_topology() -> None:
    hosts = (host("a", "1"), host("b", "1"), host("c", "2"), host("d"))
    there = (web("w1", "a"),)
    near_db = Rule(RuleKind.AFFINITY, (("app", "db"), ("tier", "1")), "rack")
    assert why(web("x", None, near_db, APART), *hosts, there=there) == (
        "0/4 hosts fit: 3 affinity to app=db,tier=1 in topology rack,"
        " 2 anti-affinity to app=web in topology rack,"
        " 1 insufficient memory (needs 5Gi, 3Gi free),"
        " 1 no label rack for its affinity to app=db,tier=1 in topology rack,"
        " 1 no label rack for its anti-affinity to app=web in topology rack"
    )


def test_a_spread_says_how_far_apart() -> None:
    even = Rule(RuleKind.SPREAD, WEB, "rack", max_skew=2)
    there = (replace(web("w1", "a"), needs=Room()), replace(web("w2", "a"), needs=Room()))
    hosts = (host("a", "1"), host("b", "2", allocated=Room(8, 0)))
    assert why(web("x", None, even), *hosts, there=there) == (
        "0/2 hosts fit: 1 insufficient cpu (needs 1, 0 free),"
        " 1 spread of app=web in topology rack (at most 2 apart)"
    )


def test_a_spread_over_no_host_is_no_reason() -> None:
    even = Rule(RuleKind.SPREAD, WEB, "rack")
    assert why(replace(web("x", None, even), networks=("lan",)), host("a", "1")) == (
        "0/1 hosts fit: 1 network lan not realized"
    )


def test_others_that_want_to_be_apart_from_it() -> None:
    alone = Rule(RuleKind.ANTI_AFFINITY, WEB, HOST)
    there = (Vm("w", Room(1, GIB), "a", rules=(alone,)),)
    words = "others' anti-affinity to app=web in topology host"
    assert why(web("x"), host("a"), there=there) == f"0/1 hosts fit: 1 {words}"
    hermit = Vm("w", Room(1, GIB), "a", rules=(replace(alone, selector=()),))
    assert why(Vm("x", Room(1, 1)), host("a"), there=(hermit,)) == (
        "0/1 hosts fit: 1 others' anti-affinity to every VM in topology host"
    )
    # The same rule on both sides is one reason where its own says it, and the other's elsewhere.
    both = (*there, replace(web("v", "b", alone), needs=Room(1, GIB)))
    assert why(web("x", None, alone), host("a"), host("b"), there=both) == (
        f"0/2 hosts fit: 1 anti-affinity to app=web in topology host, 1 {words}"
    )


def test_labels_of_the_callers_own_are_not_told() -> None:
    for key in ("app", "1app", "zz"):
        rule = Rule(RuleKind.AFFINITY, tuple(sorted({key: "db", "@namespace": "shop"}.items())))
        assert why(web("x", None, rule), host("a")) == (
            f"0/1 hosts fit: 1 affinity to {key}=db in topology host"
        )


def test_hosts_with_room_that_were_not_tried_are_counted() -> None:
    hosts = tuple(host(f"h{i:02}", capacity=Room(8, 6 * GIB)) for i in range(12))
    # What is over its capacity needs more than is left after the loss of any other one.
    vms = tuple(replace(web(f"v{i}", f"h{i:02}"), needs=Room(1, GIB)) for i in range(12))
    heavy = replace(web("heavy", "h00"), needs=Room(1, 6 * GIB))
    answer = Scheduler(Cluster(hosts, (*vms, heavy), Redundancy(1))).place(Vm("x", Room(1, GIB)))
    assert isinstance(answer, NoPlacement)
    assert answer.message.startswith("0/12 hosts fit: 8 N+1 impossible (")
    assert answer.message.endswith(
        "), 3 with room not tried, 1 insufficient memory (needs 1Gi, 0 free)"
    )


def test_hosts_that_fit_but_are_not_proven() -> None:
    cluster = Cluster((host("a"), host("b"), host("c", blocked="not ready")))
    state = State(replace(cluster, redundancy=Redundancy(1)))
    lost = NotProven(Case(("b",), {"v": "a"}), ("w",))
    none = Impossible(("a", "b"), "no host is left")
    answer = no_placement(
        state, web("x"), [not_admitted(state, 0, lost), not_admitted(state, 1, none)]
    )
    assert answer.message == (
        "0/3 hosts fit: 1 N+1 impossible (after the loss of a, b no host is left),"
        " 1 N+1 not proven (after the loss of b no new host was found for 1 of 2 virtual machines),"
        " 1 not ready"
    )
    same = [replace(not_admitted(state, i, lost), detail=f"case {i}") for i in (0, 1)]
    assert no_placement(state, web("x"), same).message == (
        "0/3 hosts fit: 2 N+1 not proven (for example case 0), 1 not ready"
    )


def test_no_host_at_all() -> None:
    assert why(web("x")) == "0/0 hosts fit: there is no host"
