# SPDX-License-Identifier: Apache-2.0
"""The API boundary twice: in memory, and the real kube-apiserver."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from nopal_api.kinds import NAMESPACE, Kind
from nopal_runtime.errors import NotFoundError
from nopal_runtime.kube.api import Body, KubeApi
from nopal_runtime.kube.cache import make_record
from nopal_runtime.kube.client import KubeClient
from nopal_runtime.kube.credentials import from_kubeconfig
from nopal_runtime.kube.fake import FakeKube
from support.waiting import PATIENCE


@dataclass
class World:
    """An API server, a namespace of one's own there, and what has to be removed again."""

    api: KubeApi
    namespace: str
    made: list[tuple[Kind, str, str]] = field(default_factory=list)

    async def make(self, kind: Kind, body: Mapping[str, Any]) -> Body:
        """Create the object under a name that nobody else uses."""
        meta = {**body["metadata"], "name": f"{body['metadata']['name']}-{uuid4().hex[:8]}"}
        if kind.namespaced:
            meta["namespace"] = self.namespace
        self.made.append((kind, meta.get("namespace", ""), meta["name"]))
        return await self.api.create(kind, {**body, "metadata": meta})

    async def read(self, kind: Kind, body: Body) -> Body:
        meta = body["metadata"]
        return await self.api.get(kind, namespace=meta.get("namespace", ""), name=meta["name"])

    async def apply(
        self, kind: Kind, body: Body, manager: str, status: Mapping[str, Any], version: str = ""
    ) -> Body:
        """Apply at the newest version, or at the one that is given."""
        meta = body["metadata"]
        version = version or (await self.read(kind, body))["metadata"]["resourceVersion"]
        return await self.api.apply_status(
            kind,
            namespace=meta.get("namespace", ""),
            name=meta["name"],
            manager=manager,
            resource_version=version,
            status=status,
        )

    async def finalize(self, kind: Kind, body: Body, finalizers: tuple[str, ...]) -> Body:
        record = make_record(kind, await self.read(kind, body))
        return await self.api.set_finalizers(
            kind,
            namespace=record.namespace,
            name=record.name,
            uid=record.uid,
            resource_version=record.resource_version,
            finalizers=finalizers,
        )

    async def delete(self, kind: Kind, body: Body) -> None:
        meta = body["metadata"]
        await self.api.delete(
            kind, namespace=meta.get("namespace", ""), name=meta["name"], uid=meta["uid"]
        )

    async def clean(self) -> None:
        for kind, namespace, name in self.made:
            try:
                body = await self.api.get(kind, namespace=namespace, name=name)
                await self.delete(kind, body)
                if body["metadata"].get("finalizers"):
                    await self.finalize(kind, body, ())
            except NotFoundError:
                continue


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "fake":
        yield World(FakeKube(), "default")
        return
    cluster = request.getfixturevalue("cluster")
    credentials = from_kubeconfig(cluster.control_plane.kubeconfig)
    async with KubeClient(credentials, timeout=PATIENCE) as client:
        world = World(client, f"runtime-{uuid4().hex[:8]}")
        namespace = await client.create(NAMESPACE, {"metadata": {"name": world.namespace}})
        yield world
        await world.clean()
        await world.delete(NAMESPACE, namespace)
