# SPDX-License-Identifier: Apache-2.0
"""kube-apiserver as kubectl shows it to a user, and objects that a test leaves none of."""

import json
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from nopal_api.kinds import KINDS, Kind
from nopal_dev.cluster import Cluster
from nopal_dev.errors import CommandError

Body = dict[str, Any]
_BY_NAME = {kind.kind: kind for kind in KINDS}


@dataclass
class Api:
    """kube-apiserver as kubectl shows it to a user."""

    cluster: Cluster
    namespace: str
    made: list[tuple[Kind, str]] = field(default_factory=list)

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl.run(*args, stdin=stdin)

    def refusal(self, body: Body, *, verb: str = "create") -> str:
        """Return why the server refuses the object; "" when it accepts it (nothing is kept)."""
        try:
            self.kubectl(verb, "--dry-run=server", "-f", "-", stdin=json.dumps(self.placed(body)))
        except CommandError as error:
            return str(error)
        return ""

    def make(self, body: Body) -> Body:
        """Create the object; it is removed after the test."""
        placed = self.placed(body)
        kind = _BY_NAME[placed["kind"]]
        text = self.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(placed))
        self.made.append((kind, placed["metadata"]["name"]))
        made: Body = json.loads(text)
        return made

    def remove(self) -> None:
        for kind, name in reversed(self.made):
            place = (kind.plural + "." + kind.group, name, "-n", self.namespace)
            self.kubectl("delete", *place, "--wait=false", "--ignore-not-found")
            # No operator runs here that would take the finalizer away.
            patch = '{"metadata":{"finalizers":null}}'
            self.cluster.kubectl.run("patch", *place, "--type=merge", "-p", patch, check=False)

    def placed(self, body: Body) -> Body:
        """Return the object in this test's namespace, or under a name of this test's own."""
        out = deepcopy(body)
        if _BY_NAME[out["kind"]].namespaced:
            out["metadata"]["namespace"] = self.namespace
        return out
