# SPDX-License-Identifier: Apache-2.0
"""What is said of a zone costs no more than it must, and never too much at once."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import pytest

from nopal_api.redundancy import StandardSize
from nopal_operator import assessment as module
from nopal_operator.assessment import COUNTING, Assessment, Assessments
from nopal_operator.premises import Premises
from nopal_operator.schedulers import Hold, Schedulers, SearchingError
from nopal_scheduler import Cluster, Host, Redundancy, Room, Scheduler, Vm

GIB = 2**30
SIZES = tuple(StandardSize(name=f"s{i}", cores=1, memory=f"{i}Gi") for i in range(1, 5))
PAUSE = 10.0
THREE = Premises(tuple(Host(n, Room(64, 64 * GIB)) for n in "abc"), Redundancy(1))


@dataclass
class Bench:
    """A zone of three hosts that is to survive one, and who says something of it."""

    premises: Premises = THREE
    schedulers: Schedulers = field(default_factory=Schedulers)
    silent: frozenset[str] = frozenset()
    sizes: tuple[StandardSize, ...] = SIZES
    now: float = 0.0
    computed: Callable[[], float] = lambda: 0.0

    def __post_init__(self) -> None:
        self.assessments = Assessments(self.schedulers, computed=lambda: self.computed())

    def ask(self) -> tuple[Assessment, float | None]:
        return self.assessments.of(
            "z", self.premises, sizes=self.sizes, silent=self.silent, now=self.now, pause=PAUSE
        )

    def change(self) -> None:
        vm = Vm("new", Room(1, 64 * GIB), restarts=False)
        self.schedulers.assign("new", Hold(vm, "a", 1))


def test_it_is_made_anew_only_after_a_change_and_a_pause() -> None:
    bench = Bench()
    first, again = bench.ask()
    assert again is None
    assert [fit.count for fit in first.fits] == [100, 62, 40, 30]
    bench.now += 2 * PAUSE
    assert bench.ask() == (first, None)
    bench.change()
    second, _ = bench.ask()
    assert second is not first
    bench.schedulers.assign("new", None)
    bench.now += 1
    assert bench.ask() == (second, PAUSE - 1)
    bench.now += PAUSE
    assert bench.ask() == (first, None)


def test_what_a_person_asks_for_does_not_wait() -> None:
    bench = Bench()
    bench.ask()
    bench.now += 1
    bench.sizes = SIZES[:1]
    assert len(bench.ask()[0].fits) == 1
    bench.premises = Premises(bench.premises.hosts, Redundancy(2))
    assert bench.ask()[0].proven == 2


def test_hosts_of_other_zones_that_fall_silent_change_nothing() -> None:
    bench = Bench()
    first, _ = bench.ask()
    bench.silent = frozenset({"other"})
    bench.now += 2 * PAUSE
    assert bench.ask()[0] is first


def test_a_host_that_comes_and_goes_is_no_reason_to_count_without_a_pause() -> None:
    bench = Bench()
    bench.schedulers.assign("vm", Hold(Vm("vm", Room(1, GIB)), "a", 1))
    first, _ = bench.ask()
    for now in (1.0, 2.0, 3.0):
        bench.now = now
        bench.silent = frozenset() if bench.silent else frozenset("a")
        found, wait = bench.ask()
        assert found is first
        assert wait in (None, PAUSE - now)
    bench.now = 20.0
    assert bench.ask()[0].down == ("a",)


def test_counting_ends_when_its_time_is_over_and_goes_on_in_the_next_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each trial takes a quarter of a turn: nobody counts more than four, nor forgets a size."""
    time = [0.0]
    trials: list[Room] = []

    class Slow(Scheduler):
        def admit(self, vm: Vm) -> object:  # type: ignore[override]
            time[0] += COUNTING / 4
            trials.append(vm.needs)
            return super().admit(vm)

    monkeypatch.setattr("nopal_operator.schedulers.Scheduler", Slow)
    bench = Bench(computed=lambda: time[0], sizes=(*SIZES, SIZES[0].model_copy(update=NAMED)))
    made, again = bench.ask()
    assert len(trials) <= 5
    assert again == PAUSE, "there is more to count"
    assert [(fit.count, fit.limit) for fit in made.fits] == [(1, "")] * 4 + [(0, "")]
    trials.clear()
    bench.now += PAUSE
    made, again = bench.ask()
    assert [(fit.count, fit.limit) for fit in made.fits] == [(1, "")] * 4 + [(4, "")]
    assert again is None
    trials.clear()
    bench.now += PAUSE
    assert bench.ask() == (made, None)
    assert trials == []
    bench.change()
    bench.ask()
    bench.schedulers.assign("new", None)
    bench.now += PAUSE
    trials.clear()
    bench.ask()
    assert trials[0] != trials[-1], "the one that was left over is first"


NAMED = {"name": "again"}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Cluster]:
    """Every cluster that is searched from the start to say something of it."""
    found: list[Cluster] = []

    def build(cluster: Cluster, *, like: Scheduler | None) -> Scheduler:
        found.append(cluster)
        return Scheduler(cluster, like=like)

    monkeypatch.setattr("nopal_operator.schedulers.Scheduler", build)
    return found


def test_what_is_proven_is_neither_written_down_nor_tried_for_less(
    built: list[Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    bench.premises = Premises(bench.premises.hosts, Redundancy(2))
    bench.schedulers.scheduler("z", bench.premises)
    built.clear()
    for owner, name in ((Schedulers, "cluster"), (Scheduler, "verdict")):
        monkeypatch.setattr(owner, name, None)  # whoever calls it fails
    assert bench.ask()[0].proven == 2
    assert built == []


def test_fewer_failures_are_tried_where_that_is_cheap(
    built: list[Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    bench.premises = Premises(bench.premises.hosts, Redundancy(2))
    for i in range(4):
        vm = Vm(f"vm{i}", Room(1, 20 * GIB))
        bench.schedulers.assign(vm.name, Hold(vm, "abca"[i], 1))
    assert bench.ask()[0].proven == 1
    assert [c.redundancy.failures for c in built] == [2, 1]
    monkeypatch.setattr(module, "RESTARTS", 3)
    built.clear()
    bench.now += PAUSE
    bench.change()
    assert bench.ask()[0].proven == 0
    assert built == []


def test_fewer_failures_are_searched_aside_where_that_may_take_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nopal_operator.schedulers._FEW", 0)
    begun: list[tuple[Cluster, Future[Scheduler]]] = []

    def aside(_: str, cluster: Cluster, like: Scheduler | None) -> Future[Scheduler]:
        begun.append((cluster, Future()))
        return begun[-1][1]

    hosts = tuple(Host(n, Room(64, 64 * GIB)) for n in "abcd")
    bench = Bench(premises=Premises(hosts, Redundancy(3)), sizes=SIZES[:1])
    bench.schedulers.aside = aside
    for i in range(7):
        vm = Vm(f"vm{i}", Room(1, 20 * GIB))
        bench.schedulers.assign(vm.name, Hold(vm, "abcdabc"[i], 1))
    for failures in (3, 2, 1):
        for _ in range(2):
            with pytest.raises(SearchingError):
                bench.ask()
        cluster, result = begun[-1]
        assert cluster.redundancy.failures == failures
        result.set_result(Scheduler(cluster))
    assert bench.ask()[0].proven == 1
    assert len(begun) == 3
    bench.now += PAUSE
    bench.change()
    with pytest.raises(SearchingError):
        bench.ask()
    assert len(begun) == 4, "after a change it is searched again"
    begun[-1][1].set_result(Scheduler(begun[-1][0]))
    for i in range(7):
        bench.schedulers.assign(f"vm{i}", None)
    assert bench.ask()[0].proven == 3
    for i in range(7):
        vm = Vm(f"vm{i}", Room(1, 20 * GIB))
        bench.schedulers.assign(vm.name, Hold(vm, "abcdabc"[i], 1))
    bench.now += PAUSE
    with pytest.raises(SearchingError):
        bench.ask()
    assert len(begun) == 5, "what was searched before that is of no use"
