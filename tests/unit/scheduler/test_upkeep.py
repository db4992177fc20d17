# SPDX-License-Identifier: Apache-2.0
"""A state that lives for months keeps nothing of what has come and gone."""

import pickle

from nopal_scheduler import Cluster, Host, Room, Vm
from nopal_scheduler.state import State


def size(state: State) -> int:
    """Return how much there is to write down of it."""
    return len(pickle.dumps(state))


def test_labels_that_nothing_has_any_more_are_forgotten() -> None:
    state = State(Cluster((Host("a", Room(1, 1)),)))
    state.add(Vm("stays", Room(), labels={"app": "0"}), 0)
    before = size(state)
    for i in range(50):
        state.add(Vm("goes", Room(), labels={"app": f"{i}", "unique": f"{i}"}), 0)
        state.remove("goes")
    assert size(state) == before
    state.remove("stays")
    assert size(state) < before


def test_what_was_asked_of_hosts_is_kept_for_so_many_only() -> None:
    state = State(Cluster((Host("a", Room(1, 1), labels={"rack": "7"}),)))
    for i in range(1_000):
        state.eligible(Vm("asks", Room(), node_selector={"rack": f"{i}"}))
    before = size(state)
    for i in range(1_000, 2_500):
        found = state.eligible(Vm("asks", Room(), node_selector={"rack": f"{i}"}))
        assert not found.any()
    assert size(state) <= before * 1.1
    assert state.eligible(Vm("asks", Room(), node_selector={"rack": "7"})).all()
