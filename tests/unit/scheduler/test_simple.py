# SPDX-License-Identifier: Apache-2.0
"""The operator's door: room and networks, and the words for why a host is none."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nopal_scheduler import (
    Host,
    NoPlacement,
    Placement,
    Room,
    VmRequest,
    host_capacity,
    place,
    vm_cost,
    vm_memory_cost,
)

GIB, MIB = 2**30, 2**20


def host(name: str, *, cpu: int = 16, memory: int = 16, taken: int = 0, **more: object) -> Host:
    made = Host(name, Room(cpu, memory * GIB), Room(0, taken * GIB))
    return replace(made, **more)  # type: ignore[arg-type]


def why(request: VmRequest, *hosts: Host) -> str:
    answer = place(request, hosts)
    assert isinstance(answer, NoPlacement)
    return answer.message


def test_a_vm_costs_more_than_its_guest_sees() -> None:
    assert vm_memory_cost(4, 8 * GIB) == (8192 + 50 + 32 + 16) * MIB
    assert vm_cost(4, 8 * GIB) == Room(4, vm_memory_cost(4, 8 * GIB))


@pytest.mark.parametrize(
    ("percent", "reserved", "cpu"), [(100, 0, 8), (400, 0, 32), (150, 1, 10), (400, 99, 0)]
)
def test_cpu_is_overcommitted_and_memory_is_not(percent: int, reserved: int, cpu: int) -> None:
    room = host_capacity(
        Room(8, 16 * GIB), reserved=Room(reserved, 2 * GIB), cpu_overcommit_percent=percent
    )
    assert room == Room(cpu, 14 * GIB)


def test_a_host_that_keeps_more_than_it_has_offers_nothing() -> None:
    room = host_capacity(Room(1, GIB), reserved=Room(4, 2 * GIB), cpu_overcommit_percent=400)
    assert room == Room(0, 0)


def test_the_least_loaded_host_is_taken() -> None:
    hosts = [host("a", taken=8), host("b", taken=2), host("c", taken=4)]
    assert place(VmRequest(1, GIB), hosts) == Placement("b")


def test_load_is_relative_to_the_hosts_size() -> None:
    hosts = [host("small", memory=8, taken=2), host("large", memory=64, taken=8)]
    assert place(VmRequest(1, GIB), hosts) == Placement("large")


def test_the_fuller_of_cpu_and_memory_counts() -> None:
    hosts = [
        host("cpu-full", allocated=Room(15, 0)),
        host("half-full", allocated=Room(8, 8 * GIB)),
    ]
    assert place(VmRequest(1, GIB), hosts) == Placement("half-full")


def test_equals_are_decided_by_name_whatever_their_order() -> None:
    for order in itertools.permutations([host("c"), host("a"), host("b")]):
        assert place(VmRequest(1, GIB), order) == Placement("a")


def test_exactly_full_still_fits() -> None:
    exact = Host("a", vm_cost(2, GIB))
    assert place(VmRequest(2, GIB), [exact]) == Placement("a")
    short = replace(exact, allocated=Room(0, 1))
    assert isinstance(place(VmRequest(2, GIB), [short]), NoPlacement)


def test_words_as_kube_scheduler_has_them() -> None:
    request = VmRequest(1, 8 * GIB)
    answer = why(request, host("a", memory=8, taken=5), host("b", blocked="not ready"))
    assert answer == "0/2 hosts fit: 1 insufficient memory (needs 8.1Gi, 3Gi free), 1 not ready"


def test_reasons_are_counted_most_frequent_first_and_show_the_best_host() -> None:
    request = VmRequest(4, 8 * GIB)
    hosts = [
        host("a", memory=8, taken=5),
        host("b", memory=8, taken=1),
        host("c", blocked="scheduling disabled"),
        host("d", cpu=2),
    ]
    assert why(request, *hosts) == (
        "0/4 hosts fit: 2 insufficient memory (needs 8.1Gi, at most 7Gi free),"
        " 1 insufficient cpu (needs 4, 2 free), 1 scheduling disabled"
    )


def test_a_host_short_of_two_things_is_counted_under_both() -> None:
    assert why(VmRequest(32, 32 * GIB), host("a")) == (
        "0/1 hosts fit: 1 insufficient cpu (needs 32, 16 free),"
        " 1 insufficient memory (needs 32.4Gi, 16Gi free)"
    )


def test_a_network_that_is_not_there() -> None:
    request = VmRequest(1, GIB, networks=("lan",))
    here = host("b", networks=frozenset({"lan"}))
    assert place(request, [host("a"), here]) == Placement("b")
    assert why(request, host("a")) == "0/1 hosts fit: 1 network lan not realized"


def test_no_host_at_all() -> None:
    assert why(VmRequest(1, GIB)) == "0/0 hosts fit: there is no host"


def test_a_host_over_its_capacity_has_nothing_free() -> None:
    assert "0 free" in why(VmRequest(1, GIB), host("a", memory=4, taken=9))


amounts = st.integers(0, 64 * GIB)
hosts_ = st.lists(
    st.builds(
        Host,
        name=st.sampled_from([f"h{i}" for i in range(20)]),
        capacity=st.builds(Room, st.integers(0, 64), amounts),
        allocated=st.builds(Room, st.integers(0, 64), amounts),
        networks=st.frozensets(st.sampled_from(["lan", "dmz"])),
        blocked=st.sampled_from(["", "", "not ready"]),
    ),
    unique_by=lambda h: h.name,
    max_size=8,
)
requests = st.builds(
    VmRequest,
    cores=st.integers(1, 64),
    memory=st.integers(MIB, 64 * GIB),
    networks=st.sampled_from([(), ("lan",), ("dmz", "lan")]),
)


@given(requests, hosts_, st.randoms())
def test_promises(request: VmRequest, hosts: list[Host], random: object) -> None:
    """Never over capacity, never on a blocked host; a reason for every host else; no luck."""
    answer = place(request, hosts)
    random.shuffle(hosts)  # type: ignore[attr-defined]
    assert place(request, hosts) == answer
    if isinstance(answer, Placement):
        chosen = next(h for h in hosts if h.name == answer.host)
        assert not chosen.blocked
        assert chosen.free.cpu >= request.cost.cpu
        assert chosen.free.memory >= request.cost.memory
        assert set(request.networks) <= chosen.networks
    else:
        assert {r.host for r in answer.refusals} == {h.name for h in hosts}
        assert answer.message.startswith(f"0/{len(hosts)} hosts fit: ")


@given(requests, hosts_)
def test_what_does_not_fit_never_looks_as_if_it_did(request: VmRequest, hosts: list[Host]) -> None:
    answer = place(request, hosts)
    if isinstance(answer, NoPlacement):
        for refusal in answer.refusals:
            if refusal.needs is not None:
                alone = NoPlacement(1, (refusal,)).message
                needs, free = alone.partition("needs ")[2].split(", ")
                assert needs != free.removesuffix(" free)")
