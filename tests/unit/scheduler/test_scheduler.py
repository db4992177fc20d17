# SPDX-License-Identifier: Apache-2.0
"""The one door: who gets a host while nothing is proven, by both provers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler import scheduler as module
from nopal_scheduler.answer import NoPlacement, Placement
from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.scheduler import Scheduler
from support.tinyclusters import clusters, vms

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
HOSTS = tuple(Host(f"h{i}", Room(8, 8)) for i in range(3))
NEAR_DB = Rule(RuleKind.AFFINITY, (("app", "db"),))
WEB = Vm("web", Room(1, 1), "h0", rules=(NEAR_DB,))
DB = Vm("db", Room(1, 1), labels={"app": "db"})


@pytest.fixture(params=[module.CASES, 0], ids=["cases", "backups"])
def prover(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CASES", request.param)


@pytest.mark.usefixtures("prover")
def test_one_that_others_must_be_near_to_comes_back() -> None:
    scheduler = Scheduler(Cluster(HOSTS, (WEB,), Redundancy(1)))
    assert not scheduler.is_proven
    assert isinstance(scheduler.place(Vm("other", Room(1, 1))), NoPlacement)
    assert isinstance(scheduler.place(DB), Placement)
    assert "db" not in scheduler.state.vms, "asked, and not put there"
    assert isinstance(scheduler.admit(DB), Placement)
    assert scheduler.is_proven
    assert isinstance(scheduler.place(Vm("other", Room(1, 1))), Placement)


@pytest.mark.usefixtures("prover")
def test_one_with_which_not_all_is_proven_does_not() -> None:
    far = Rule(RuleKind.AFFINITY, (("app", "cache"),))
    both = (WEB, Vm("app", Room(1, 1), "h1", rules=(far,)))
    scheduler = Scheduler(Cluster(HOSTS, both, Redundancy(1)))
    assert isinstance(scheduler.admit(DB), NoPlacement)
    assert sorted(scheduler.state.vms) == ["app", "web"]


@QUICK
@given(cluster=clusters(), vm=vms("new", ruled=True), cases=st.booleans())
def test_who_gets_a_host_leaves_everything_proven(cluster: Cluster, vm: Vm, cases: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CASES", module.CASES if cases else 0)
        scheduler = Scheduler(cluster)
    before = sorted(scheduler.state.vms)
    if isinstance(scheduler.admit(vm), Placement):
        assert scheduler.is_proven
    else:
        assert sorted(scheduler.state.vms) == before
