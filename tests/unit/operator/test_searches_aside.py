# SPDX-License-Identifier: Apache-2.0
"""Proofs that are searched for in a thread, while the zone goes on."""

from contextlib import suppress
from dataclasses import replace

import pytest

from nopal_operator import schedulers as module
from nopal_operator.schedulers import Hold, Schedulers, SearchingError
from nopal_scheduler import (
    Cluster,
    Host,
    Placement,
    Redundancy,
    Room,
)
from nopal_scheduler import Scheduler as Real
from support.schedulers import APART, NAMES, VAST, Aside, guest


def full(aside: Aside) -> Schedulers:
    """Return what holds room in a zone in which there is much to prove."""
    all_ = Schedulers(aside=aside)
    for i in range(100):
        all_.assign(f"vm{i}", Hold(guest(f"vm{i}", 1, app="db"), NAMES[i % 3], 1))
    return all_


SAFE = replace(VAST, redundancy=Redundancy(1))


def test_a_long_search_is_made_aside_and_catches_up(built: list[int]) -> None:
    aside = Aside()
    all_ = full(aside)
    for _ in range(3):
        with pytest.raises(SearchingError):
            all_.place("z", SAFE, guest("new", 1, APART))
    assert (built, len(aside.begun)) == ([], 1)
    all_.assign("vm0", None)
    all_.assign("vm1", Hold(guest("vm1", 1, app="db"), "a", 2))
    all_.assign("vm2", Hold(guest("vm2", 1, app="web"), "c", 2))
    all_.assume(Hold(guest("more", 1), "b", 1))
    with pytest.raises(SearchingError):
        all_.changes("z", SAFE)
    aside.end()
    state = all_.scheduler("z", SAFE).state
    assert (built, len(aside.begun)) == ([], 1)
    assert "vm0" not in state.vms
    assert {name: state.hosts[state.host_of(name)].name for name in ("vm1", "vm2", "more")} == {
        "vm1": "a",
        "vm2": "c",
        "more": "b",
    }
    assert len(state.vms) == len(all_.cluster(SAFE).vms)
    assert isinstance(all_.place("z", SAFE, guest("new", 1)), Placement)


def test_a_search_for_other_hosts_is_of_no_use() -> None:
    aside = Aside()
    all_, fewer = full(aside), replace(SAFE, hosts=SAFE.hosts[:2])
    for premises in (SAFE, fewer):
        with pytest.raises(SearchingError):
            all_.scheduler("z", premises)
    assert len(aside.begun) == 1, "one at a time"
    aside.end()
    with pytest.raises(SearchingError):
        all_.scheduler("z", fewer)
    aside.end()
    assert len(all_.scheduler("z", fewer).state.hosts) == 2


def test_a_search_that_fails_is_told_and_made_again() -> None:
    aside = Aside()
    all_ = full(aside)
    with pytest.raises(SearchingError):
        all_.scheduler("z", SAFE)
    aside.begun[0][1].set_exception(LookupError("fault"))
    with pytest.raises(LookupError):
        all_.scheduler("z", SAFE)
    with pytest.raises(SearchingError):
        all_.scheduler("z", SAFE)
    assert len(aside.begun) == 2


@pytest.mark.parametrize("few", [0, 1000])
def test_a_search_begins_with_what_was_found_before(
    monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """A nearly full zone keeps its proof when a host goes and comes back."""
    begun: list[Real | None] = []

    class Watched(Real):
        def __init__(self, cluster: Cluster, *, like: Real | None = None) -> None:
            begun.append(like)
            super().__init__(cluster, like=like)

    monkeypatch.setattr(module, "_FEW", few)
    monkeypatch.setattr(module, "Scheduler", Watched)
    aside = Aside()
    all_, tight = full(aside), replace(SAFE, hosts=tuple(Host(n, Room(60, 60)) for n in NAMES))
    found: list[Real] = []
    for premises in (tight, replace(tight, hosts=tight.hosts[:2]), tight, SAFE):
        with suppress(SearchingError):
            all_.scheduler("z", premises)
        aside.end()
        found.append(all_.scheduler("z", premises))
    assert [each.is_proven for each in found] == [True, False, True, True]
    first, _, third, _ = found
    assert (begun or aside.likes) == [None, first, first, third], "the last that was proven"


def test_where_there_is_little_to_prove_nothing_is_made_aside(built: list[int]) -> None:
    aside = Aside()
    all_ = full(aside)
    all_.scheduler("z", VAST)
    Schedulers(aside=aside).scheduler("z", SAFE)
    assert built == [100, 0]
    assert aside.begun == []
