# SPDX-License-Identifier: Apache-2.0
"""Kills an operator in the lab at chosen writes, and starts it again until all is at rest."""

from collections.abc import Iterable

from nopal_api.names import MANAGER_ASSIGNMENT, MANAGER_OPERATOR
from nopal_runtime.errors import NopalError, TransientError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.fake import Call
from support.operatorhosts import Hosts
from support.operatorlab import ALL, Lab


class Crash(Exception):  # noqa: N818 - it is no error of the code under test
    """The operator is killed."""


class CrashPoints:
    """Kills the operator at the writes with these numbers, before or after they take effect.

    A point "lost" kills nobody: the write lands, but its answer does not come.

    Counts only the operator's own writes; a host's are recognised by their field manager.
    """

    def __init__(self, lab: Lab, points: Iterable[tuple[int, str]] = ()) -> None:
        self.count = 0
        self._points = set(points)
        lab.kube.hooks.append(self._hook)

    async def _hook(self, call: Call) -> None:
        of_operator = call.verb == "set_finalizers" or call.manager in (
            MANAGER_ASSIGNMENT,
            MANAGER_OPERATOR,
        )
        if not of_operator:
            return
        if (self.count, call.phase) in self._points:
            self._points.discard((self.count, call.phase))
            self.count += 1
            raise Crash
        if call.phase == "after":
            self.count += 1
            if (self.count - 1, "lost") in self._points:
                self._points.discard((self.count - 1, "lost"))
                raise TransientError("ApiUnavailable", "no answer")


async def _try_twice(lab: Lab, key: Key) -> None:
    for _ in range(2):
        try:
            await lab.act_on_what_is_known(key)
            return
        except NopalError:
            continue


async def settle(lab: Lab, hosts: Hosts, *, rounds: int = 60) -> None:
    """Have operator and hosts act in turns until nothing is written any more.

    An operator that crashes is started again; an error of one object does not stop the others. What
    failed is tried again on what is known, as when the watch is late.
    """
    quiet = 0
    for _ in range(rounds):
        before = lab.writes()
        try:
            await lab.sync()
            for kind in ALL[:-1]:
                for key in sorted(lab.world.keys(kind)):
                    await _try_twice(lab, key)
        except Crash:
            lab.restart()
            continue
        await hosts.act()
        lab.now += 5.0
        quiet = quiet + 1 if lab.writes() == before else 0
        if quiet == 2:
            return
    raise AssertionError("operator and hosts do not come to rest")
