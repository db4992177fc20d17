# SPDX-License-Identifier: Apache-2.0
"""What would let in one that is refused for the redundancy: true, and no more than is needed."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler.answer import NoPlacement, Placement, Refusal
from nopal_scheduler.checker import check_placement, check_proof
from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Vm
from nopal_scheduler.placing.remedies import remedies
from nopal_scheduler.proof import Impossible, Proof
from nopal_scheduler.scheduler import Scheduler
from support.tinyclusters import clusters, vms

N1 = Redundancy(1)


def hosts(count: int, memory: int = 64, racks: Sequence[str] = ()) -> tuple[Host, ...]:
    labels = [{"rack": rack} for rack in racks] or [{}] * count
    return tuple(Host(f"h{i}", Room(99, memory), labels=labels[i]) for i in range(count))


def on(host: str, *sizes: int, **more: object) -> tuple[Vm, ...]:
    made = (Vm(f"{host}-{i}", Room(1, size), host) for i, size in enumerate(sizes))
    return tuple(replace(vm, **more) for vm in made)  # type: ignore[arg-type]


def said(cluster: Cluster, vm: Vm) -> list[str]:
    answer = Scheduler(cluster).place(vm)
    assert isinstance(answer, NoPlacement)
    return [advice.message for advice in remedies(cluster, vm, answer)]


def gets_in(cluster: Cluster, vm: Vm) -> bool:
    """Tell whether it is placed from nothing, by a proof that the checker accepts."""
    scheduler = Scheduler(cluster)
    answer = scheduler.admit(vm)
    if not isinstance(answer, Placement):
        return False
    then = replace(cluster, vms=(*cluster.vms, replace(vm, host=answer.host)))
    proof = scheduler.proof()
    assert isinstance(proof, Proof)
    assert not [broken for broken in check_placement(then) if broken.vm == vm.name]
    assert check_proof(then, proof) == ()
    return True


def with_room(cluster: Cluster, **free: int) -> Cluster:
    changed = (
        replace(h, allocated=h.allocated - Room(0, free.get(h.name, 0))) for h in cluster.hosts
    )
    return replace(cluster, hosts=tuple(changed))


def test_room_on_as_many_hosts_as_one_more_than_are_lost() -> None:
    there = (*on("h0", 20, 20), *on("h1", 20, 20), *on("h2", 20, 20))
    cluster, vm = Cluster(hosts(3), there, N1), Vm("x", Room(1, 20))
    assert said(cluster, vm) == [
        "fits if another 20 of memory were free on each of h0 and h1",
        "fits with one more host like h0",
    ]
    assert gets_in(with_room(cluster, h0=20, h1=20), vm)
    # All of it on one of them, or only what is missing in all, is not enough.
    assert not gets_in(with_room(cluster, h0=20), vm)
    assert not gets_in(with_room(cluster, h0=12, h1=12), vm)
    assert gets_in(replace(cluster, hosts=(*cluster.hosts, Host("h9", Room(99, 64)))), vm)


def test_room_in_the_rack_that_is_left() -> None:
    """Rack b has to take what is in rack a: a host more in rack a would help nothing."""
    cluster = Cluster(
        hosts(3, racks=("a", "a", "b")), (*on("h0", 30), *on("h1", 30)), Redundancy(1, "rack")
    )
    vm = Vm("x", Room(1, 20))
    assert said(cluster, vm) == [
        "fits if another 16 of memory were free on h2",
        "fits with one more host like h2 in rack b",
        "fits if it were not to restart after a loss (restarts: false)",
    ]


def test_a_hole_that_is_large_enough_for_it() -> None:
    there = (*on("h0", 30, restarts=False), *on("h1", 30, restarts=False))
    cluster, vm = Cluster(hosts(3), there, N1), Vm("x", Room(1, 40))
    assert said(cluster, vm)[:2] == [
        "fits if another 6 of memory were free on h0",
        "fits with one more host like h0",
    ]
    assert gets_in(with_room(cluster, h0=6), vm)
    assert not gets_in(with_room(cluster, h0=5), vm)
    # One that is too small however empty it is could be made larger, but is not what lacks room.
    small = replace(cluster, hosts=(*cluster.hosts, Host("g", Room(99, 38))))
    assert said(small, vm)[0] == "fits if another 6 of memory were free on h0"
    # Nor are those where there is room: after the loss of their rack they are no place.
    racks = Cluster(hosts(5, racks="aabbb"), there, Redundancy(1, "rack"))
    assert said(racks, vm)[0] == "fits if another 6 of memory were free on h0"


def test_one_of_lower_priority_that_is_stopped() -> None:
    there = (*on("h0", 40, priority=-1), *on("h1", 20, priority=-2), *on("h1", 44)[:1])
    there = (there[0], there[1], replace(there[2], name="w", host="h2"))
    cluster, vm = Cluster(hosts(3), there, N1), Vm("x", Room(1, 24))
    stopped = [words for words in said(cluster, vm) if "stopped" in words]
    assert stopped == ["fits if h0-0, which has a lower priority, were stopped"]
    # The lowest is as large, but where it is its end would help nothing.
    pinned = Host("h3", Room(99, 24), draining=True)
    lowest = Vm("low", Room(1, 24), "h3", priority=-9, restarts=False)
    more = replace(cluster, hosts=(*cluster.hosts, pinned), vms=(*cluster.vms, lowest))
    assert [words for words in said(more, vm) if "stopped" in words] == stopped
    equal = replace(vm, priority=-2)
    assert not [words for words in said(cluster, equal) if "stopped" in words]


def test_a_zone_that_is_not_redundant_is_told_so_first() -> None:
    cluster = Cluster(hosts(3), (*on("h0", 40), *on("h1", 40), *on("h2", 40)), N1)
    first, *rest = said(cluster, Vm("x", Room(1, 1)))
    assert first == (
        "N+1 over hosts does not hold as it is, and until it does nothing is placed: add a host,"
        " stop or shrink virtual machines, or look for moves with `balance`"
    )
    assert rest == ["fits with one more host like h0"]


def test_nothing_is_said_where_the_redundancy_is_not_the_reason() -> None:
    cluster = Cluster(hosts(3), (), N1)
    assert said(cluster, Vm("x", Room(1, 65))) == []
    there = tuple(vm for name in ("h0", "h1", "h2") for vm in on(name, 60, restarts=False))
    assert said(replace(cluster, vms=there), Vm("x", Room(1, 10), restarts=False)) == []
    # Nor where it fits as it is: then no change is what it lacks.
    against = Refusal("h0", "N+1 impossible", against=Impossible(("h1",), "", "memory", 1))
    answer = NoPlacement(3, (against,))
    assert list(remedies(cluster, Vm("x", Room(1, 1)), answer)) == []


@given(clusters(failures=1), vms("new", ruled=False), st.integers(0, 4))
@settings(max_examples=40)
def test_what_is_said_is_so(cluster: Cluster, vm: Vm, more: int) -> None:
    vm = replace(vm, needs=vm.needs + Room(0, more))
    answer = Scheduler(cluster).place(vm)
    if isinstance(answer, Placement):
        return
    known = {host.name: host for host in cluster.hosts}
    for words in (advice.message for advice in remedies(cluster, vm, answer)):
        then = cluster
        if words.startswith("fits with one more host like "):
            like = known[words.split()[6]]
            then = replace(cluster, hosts=(*cluster.hosts, replace(like, name="more")))
        elif words.startswith("fits if another ") and "cpu" not in words:
            count, names = int(words.split()[3]), words.split(" free on ")[1]
            named = names.removeprefix("each of ").replace(" and ", ", ").split(", ")
            then = with_room(cluster, **dict.fromkeys(named, count))
        elif "stopped" in words:
            stopped = words.split()[2].strip(",")
            then = replace(cluster, vms=tuple(v for v in cluster.vms if v.name != stopped))
        else:
            continue
        assert gets_in(then, vm), words
