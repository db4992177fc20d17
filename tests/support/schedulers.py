# SPDX-License-Identifier: Apache-2.0
"""Zones for the operator's schedulers, and a thread of which a test says when it is done."""

from concurrent.futures import Future

from nopal_operator.premises import Premises
from nopal_scheduler import Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm
from nopal_scheduler import Scheduler as Real

NAMES = ("a", "b", "c")
PREMISES = Premises(tuple(Host(n, Room(8, 8)) for n in NAMES), Redundancy(1))
VAST = Premises(tuple(Host(n, Room(999, 999)) for n in NAMES), Redundancy())
APART = Rule(RuleKind.ANTI_AFFINITY, (("app", "db"),))


def guest(name: str, memory: int = 2, *rules: Rule, app: str = "") -> Vm:
    labels = {"app": app, "unique": name} if app else {"unique": name}
    return Vm(name, Room(1, memory), labels=labels, rules=rules)


class Aside:
    """Searches that end when a test says so."""

    def __init__(self) -> None:
        self.begun: list[tuple[Cluster, Future[Real]]] = []
        self.likes: list[Real | None] = []

    def __call__(self, _: str, cluster: Cluster, like: Real | None) -> "Future[Real]":
        self.likes.append(like)
        self.begun.append((cluster, Future()))
        return self.begun[-1][1]

    def end(self) -> None:
        for cluster, result in self.begun:
            if not result.done():
                result.set_result(Real(cluster))
