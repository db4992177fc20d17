# SPDX-License-Identifier: Apache-2.0
"""Moves that lower the score or empty a host: every step is recounted by hand."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from statistics import pstdev

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nopal_scheduler.checker import check_proof
from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler.moving.balance import balance, evacuate
from nopal_scheduler.moving.climb import climb
from nopal_scheduler.moving.course import Course
from nopal_scheduler.moving.measure import score
from nopal_scheduler.moving.plan import Limits, Move, Plan
from nopal_scheduler.moving.score import DEFAULT_WEIGHTS, Weights
from nopal_scheduler.moving.steps import Steps
from nopal_scheduler.proof import Case, NotProven, Proof
from nopal_scheduler.proving.unproven import PlainProver
from nopal_scheduler.scheduler import prover_for
from nopal_scheduler.state import State
from support.naiveplacing import fits, holds
from support.tinyclusters import clusters

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
EAGER = Limits(gain=0.001, effort=500)


def moved(cluster: Cluster, move: Move) -> Cluster:
    """The cluster after a move."""
    vms = (replace(v, host=move.target) if v.name == move.vm else v for v in cluster.vms)
    return replace(cluster, vms=tuple(vms))


def without(cluster: Cluster, *names: str) -> Cluster:
    return replace(cluster, vms=tuple(vm for vm in cluster.vms if vm.name not in names))


def broken(cluster: Cluster) -> int:
    """How many required rules are broken, counted for each that has one."""
    hosts = {host.name: host for host in cluster.hosts}
    return sum(
        not holds(rule, without(cluster, vm.name), vm, hosts[vm.host or ""])
        for vm in cluster.vms
        for rule in vm.rules
        if rule.required
    )


def steps(cluster: Cluster, plan: Plan) -> Iterator[tuple[Cluster, Move, Cluster]]:
    """Every move with the cluster before and after it."""
    for move in plan.moves:
        after = moved(cluster, move)
        yield cluster, move, after
        cluster = after


def is_right(cluster: Cluster, plan: Plan) -> None:
    """Room, rules and proof at every step, and the gains as the score has them."""
    proven = isinstance(prover_for(State(cluster)).verdict(), Proof)
    hosts = {host.name: host for host in cluster.hosts}
    for before, move, after in steps(cluster, plan):
        vm = next(vm for vm in before.vms if vm.name == move.vm)
        assert vm.host == move.source != move.target
        assert vm.movable
        assert move.memory == vm.needs.memory
        assert fits(without(before, vm.name), vm, hosts[move.target])
        assert broken(after) <= broken(before)
        verdict = prover_for(State(after)).verdict()
        if proven and isinstance(verdict, Proof):
            assert check_proof(after, verdict) == ()
    names = [move.vm for move in plan.moves]
    assert len(set(names)) == len(names), "nothing is moved twice"


def batches_are_right(cluster: Cluster, plan: Plan, limits: Limits) -> None:
    """All of a batch fit while nobody has left yet, so whoever is ready first may go first."""
    hosts = {host.name: host for host in cluster.hosts}
    for batch in plan.batches:
        assert 1 <= len(batch) <= limits.concurrent
        busy = [host for move in batch for host in (move.source, move.target)]
        assert max(busy.count(host) for host in busy) <= limits.per_host
        crowded = cluster
        for move in batch:
            vm = next(vm for vm in cluster.vms if vm.name == move.vm)
            copy = replace(vm, host=None, rules=())
            assert fits(
                replace(crowded, vms=tuple(map(bare, crowded.vms))), copy, hosts[move.target]
            )
            arrived = replace(vm, name=f"{vm.name}'", host=move.target)
            crowded = replace(crowded, vms=(*crowded.vms, arrived))
        for move in batch:
            cluster = moved(cluster, move)


def bare(vm: Vm) -> Vm:
    return replace(vm, rules=())


@QUICK
@given(cluster=clusters(max_vms=8))
def test_every_step_keeps_room_and_rules_and_the_score_never_rises(cluster: Cluster) -> None:
    plan = balance(State(cluster), EAGER)
    is_right(cluster, plan)
    batches_are_right(cluster, plan, EAGER)
    end, high = plan.before.total, 0
    for move in plan.moves:
        end -= move.gain
        high = high + 1 if end > plan.before.total + 1e-9 else 0
        assert high <= 1, "only between two that change places"
    assert end == pytest.approx(plan.after.total, abs=1e-9)
    assert plan.after.total < plan.before.total or not plan.moves


@QUICK
@given(cluster=clusters(max_vms=8))
def test_what_was_proven_stays_proven_at_every_step(cluster: Cluster) -> None:
    assume(isinstance(prover_for(State(cluster)).verdict(), Proof))
    for plan in (balance(State(cluster), EAGER), evacuate(State(cluster), ["h0"], EAGER)):
        assert plan.before.unproven == plan.after.unproven == 0
        for _, _, after in steps(cluster, plan):
            # Whoever searches from nothing may fail where keeping up did not: say so by its bound.
            assert prover_for(State(after)).verdict().__class__.__name__ != "Impossible"


@QUICK
@given(cluster=clusters(max_vms=8), shuffle=st.randoms(use_true_random=False))
def test_the_order_of_the_input_decides_nothing(cluster: Cluster, shuffle: Random) -> None:
    hosts, vms = list(cluster.hosts), list(cluster.vms)
    shuffle.shuffle(hosts)
    shuffle.shuffle(vms)
    other = replace(cluster, hosts=tuple(hosts), vms=tuple(vms))
    state = State(cluster)
    assert balance(state, EAGER) == balance(state, EAGER) == balance(State(other), EAGER)


@QUICK
@given(
    cluster=clusters(max_vms=8),
    moves=st.integers(0, 3),
    concurrent=st.integers(1, 3),
    per_host=st.integers(1, 2),
)
def test_limits_hold(cluster: Cluster, moves: int, concurrent: int, per_host: int) -> None:
    limits = replace(EAGER, moves=moves, concurrent=concurrent, per_host=per_host)
    still = tuple(replace(vm, movable=vm.name in ("v0", "v1", "v2")) for vm in cluster.vms)
    cluster = replace(cluster, vms=still)
    for plan in (balance(State(cluster), limits), evacuate(State(cluster), ["h0"], limits)):
        assert len(plan.moves) <= moves
        assert {move.vm for move in plan.moves} <= {"v0", "v1", "v2"}
        batches_are_right(cluster, plan, limits)


@QUICK
@given(cluster=clusters(max_vms=8))
def test_an_evacuation_empties_the_host_or_says_who_stays(cluster: Cluster) -> None:
    plan = evacuate(State(cluster), ["h0"], EAGER)
    is_right(cluster, plan)
    end = cluster
    for _, move, after in steps(cluster, plan):
        assert move.target != "h0"
        end = after
    left = sorted(vm.name for vm in end.vms if vm.host == "h0")
    assert left == [stay.vm for stay in plan.stays]
    assert all(stay.host == "h0" for stay in plan.stays)
    for stay in plan.stays:
        assert stay.why.startswith(f"0/{len(cluster.hosts) - 1} hosts fit: "), stay.why


@QUICK
@given(cluster=clusters(max_vms=8, failures=1))
def test_a_host_that_is_named_is_emptied_as_one_that_is_draining(cluster: Cluster) -> None:
    """But for the proof, in which a host takes restarts until it is draining."""
    cluster = replace(cluster, redundancy=Redundancy(0))
    hosts = (replace(h, draining=h.draining or h.name == "h0") for h in cluster.hosts)
    draining = replace(cluster, hosts=tuple(hosts))
    named = evacuate(State(cluster), ["h0"], EAGER)
    assert named == evacuate(State(draining), ["h0"], EAGER)


def host(name: str, *, memory: int = 64, cpu: int = 64, **more: object) -> Host:
    return replace(Host(name, Room(cpu, memory)), **more)  # type: ignore[arg-type]


def vm(name: str, at: str, memory: int = 8, **more: object) -> Vm:
    return replace(Vm(name, Room(1, memory), host=at), **more)  # type: ignore[arg-type]


def test_an_even_zone_is_left_alone() -> None:
    cluster = Cluster((host("a"), host("b")), (vm("v1", "a"), vm("v2", "b")))
    assert balance(State(cluster)).moves == ()


def test_a_draining_host_is_emptied_first_and_a_blocked_one_is_not_touched() -> None:
    hosts = (host("a"), host("b", draining=True), host("c", blocked="not ready"), host("d"))
    vms = (vm("v1", "a"), vm("v2", "b"), vm("v3", "c"), vm("v4", "d"))
    plan = balance(State(Cluster(hosts, vms)))
    assert [(move.vm, move.source) for move in plan.moves] == [("v2", "b")]
    assert plan.before.leaving == 1
    assert plan.after.leaving == 0


def test_a_move_that_is_not_worth_it_is_not_made() -> None:
    vms = tuple(vm(f"v{i}", "a" if i < 6 else "b") for i in range(10))
    state = State(Cluster((host("a", memory=640), host("b", memory=640)), vms))
    assert len(balance(state).moves) == 1
    assert balance(state, Limits(gain=1.0)).moves == ()
    assert balance(state, Limits(price=1e12)).moves == ()


def test_enough_is_reached_with_as_few_moves_as_it_takes() -> None:
    vms = tuple(vm(f"v{i}", "a") for i in range(8))
    state = State(Cluster((host("a"), host("b")), vms))
    whole = balance(state)
    half = balance(state, Limits(enough=0.6 * whole.before.total))
    assert half.after.total <= 0.6 * half.before.total
    assert 0 < len(half.moves) < len(whole.moves)


def test_where_no_single_move_helps_two_change_places() -> None:
    hosts = (host("a", memory=100, cpu=100), host("b", memory=100, cpu=100))
    vms = (
        *(replace(vm(f"big{i}", "a"), needs=Room(0, 20)) for i in range(4)),
        *(replace(vm(f"small{i}", "b"), needs=Room(0, 10)) for i in range(4)),
    )
    plan = balance(State(Cluster(hosts, vms)), Limits(gain=0.05), Weights(vms=100))
    assert len(plan.moves) == 4
    assert plan.after.spread["memory"] == pytest.approx(0, abs=1e-6)


def test_a_rule_that_is_broken_is_mended() -> None:
    apart = Rule(RuleKind.ANTI_AFFINITY, (("app", "db"),))
    vms = [vm(f"v{i}", "a", labels={"app": "db"}, rules=(apart,)) for i in range(2)]
    plan = balance(State(Cluster((host("a"), host("b")), tuple(vms))))
    assert plan.before.required == 2
    assert plan.after.required == 0


def test_the_proof_is_asked_for_every_step() -> None:
    """One large one could go where it evens out most, and then nobody could take its restart."""
    hosts = (host("a", memory=10), host("b", memory=10), host("c", memory=6))
    vms = (vm("big", "a", 6), vm("x", "a", 2), vm("y", "b", 2))
    free = balance(State(Cluster(hosts, vms)), EAGER)
    kept = balance(State(Cluster(hosts, vms, Redundancy(1))), EAGER)
    assert free.moves
    for _, _, after in steps(Cluster(hosts, vms, Redundancy(1)), kept):
        verdict = prover_for(State(after)).verdict()
        assert isinstance(verdict, Proof)
        assert check_proof(after, verdict) == ()


class NothingToB(PlainProver):
    """Refuses whatever would go to b."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.refused = state.index["b"]

    def admit(self, vm: Vm, host: int) -> NotProven | None:  # type: ignore[override]
        if host == self.refused:
            return NotProven(Case(("a",)), (vm.name,))
        return super().admit(vm, host)


def singles(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster after each move that has room and breaks no rule of anyone."""
    blocked = {host.name for host in cluster.hosts if host.blocked}
    for vm in cluster.vms:
        for host in cluster.hosts if vm.movable and vm.host not in blocked else ():
            after = moved(cluster, Move(vm.name, vm.host or "", host.name, 0.0, 0))
            good = host.name != vm.host and fits(without(cluster, vm.name), vm, host)
            if good and broken(after) <= broken(cluster):
                yield after


def full(chance: Random, hosts: int, failures: int) -> Cluster:
    """Hosts filled to about two thirds, by sizes of which some fit on few hosts."""
    free, vms = {f"h{i}": 16 for i in range(hosts)}, list[Vm]()
    while sum(free.values()) > hosts * 5:
        size, at = chance.choice((1, 2, 4, 8, 10)), chance.choice([*free])
        if free[at] >= size:
            free[at] -= size
            vms.append(vm(f"v{len(vms)}", at, size))
    made = tuple(host(name, memory=16) for name in free)
    return Cluster(made, tuple(vms), Redundancy(failures))


def survives(cluster: Cluster) -> bool:
    """Whether any host may be lost, by memory alone: every way to restart is tried."""
    used = {
        h.name: sum(v.needs.memory for v in cluster.vms if v.host == h.name) for h in cluster.hosts
    }

    def goes(lost: list[int], left: list[int]) -> bool:
        if not lost:
            return True
        return any(
            goes(lost[1:], [*left[:i], room - lost[0], *left[i + 1 :]])
            for i, room in enumerate(left)
            if room >= lost[0]
        )

    return all(
        goes(
            sorted((v.needs.memory for v in cluster.vms if v.host == gone.name), reverse=True),
            [h.capacity.memory - used[h.name] for h in cluster.hosts if h is not gone],
        )
        for gone in cluster.hosts
    )


@QUICK
@given(seed=st.integers(0, 2**32))
def test_where_one_move_gives_the_proof_it_is_found(seed: int) -> None:
    cluster = full(Random(seed), 4, failures=1)  # noqa: S311 - loads, not secrets
    if survives(cluster) or not any(map(survives, singles(cluster))):
        return
    plan = balance(State(cluster), replace(EAGER, moves=1))
    assert plan.before.unproven > plan.after.unproven == 0
    assert [survives(after) for _, _, after in steps(cluster, plan)] == [True]


def nothing_is_left(cluster: Cluster, limits: Limits) -> None:
    """No move of one that has not moved wins what a move must win."""
    plan = balance(State(cluster), limits)
    end = cluster
    for _, _, after in steps(cluster, plan):
        end = after
    places = {vm.name: vm.host for vm in end.vms}
    gone = {move.vm for move in plan.moves}
    total = score(State(end)).total
    assert total == pytest.approx(plan.after.total, abs=1e-7)
    least = limits.gain / max(1, sum(not host.refusal for host in cluster.hosts))
    for after in singles(end):
        name = next(vm.name for vm in after.vms if vm.host != places[vm.name])
        assert name in gone or total - score(State(after)).total < least + 1e-7


@QUICK
@given(seed=st.integers(0, 2**32), hosts=st.integers(4, 6), ruled=st.booleans())
def test_no_single_move_above_the_threshold_is_left(seed: int, hosts: int, ruled: bool) -> None:
    chance = Random(seed)  # noqa: S311 - loads, not secrets
    cluster = full(chance, hosts, failures=0)
    apart = Rule(RuleKind.ANTI_AFFINITY, (("app", "db"),))
    some = {vm.name for vm in cluster.vms if ruled and chance.random() < 0.3}
    db = {"labels": {"app": "db"}, "rules": (apart,)}
    vms = (replace(vm, **db) if vm.name in some else vm for vm in cluster.vms)  # type: ignore[arg-type]
    nothing_is_left(replace(cluster, vms=tuple(vms)), Limits(effort=1000))


def test_a_host_that_cannot_be_emptied_does_not_cost_the_whole_plan() -> None:
    """What is most even leaves no room for the large ones elsewhere; one move less does."""
    sizes = {"a": (2, 4), "b": (16, 4, 2, 8, 8), "c": (32, 32), "d": (2, 40, 16, 2)}
    vms = (vm(f"{at}{i}", at, size) for at, there in sizes.items() for i, size in enumerate(there))
    cluster = Cluster(tuple(host(name, memory=64) for name in sizes), tuple(vms))
    plan = balance(State(cluster))
    assert ("d2", "a") in [(move.vm, move.target) for move in plan.moves]
    assert plan.after.stuck == 0
    assert plan.after.total < 0.7 * plan.before.total


def test_what_climbs_is_asked_of_the_proof_and_stops_at_what_is_enough() -> None:
    hosts = (host("a"), host("b"), host("c", allocated=Room(1, 0)))
    state = State(Cluster(hosts, (vm("v1", "a"), vm("v2", "a"))))

    def climbed(limits: Limits) -> list[tuple[str, str]]:
        steps = Steps(Course(state, DEFAULT_WEIGHTS, NothingToB), limits)
        climb(steps)
        return [(move.vm, move.target) for move in steps.moves]

    assert climbed(Limits()) == [("v1", "c")]
    assert climbed(Limits(moves=0)) == []
    assert climbed(Limits(enough=1.0)) == []
    assert climbed(Limits(gain=5.0)) == []


def tight(hosts: int) -> Cluster:
    """Every second host has one that fits nowhere else, until one of the others makes room."""
    vms = [vm(f"big{i:02}", f"h{i:02}", 28) for i in range(0, hosts, 2)]
    vms += [vm(f"s{i:02}", f"h{i:02}", 8) for i in range(1, hosts, 2)]
    return Cluster(tuple(host(f"h{i:02}", memory=32) for i in range(hosts)), tuple(vms))


@pytest.mark.parametrize("hosts", [4, 30])
def test_debt_is_paid_in_zones_of_any_size(hosts: int) -> None:
    """One host without its small one is room for the large one of each of the others."""
    cluster = replace(tight(hosts), redundancy=Redundancy(1))
    plan = balance(State(cluster), Limits(gain=1.5))
    assert plan.before.unproven == hosts // 2
    assert plan.after.unproven == 0
    assert len(plan.moves) == 1


def test_debt_is_paid_by_two_moves_where_one_does_not() -> None:
    """Both small ones have to leave b, and nobody has room for both."""
    hosts = tuple(host(name, memory=20) for name in "abcd")
    fixed = (vm("p", "c", 13, restarts=False), vm("q", "d", 13, restarts=False))
    vms = (vm("big", "a", 18), vm("x", "b", 4), vm("y", "b", 4), *fixed)
    cluster = Cluster(hosts, vms, Redundancy(1))
    assert not any(prover_for(State(each)).is_proven for each in singles(cluster))
    plan = balance(State(cluster), Limits(gain=1.5))
    assert len(plan.moves) == 2
    is_right(cluster, plan)
    assert plan.after.unproven == 0


def test_a_proof_that_a_move_gave_counts_from_there_on() -> None:
    """So that those which run at once later keep it, and taken back it is gone."""
    state = State(replace(tight(4), redundancy=Redundancy(1)))
    course = Course(state, DEFAULT_WEIGHTS, prover_for)
    assert course.move("s01", state.index["h03"]) is None
    assert course.proven
    course.undo("s01", state.index["h01"])
    assert not course.proven
    assert course.score().unproven == 2
    course.repeat(Move("s01", "h01", "h03", 0.0, 8))
    assert course.proven
    course.rewind([Move("s01", "h01", "h03", 0.0, 8)])
    assert not course.proven


def test_the_limit_of_moves_holds_for_debt() -> None:
    cluster = replace(tight(4), redundancy=Redundancy(1))
    assert balance(State(cluster), Limits(moves=0)).moves == ()


def test_what_the_proof_refuses_is_looked_for_elsewhere() -> None:
    hosts = (host("a"), host("b"), host("c", allocated=Room(1, 0)))
    vms = (vm("v1", "a"), vm("v2", "a"))
    state = State(Cluster(hosts, vms))
    assert [move.target for move in balance(state).moves] == ["b"]
    assert [move.target for move in balance(state, prover=NothingToB).moves] == ["c"]
    stay = evacuate(State(Cluster(hosts[:2], vms[:1])), ["a"], prover=NothingToB).stays
    assert stay[0].why.startswith("0/1 hosts fit: 1 N+0 not proven (")


@pytest.mark.parametrize("most", [1, 2])
def test_what_was_moved_before_a_refusal_counts_for_the_limit(most: int) -> None:
    hosts = (host("a"), host("b"), host("c"), host("d"))
    vms = tuple(vm(f"v{i}", "a") for i in range(8))
    plan = balance(State(Cluster(hosts, vms)), Limits(moves=most), prover=NothingToB)
    assert len(plan.moves) == most


def test_who_cannot_leave_is_told_why() -> None:
    hosts = (host("a"), host("b", memory=7), host("c", blocked="not ready"))
    vms = (vm("fixed", "a", 1, movable=False), vm("v", "a"), vm("w", "a", 2))
    stays = evacuate(State(Cluster(hosts, vms)), ["a"]).stays
    assert [(stay.vm, stay.why) for stay in stays] == [
        ("fixed", "it may not be moved"),
        ("v", "0/2 hosts fit: 1 insufficient memory (needs 8, 5 free), 1 not ready"),
    ]
    reached = evacuate(State(Cluster(hosts, vms)), ["a"], Limits(moves=0)).stays
    assert reached[2].why == "the limit of 0 moves is reached"


def why(cluster: Cluster, *hosts: str) -> dict[str, str]:
    return {stay.vm: stay.why for stay in evacuate(State(cluster), hosts).stays}


def test_who_is_held_by_the_rule_of_another_is_told_whose() -> None:
    near = Rule(RuleKind.AFFINITY, (("app", "db"),))
    even = Rule(RuleKind.SPREAD, (("app", "db"),))
    hosts = (host("a"), host("b"), host("c", draining=True))
    db = vm("db", "a", labels={"app": "db"})
    held = "1 would break web's affinity to app=db in topology host"
    pair = Cluster(hosts, (db, vm("web", "a", rules=(near,))))
    assert why(pair, "a") == {
        "db": f"0/2 hosts fit: 1 draining, {held}",
        "web": "0/2 hosts fit: 1 affinity to app=db in topology host, 1 draining",
    }
    loose = vm("any", "a", rules=(replace(near, weight=5),))
    assert why(Cluster(hosts, (db, loose)), "a") == {}
    # One that looks on from elsewhere.
    db2 = vm("db2", "b", labels={"app": "db"})
    cluster = Cluster((*hosts, host("d")), (db, db2, vm("web", "b", rules=(even,))))
    assert why(cluster, "a") == {}
    assert [m.target for m in evacuate(State(cluster), ["a"]).moves] == ["d"]
    crowded = replace(cluster, hosts=(*hosts, host("d", memory=4)))
    assert why(crowded, "a")["db"] == (
        "0/3 hosts fit: 1 draining, 1 insufficient memory (needs 8, 4 free),"
        " 1 would break web's spread of app=db in topology host (at most 1 apart)"
    )


def test_where_all_hosts_are_emptied_none_is_left() -> None:
    cluster = Cluster((host("a"), host("b")), (vm("v", "a"), vm("w", "b", movable=False)))
    assert why(cluster, "a", "b") == {"v": "no host is left", "w": "it may not be moved"}


def test_others_make_room_for_what_must_leave() -> None:
    hosts = (host("a"), host("b"), host("c", memory=16))
    vms = (vm("v", "a", 60), vm("w", "b", 10))
    plan = evacuate(State(Cluster(hosts, vms)), ["a"])
    assert [(m.vm, m.target) for m in plan.moves] == [("w", "c"), ("v", "b")]
    assert [len(batch) for batch in plan.batches] == [1, 1], "w has to be gone first"


def test_an_unknown_host_cannot_be_evacuated() -> None:
    with pytest.raises(KeyError):
        evacuate(State(Cluster((host("a"),))), ["b"])


@pytest.mark.parametrize("bad", [{"moves": -1}, {"concurrent": 0}, {"per_host": 0}])
def test_limits_without_sense_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="limits"):
        Limits(**bad)


@QUICK
@given(cluster=clusters(max_vms=8))
def test_the_score_is_what_it_says(cluster: Cluster) -> None:
    found = score(State(cluster), 3)
    assert found.unproven == 3
    open_hosts = [host for host in cluster.hosts if not host.refusal]
    shares = [
        (sum(vm.needs.memory for vm in cluster.vms if vm.host == h.name) + h.allocated.memory)
        / h.capacity.memory
        for h in open_hosts
    ]
    assert found.spread["memory"] == pytest.approx(pstdev(shares) if shares else 0, abs=1e-7)
    assert found.required == broken(cluster)
    draining = {host.name for host in cluster.hosts if host.draining}
    assert found.leaving == sum(vm.host in draining for vm in cluster.vms)
    assert found.total == pytest.approx(sum(found.parts.values()))


@QUICK
@given(cluster=clusters(max_vms=8))
def test_a_host_is_stuck_only_if_it_cannot_be_emptied(cluster: Cluster) -> None:
    """A bound: what first fit empties without moving anyone else is never counted."""
    plain = replace(cluster, vms=tuple(map(bare, cluster.vms)), redundancy=Redundancy(0))
    awake = sum(not host.blocked for host in plain.hosts)
    assert score(State(plain)).stuck <= awake - emptied_without_others(plain)


def test_hosts_that_cannot_be_emptied_are_counted() -> None:
    hosts = (host("a"), host("b", memory=16), host("c", memory=16))
    too_large = Cluster(hosts, (vm("v", "a", 20), vm("w", "b", 8)))
    assert score(State(too_large)).stuck == 1
    too_many = Cluster(hosts, tuple(vm(f"v{i}", "a", 7) for i in range(5)))
    assert score(State(too_many)).stuck == 1
    assert score(State(Cluster(hosts, too_many.vms[:4]))).stuck == 0


def emptied_without_others(cluster: Cluster) -> int:
    """How many hosts a plain first fit empties, nobody else moved."""
    count = 0
    for source in cluster.hosts:
        if source.blocked:
            continue
        now, done = cluster, True
        for vm in sorted(cluster.vms, key=lambda vm: -vm.needs.memory):
            if vm.host != source.name:
                continue
            now = without(now, vm.name)
            targets = [h for h in now.hosts if h.name != source.name and fits(now, vm, h)]
            done = done and bool(targets)
            if targets:
                now = replace(now, vms=(*now.vms, replace(vm, host=targets[0].name)))
        count += done
    return count


def test_a_random_zone_becomes_even_with_few_moves() -> None:
    chance = Random(7)  # noqa: S311 - a generator of loads
    hosts = tuple(host(f"h{i:02}", memory=256, cpu=64) for i in range(10))
    sizes = (2, 4, 8, 16, 32)
    vms = tuple(
        vm(f"v{i:02}", f"h{chance.randrange(10):02}", chance.choice(sizes)) for i in range(60)
    )
    plan = balance(State(Cluster(hosts, vms)))
    assert plan.after.total < 0.25 * plan.before.total
    assert len(plan.moves) < 30
    assert plan.memory == sum(move.memory for move in plan.moves)


def test_a_topology_of_racks_is_kept_in_between() -> None:
    spread = Rule(RuleKind.SPREAD, (("app", "db"),), topology="rack")
    hosts = tuple(host(f"h{i}", labels={"rack": f"r{i % 2}"}) for i in range(4))
    vms = tuple(vm(f"v{i}", f"h{i % 2}", labels={"app": "db"}, rules=(spread,)) for i in range(6))
    cluster = Cluster(hosts, vms)
    plan = balance(State(cluster), EAGER)
    assert plan.moves
    is_right(cluster, plan)


def test_three_that_would_lift_the_score_on_the_way_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places changed in a ring: two steps are above the beginning, so none is made."""
    hosts = tuple(host(name, memory=100) for name in "abc")
    vms = (vm("v0", "a", 9), vm("v1", "b", 8), vm("v2", "c", 7))
    ring = {"v0": 1, "v1": 2, "v2": 0}
    monkeypatch.setattr("nopal_scheduler.moving.balance.search", lambda *_, **__: dict(ring))
    course = balance(State(Cluster(hosts, vms)), Limits(gain=-10.0))
    assert course.moves == ()
