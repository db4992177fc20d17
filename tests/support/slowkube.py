# SPDX-License-Identifier: Apache-2.0
"""A way to the API that is slow, cut, or loses answers; in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nopal_api.kinds import Kind
from nopal_runtime.errors import NopalError
from nopal_runtime.kube.api import Body, KubeApi, Listing


def time() -> float:
    return asyncio.get_running_loop().time()


def end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()


class SlowKube(KubeApi):
    """The way of one process to the API: requests and answers take their time or are lost."""

    def __init__(self, api: KubeApi, way: Callable[[], Awaitable[None]]) -> None:
        self._api, self._way = api, way

    async def _go(self, request: Callable[[], Awaitable[Any]]) -> Any:
        # A request that was sent takes effect even if its sender has stopped waiting.
        return await asyncio.shield(asyncio.create_task(self._travel(request)))

    async def _travel(self, request: Callable[[], Awaitable[Any]]) -> Any:
        await self._way()
        try:
            answer, error = await request(), None
        except NopalError as failed:
            answer, error = None, failed
        await self._way()
        if error is not None:
            raise error
        return answer

    async def list(self, kind: Kind, *, field_selector: str = "") -> Listing:
        raise NotImplementedError

    async def get(self, kind: Kind, *, namespace: str = "", name: str) -> Body:
        body: Body = await self._go(lambda: self._api.get(kind, namespace=namespace, name=name))
        return body

    async def create(self, kind: Kind, body: Body) -> Body:
        made: Body = await self._go(lambda: self._api.create(kind, body))
        return made

    async def apply_status(self, *_: Any, **__: Any) -> Body:
        raise NotImplementedError

    async def set_finalizers(self, *_: Any, **__: Any) -> Body:
        raise NotImplementedError

    async def replace(self, kind: Kind, body: Body) -> Body:
        made: Body = await self._go(lambda: self._api.replace(kind, body))
        return made

    async def delete(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError
