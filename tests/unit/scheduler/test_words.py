# SPDX-License-Identifier: Apache-2.0
"""What people read: amounts with their units, and verdicts that name what is missing."""

import random

import pytest

from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Vm
from nopal_scheduler.proof import Case, Impossible, NotProven
from nopal_scheduler.proving.backups.prover import BackupProver
from nopal_scheduler.scheduler import Scheduler
from nopal_scheduler.state import State
from nopal_scheduler.words import amount_of, counted, did_you_mean, quantity


@pytest.mark.parametrize(
    ("resource", "count", "words"),
    [
        ("memory", 6 * 2**30, "6Gi of memory"),
        ("hugepages-1Gi", 6 * 2**30 + 1, "6.1Gi of hugepages-1Gi"),
        ("example.com/hugepages-2Mi", 2**21, "2Mi of example.com/hugepages-2Mi"),
        ("cpu", 2048, "2048 cpu"),
        ("nvidia.com/gpu", 2**30, "1073741824 nvidia.com/gpu"),
        ("my-hugepages-1Gi", 1024, "1024 my-hugepages-1Gi"),
    ],
)
def test_bytes_have_units_and_what_is_counted_has_none(
    resource: str, count: int, words: str
) -> None:
    assert amount_of(resource, count) == words
    assert words.startswith(quantity(resource, count, up=True))


def test_one_is_one_and_a_slip_is_seen() -> None:
    assert [counted(n, "case") for n in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]
    assert did_you_mean("rac", {"rack", "room"}) == ": did you mean rack?"
    assert did_you_mean("zzz", {"rack"}, otherwise=": no") == ": no"


def test_one_of_one_is_no_plural() -> None:
    assert NotProven(Case(("a",)), ("v",)).message == (
        "not proven: after the loss of a no new host was found for 1 of 1 virtual machine"
    )
    assert NotProven(Case(("a",), {"w": "b"}), ("v",), "why").message == (
        "not proven: after the loss of a no new host was found for 1 of 2 virtual machines: why"
    )


def test_who_gets_no_list_is_named_and_never_counted_as_none() -> None:
    luck = random.Random(7)  # noqa: S311 - sizes, no secrets
    state = State(Cluster(tuple(Host(f"h{i}", Room(99, 24)) for i in range(8)), (), Redundancy(2)))
    prover, told = BackupProver(state), list[str]()
    for i in range(60):
        vm = Vm(f"v{i}", Room(1, luck.randint(1, 9)))
        for host in state.fits(vm).nonzero()[0].tolist():
            why = prover.admit(vm, host)
            if why is None:
                break
            told.append(why.message)
    assert not [words for words in told if " 0 of " in words]
    assert [words for words in told if 'no list of 2 backups was found for vm "v' in words]
    assert [words for words in told if " no new host was found for 1 of " in words]


def host(name: str, *, takes: bool = True) -> Host:
    return Host(name, Room(8, 8, {"gpu": 1}), draining=not takes)


def test_what_is_missing_is_in_the_bound_as_words_and_as_data() -> None:
    there = (Vm("v", Room(1, 6), "a"), Vm("w", Room(1, 6), "b"))
    verdict = Scheduler(Cluster((host("a"), host("b")), there, Redundancy(1))).verdict()
    reason = "the hosts left lack 4 of memory"
    assert verdict == Impossible(("a",), reason, resource="memory", missing=4)
    asks = Vm("x", Room(1, 1, {"gpu": 1}))
    scheduler = Scheduler(Cluster((host("a"), host("b")), (), Redundancy(1)))
    scheduler.add(asks, "a")
    scheduler.add(Vm("y", Room(1, 1, {"gpu": 1})), "b")
    verdict = scheduler.verdict()
    assert verdict == Impossible(("a",), "the hosts left lack 1 gpu", resource="gpu", missing=1)


@pytest.mark.parametrize(
    ("hosts", "why"),
    [
        ((host("a"),), "no host is left"),
        ((host("a"), host("b", takes=False)), "no host is left that takes virtual machines"),
    ],
)
def test_where_no_host_is_left_that_is_said(hosts: tuple[Host, ...], why: str) -> None:
    there = Vm("v", Room(1, 1), "a")
    words = f"impossible: after the loss of a {why}"
    verdict = Scheduler(Cluster(hosts, (there,), Redundancy(1))).verdict()
    assert isinstance(verdict, Impossible)
    assert verdict.message == words
    (refusal, *_) = Scheduler(Cluster(hosts, (), Redundancy(1))).place(there).refusals  # type: ignore[union-attr]
    assert refusal.detail == words.removeprefix("impossible: ")
