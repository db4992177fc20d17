# SPDX-License-Identifier: Apache-2.0
"""A KubeApi that writes only while it is allowed to: the operator while it leads."""

from collections.abc import Callable, Sequence

from nopal_api.kinds import Kind
from nopal_runtime.errors import TransientError
from nopal_runtime.kube.api import Body, KubeApi, Listing


class GuardedKube(KubeApi):
    """Asks before every write; reads pass.

    The check is made just before the request is sent, so that a process that stood still between
    planning and writing (a suspended machine, a blocked loop) writes nothing with an old right.

    Args:
        allowed: for example `Elector.leading`.
    """

    def __init__(self, api: KubeApi, allowed: Callable[[], bool]) -> None:
        self._api, self._allowed = api, allowed

    def _check(self) -> None:
        if not self._allowed():
            raise TransientError(
                "NotLeading", "This process does not lead (any more): it writes nothing."
            )

    async def list(self, kind: Kind, *, field_selector: str = "") -> Listing:
        """Pass."""
        return await self._api.list(kind, field_selector=field_selector)

    async def get(self, kind: Kind, *, namespace: str = "", name: str) -> Body:
        """Pass."""
        return await self._api.get(kind, namespace=namespace, name=name)

    async def create(self, kind: Kind, body: Body) -> Body:
        """Pass if allowed."""
        self._check()
        return await self._api.create(kind, body)

    async def apply_status(
        self,
        kind: Kind,
        *,
        namespace: str = "",
        name: str,
        manager: str,
        resource_version: str,
        status: Body,
    ) -> Body:
        """Pass if allowed."""
        self._check()
        return await self._api.apply_status(
            kind,
            namespace=namespace,
            name=name,
            manager=manager,
            resource_version=resource_version,
            status=status,
        )

    async def set_finalizers(
        self,
        kind: Kind,
        *,
        namespace: str = "",
        name: str,
        uid: str,
        resource_version: str,
        finalizers: Sequence[str],
    ) -> Body:
        """Pass if allowed."""
        self._check()
        return await self._api.set_finalizers(
            kind,
            namespace=namespace,
            name=name,
            uid=uid,
            resource_version=resource_version,
            finalizers=finalizers,
        )

    async def replace(self, kind: Kind, body: Body) -> Body:
        """Pass if allowed."""
        self._check()
        return await self._api.replace(kind, body)

    async def delete(self, kind: Kind, *, namespace: str = "", name: str, uid: str) -> None:
        """Pass if allowed."""
        self._check()
        await self._api.delete(kind, namespace=namespace, name=name, uid=uid)
