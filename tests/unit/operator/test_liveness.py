# SPDX-License-Identifier: Apache-2.0
"""Which hosts are alive, counted on the operator's own clock."""

from typing import Any

import pytest

from nopal_operator.liveness import Liveness
from support.operatorlab import Lab


class Watched:
    """A list of Leases, and a clock."""

    def __init__(self) -> None:
        self.lab = Lab()
        self.now = 0.0
        self.renewed: dict[str, int] = {}
        self.live = Liveness(self.lab.world, clock=lambda: self.now, longest_gap=5.0)

    def renew(self, *names: str) -> None:
        for name in names:
            self.renewed[name] = self.renewed.get(name, 0) + 1

    def look(self, *, after: float = 1.0) -> tuple[str, ...]:
        self.now += after
        return self.live.observe(self._lease(n, r) for n, r in self.renewed.items())

    def _lease(self, name: str, renewed: int) -> dict[str, Any]:
        spec = {"leaseDurationSeconds": 15, "renewTime": f"whatever its clock says {renewed}"}
        return {"metadata": {"name": name}, "spec": spec}

    def state(self, name: str) -> bool | None:
        return self.lab.world.heartbeats.get(name)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_lease_that_stands_still_since_the_start_proves_nothing(watched: Watched) -> None:
    watched.renew("n1")
    assert watched.look() == ()
    assert watched.state("n1") is None
    watched.renew("n1")
    assert watched.look() == ("n1",)
    assert watched.state("n1") is True


def test_nobody_is_called_silent_before_a_whole_span(watched: Watched) -> None:
    watched.renew("n1")
    watched.look()
    for _ in range(14):
        watched.look()
        assert watched.state("n1") is None
    assert watched.look() == ("n1",)
    assert watched.state("n1") is False


def test_a_lease_that_is_new_is_a_sign_of_life(watched: Watched) -> None:
    watched.look()
    watched.renew("n1")
    assert watched.look() == ("n1",)
    assert watched.state("n1") is True


def test_a_change_is_told_once(watched: Watched) -> None:
    watched.renew("n1")
    watched.look()
    watched.renew("n1")
    watched.look()
    changes = [watched.look() for _ in range(30)]
    assert [c for c in changes if c] == [("n1",)]
    watched.renew("n1")
    assert watched.look() == ("n1",)
    assert watched.look() == ()


def test_an_operator_that_was_cut_off_calls_nobody_silent_for_it(watched: Watched) -> None:
    watched.renew("n1", "n2")
    watched.look()
    watched.renew("n1", "n2")
    watched.look()
    watched.look(after=60.0)  # kube-apiserver was away: the hosts could not renew either
    assert watched.state("n1") is True
    watched.renew("n1")
    for _ in range(14):
        watched.look()
    assert watched.state("n2") is True
    watched.look()
    assert (watched.state("n1"), watched.state("n2")) == (True, False)


def test_one_that_was_silent_before_a_gap_is_not_raised_by_it(watched: Watched) -> None:
    watched.renew("n1")
    for _ in range(17):
        watched.look()
    assert watched.state("n1") is False
    watched.look(after=60.0)
    assert watched.state("n1") is False


def test_a_lease_that_is_deleted_runs_out(watched: Watched) -> None:
    watched.renew("n1")
    watched.look()
    watched.renew("n1")
    watched.look()
    watched.renewed.clear()
    for _ in range(15):
        watched.look()
    assert watched.state("n1") is False


async def test_a_host_without_a_lease_is_silent_after_a_span() -> None:
    watched = Watched()
    await watched.lab.host("n1", heartbeat=None)
    await watched.lab.sync()
    for _ in range(15):
        watched.look()
        assert watched.state("n1") is None
    assert watched.look() == ("n1",)
    assert watched.state("n1") is False
    watched.renew("n1")
    assert watched.look() == ("n1",)
    assert watched.state("n1") is True


async def test_since_when_a_host_is_not_usable() -> None:
    watched = Watched()
    lab = watched.lab
    lab.zone()
    await lab.host("n1", heartbeat=None)
    await lab.sync()
    lab.world.times.down_since.clear()
    watched.renew("n1")
    watched.look()
    watched.live.note_hosts(["n1"])
    assert lab.world.times.down_since == {"n1": 1.0}
    watched.renew("n1")
    watched.look()
    assert lab.world.times.down_since == {}
    for _ in range(15):
        watched.look()
    assert lab.world.times.down_since == {"n1": 17.0}
