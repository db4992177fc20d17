# SPDX-License-Identifier: Apache-2.0
"""What Nopal asks of kube-apiserver: one small interface, a real and a fake implementation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nopal_api.kinds import Kind

Body = Mapping[str, Any]
"""An object as it is on the wire."""


class Key(NamedTuple):
    """Which object: its kind, namespace (empty if cluster-scoped) and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """Return kind namespace/name."""
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete list of one kind, and the version at which it was complete."""

    items: tuple[Body, ...]
    resource_version: str


class KubeApi(ABC):
    """Reads and writes of kube-apiserver.

    Every method raises `NotFoundError` (404), `ConflictError` (409: another resourceVersion or
    UID), `TerminalError` (400, 403, 422: reason Forbidden or Invalid) or `TransientError` (no
    answer, 429, 5xx). Every request has a time-out.
    """

    @abstractmethod
    async def list(self, kind: Kind, *, field_selector: str = "") -> Listing:
        """Return all objects of the kind, read in pages from a quorum."""

    @abstractmethod
    async def get(self, kind: Kind, *, namespace: str = "", name: str) -> Body:
        """Return the object as a quorum knows it now, never from a cache."""

    @abstractmethod
    async def create(self, kind: Kind, body: Body) -> Body:
        """Create the object. Raises ConflictError (reason AlreadyExists) if there is one."""

    @abstractmethod
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
        """Apply the manager's complete set of status fields, server-side, by force.

        resource_version is the one that the status was computed from: it keeps a late write off a
        changed object and off a namesake. A status cannot become empty again: the last manager
        keeps at least one field (kube-apiserver refuses the null that would be left).
        """  # fmt: skip

    @abstractmethod
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
        """Replace the finalizers of exactly that object at exactly that version.

        One that is being deleted is gone with its last finalizer.
        """

    @abstractmethod
    async def replace(self, kind: Kind, body: Body) -> Body:
        """Replace the object whole; its metadata.resourceVersion must be the current one."""

    @abstractmethod
    async def delete(self, kind: Kind, *, namespace: str = "", name: str, uid: str) -> None:
        """Delete exactly that object."""
