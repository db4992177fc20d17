# SPDX-License-Identifier: Apache-2.0
"""kube-apiserver's audit log of what the operator and the node daemons ask, and by what right."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MEGABYTES = 50
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    # The start of the answer is what a watch shows as long as it lasts.
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": ["system:serviceaccounts:nopal-system"]},
        {"level": "None"},
    ],
}
_ALLOWED = "authorization.k8s.io/decision"
_REASON = "authorization.k8s.io/reason"


@dataclass(frozen=True, slots=True)
class Allowed:
    """A request that kube-apiserver allowed."""

    verb: str
    resource: str
    """``PLURAL.GROUP``, or ``PLURAL.GROUP/SUBRESOURCE``; the core group has no name."""
    reason: str
    """Which binding of which role allows it, in kube-apiserver's words."""


class AuditLog:
    """The audit log of one cluster: who, when and what, never a body.

    Args:
        folder: Where it is; at most 100 MB of it are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._policy = folder / "policy.json"

    def flags(self) -> list[str]:
        """Write the policy down and give kube-apiserver's flags."""
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._policy.with_suffix(".tmp")
        draft.write_text(json.dumps(_POLICY))
        draft.rename(self._policy)
        return [
            f"--audit-policy-file={self._policy}",
            f"--audit-log-path={self._folder / 'audit.log'}",
            f"--audit-log-maxsize={_MEGABYTES}",
            "--audit-log-maxbackup=1",
        ]

    def allowed(self) -> Iterator[Allowed]:
        """What was allowed so far, as far back as the log is kept."""
        for path in sorted(self._folder.glob("audit*.log")):
            with path.open() as lines:
                for line in lines:
                    try:
                        event = json.loads(line)
                    except json.JSONDecodeError:
                        continue  # on its way, or cut off as the server was killed
                    if found := _allowed(event):
                        yield found


def _allowed(event: dict[str, Any]) -> Allowed | None:
    """The request of an event; None if it was refused or asks for no object (/version)."""
    told, target = event.get("annotations", {}), event.get("objectRef", {})
    if told.get(_ALLOWED) != "allow" or "resource" not in target:
        return None
    return Allowed(
        verb=event["verb"],
        resource=resource(
            target["resource"], target.get("apiGroup", ""), target.get("subresource", "")
        ),
        reason=told[_REASON],
    )


def resource(plural: str, group: str, subresource: str = "") -> str:
    """``PLURAL.GROUP/SUBRESOURCE``, without the dot or the slash where nothing follows."""
    whole = f"{plural}.{group}" if group else plural
    return f"{whole}/{subresource}" if subresource else whole
