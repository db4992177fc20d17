# SPDX-License-Identifier: Apache-2.0
"""What a host says of its pools: true, and steady while the storage is nearly at rest."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_api.host import HostPool
from nopal_node.host.pool_report import pool_reports
from nopal_node.host.preflight import PoolSeen
from nopal_node.storage.base import PoolRedundancy

TIB = 2**40
TOLD = PoolRedundancy(
    size=3,
    min_size=2,
    failure_domain="host",
    domains=5,
    copies_together=1,
    raw_total=100 * TIB,
    raw_used=40 * TIB,
    shares=(0.2,) * 5,
)


def report(told: PoolRedundancy, before: HostPool | None = None) -> HostPool:
    (found,) = pool_reports([PoolSeen("main", redundancy=told)], [before] if before else [])
    return found


def filled(percent: float, **more: object) -> PoolRedundancy:
    return replace(TOLD, raw_used=round(percent * TIB), **more)  # type: ignore[arg-type]


def test_what_is_told() -> None:
    assert report(TOLD).wire() == {
        "name": "main",
        "size": 3,
        "minSize": 2,
        "failureDomain": "host",
        "domains": 5,
        "copiesTogether": 1,
        "rawTotal": f"{100 * 2**20}Mi",
        "rawUsedPercent": 40,
        "rawSpace": 3,
    }


@pytest.mark.parametrize(
    ("told", "space"),
    [
        (filled(1), 3),
        (filled(67), 1),  # 67 of 80 that are left after one
        (filled(69), 0),  # above 85 %
        (filled(67, shares=(0.6, 0.1, 0.1, 0.1, 0.1)), 0),  # the largest may be the lost one
        (filled(80, shares=(1 / 3,) * 3, domains=3), 2),  # no third place: no copy is made anew
        (filled(95, shares=(1 / 3,) * 3, domains=3), 0),
        (filled(10, shares=(1.0,), domains=1), 0),
        (filled(10, shares=()), 0),
        (filled(0, raw_total=0), 0),
    ],
)
def test_space_for_what_is_made_anew(told: PoolRedundancy, space: int) -> None:
    assert report(told).raw_space == space


def test_a_figure_is_taken_back_only_by_a_margin() -> None:
    first = report(filled(67))
    assert (first.raw_used_percent, first.raw_space) == (70, 1)
    assert report(filled(69.9), first) == first, "85 % once, 90 % from then on"
    assert report(filled(64.5), first) == first
    assert report(filled(63.9), first).raw_used_percent == 65
    assert report(filled(72.1), first).raw_space == 0


@settings(max_examples=60)
@given(percents=st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_what_is_seen_again_is_said_again(percents: list[float]) -> None:
    before = None
    for percent in percents:
        before = report(filled(percent), before)
        assert report(filled(percent), before) == before, "one look more, one write more"
        assert before.raw_used_percent >= percent - 1e-9
        for near in (percent - 0.9, percent + 0.9):
            if 0 <= near <= 100:
                there = report(filled(near), before)
                assert report(filled(percent), there) == there, "two values alternate"


def test_what_cannot_be_asked_keeps_its_last_word() -> None:
    first = report(TOLD)
    assert pool_reports([PoolSeen("main")], [first]) == (first,)
    assert pool_reports([PoolSeen("main")], []) == ()
    assert pool_reports([PoolSeen("other", redundancy=TOLD)], [first])[0].name == "other"
