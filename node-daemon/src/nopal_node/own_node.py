# SPDX-License-Identifier: Apache-2.0
"""This host's Kubernetes Node: who it is, and how much of the machine pods may take."""

from dataclasses import dataclass
from typing import Any

from nopal_api.kinds import NODE
from nopal_api.quantity import parse_bytes
from nopal_runtime.errors import NopalError, TransientError

from .host_state import HostState


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the host needs to know of its Node."""

    uid: str
    allocatable_memory: int | None
    """Bytes that the kubelet lets pods take; None if no kubelet has told."""


class OwnNode:
    """Reads the Node at first, then as often as everything is listed again: it is not watched."""

    def __init__(self, state: HostState) -> None:
        self._state = state
        self._known: NodeFacts | None = None
        self._due = 0.0

    async def facts(self) -> NodeFacts:
        """Return what is known of the Node; what was read once stays when it cannot be read.

        Raises:
            TransientError: it has never been read, or never been there (NodeNotFound).
        """
        now = self._state.clock()
        if self._known is not None and now < self._due:
            return self._known
        try:
            self._known = await self._read()
        except NopalError:
            if self._known is None:
                raise
        self._due = now + self._state.settings.resync_seconds
        return self._known

    async def _read(self) -> NodeFacts:
        name = self._state.settings.node_name
        record = await self._state.read(NODE, namespace="", name=name)
        if record is None:
            raise TransientError(
                "NodeNotFound",
                f"there is no Kubernetes Node {name}: NOPAL_NODE_NAME must name this node",
            )
        return NodeFacts(record.uid, _memory(record.body))


def _memory(body: dict[str, Any]) -> int | None:
    text = body.get("status", {}).get("allocatable", {}).get("memory")
    try:
        return parse_bytes(str(text)) if text is not None else None
    except ValueError:
        return None
