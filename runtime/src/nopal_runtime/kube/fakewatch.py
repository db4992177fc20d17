# SPDX-License-Identifier: Apache-2.0
"""The watch of a FakeKube, with events that a test can drop, repeat and hold back."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NoReturn

from nopal_api.kinds import Kind
from nopal_runtime.kube.api import Body, Key
from nopal_runtime.kube.cache import ObjectCache, key_of
from nopal_runtime.kube.fake import EventType, FakeKube

Delivery = Callable[[EventType, Body], Sequence[float]]


def at_once(_event: EventType, _body: Body) -> Sequence[float]:
    """Deliver every event once and without delay."""
    return (0.0,)


class FakeWatch:
    """Feeds a cache from a FakeKube, as `Watch` does from kube-apiserver.

    Args:
        deliver: for each event the delays, in seconds, after which it arrives: () drops it,
            (0, 0) repeats it, (30,) holds it back. May be replaced at any time.
    """

    def __init__(
        self,
        api: FakeKube,
        kinds: Iterable[Kind],
        *,
        cache: ObjectCache,
        on_change: Callable[[Key], None],
        field_selectors: Mapping[str, str] | None = None,
        deliver: Delivery = at_once,
    ) -> None:
        self._api, self._kinds = api, tuple(kinds)
        self._cache, self._on_change = cache, on_change
        self._selectors = field_selectors or {}
        self.deliver = deliver

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        subscriptions = [
            self._api.subscribe(
                kind,
                partial(self._event, kind),
                field_selector=self._selectors.get(kind.kind, ""),
            )
            for kind in self._kinds
        ]
        try:
            await asyncio.Event().wait()
        finally:
            for subscription in subscriptions:
                subscription.close()
        raise AssertionError("never set")

    def renew(self) -> None:
        """Do nothing: it goes on from no version."""

    def age(self) -> float:
        """Return 0: it never falls silent."""
        return 0.0

    def live(self) -> bool:
        """Return True: it needs no time to begin."""
        return True

    def _event(self, kind: Kind, event: EventType, body: Body) -> None:
        for delay in self.deliver(event, body):
            if delay:
                asyncio.get_running_loop().call_later(delay, self._arrive, kind, event, body)
            else:
                self._arrive(kind, event, body)

    def _arrive(self, kind: Kind, event: EventType, body: Body) -> None:
        if event == "DELETED":
            news = self._cache.offer_deleted(kind, body)
        else:
            news = self._cache.offer(kind, body)
        if news:  # one's own writes come back as events: they are known already
            self._on_change(key_of(kind, body))
