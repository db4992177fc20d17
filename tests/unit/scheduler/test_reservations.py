# SPDX-License-Identifier: Apache-2.0
"""Room that was given away and is not yet seen back."""

from nopal_scheduler import Reservation, Reservations, Room

ROOM = Room(1, 100)


def held(uid: str, epoch: int = 1, host: str = "a") -> Reservation:
    return Reservation(uid, epoch, host, ROOM)


def test_it_counts_until_it_is_seen() -> None:
    all_ = Reservations()
    all_.assume(held("u1"))
    all_.assume(held("u2"))
    assert all_.on("a") == Room(2, 200)
    all_.seen("u1", 1)
    assert all_.on("a") == ROOM
    assert all_.on("b") == Room()


def test_an_older_assignment_does_not_end_it() -> None:
    all_ = Reservations()
    all_.assume(held("u1", epoch=3))
    all_.seen("u1", 2)
    assert all_.on("a") == ROOM
    all_.seen("u1", 4)
    assert len(all_) == 0


def test_ones_own_is_not_in_the_way_of_the_next_try() -> None:
    all_ = Reservations()
    all_.assume(held("u1"))
    assert all_.on("a", without="u1") == Room()
    all_.assume(held("u1", epoch=2, host="b"))
    assert (all_.on("a"), all_.on("b")) == (Room(), ROOM)


def test_dropping_twice_is_harmless() -> None:
    all_ = Reservations()
    all_.assume(held("u1"))
    all_.drop("u1")
    all_.drop("u1")
    all_.seen("u1", 1)
    assert (all_.on("a"), len(all_)) == (Room(), 0)
