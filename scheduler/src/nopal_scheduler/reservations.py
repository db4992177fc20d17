# SPDX-License-Identifier: Apache-2.0
"""Reservations: room that was given away but is not yet seen back as an assignment."""

from dataclasses import dataclass

from .model import Room


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room that one virtual machine will take on a host at an epoch."""

    uid: str
    epoch: int
    host: str
    cost: Room


class Reservations:
    """Assumed placements, at most one for each virtual machine.

    A decision is assumed in the same breath in which it is made, so that the next decision counts
    it; it holds until the assignment of that epoch (or a later one) is seen, or is known not to
    have been written.
    """

    def __init__(self) -> None:
        self._by_uid: dict[str, Reservation] = {}
        self._by_host: dict[str, dict[str, Reservation]] = {}

    def assume(self, reservation: Reservation) -> None:
        """Hold the room; an earlier reservation of the same virtual machine gives way."""
        self.drop(reservation.uid)
        self._by_uid[reservation.uid] = reservation
        self._by_host.setdefault(reservation.host, {})[reservation.uid] = reservation

    def drop(self, uid: str) -> None:
        """Give the room back: the assignment was not written, or its machine is gone."""
        old = self._by_uid.pop(uid, None)
        if old is not None:
            there = self._by_host[old.host]
            del there[uid]
            if not there:
                del self._by_host[old.host]

    def seen(self, uid: str, epoch: int) -> None:
        """End the reservation if it is of this epoch or an earlier one: the load shows it now."""
        held = self._by_uid.get(uid)
        if held is not None and held.epoch <= epoch:
            self.drop(uid)

    def on(self, host: str, *, without: str = "") -> Room:
        """Return the room held on a host, that of one virtual machine left out."""
        room = Room()
        for uid, reservation in self._by_host.get(host, {}).items():
            if uid != without:
                room = room + reservation.cost
        return room

    def __len__(self) -> int:
        return len(self._by_uid)
