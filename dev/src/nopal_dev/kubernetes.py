# SPDX-License-Identifier: Apache-2.0
"""kubectl for one cluster, and the kubeconfig files that its processes get."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nopal_dev.commands import run
from nopal_dev.errors import CommandError, NotReadyError
from nopal_dev.processes import wait_until

_NOT_YET = (
    # A mutating policy that does not know the group yet, or only some of the group's kinds.
    "There can be a delay between when CustomResourceDefinitions are created",
    "no corresponding type for",
    # kube-apiserver does not list the kind yet, or does not serve it yet.
    "ensure CRDs are installed first",
    "the server could not find the requested resource",
)
_SECONDS = 60.0
"""Handlers, policies and roles of kube-apiserver learn each by itself what was just applied."""


def not_yet(said: str) -> bool:
    """Whether that is what a young kube-apiserver says of a kind that it is about to know."""
    return any(words in said for words in _NOT_YET)


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Runs kubectl with one kubeconfig."""

    binary: Path
    kubeconfig: Path

    def run(
        self, *args: str, stdin: str | None = None, timeout: float = 60.0, check: bool = True
    ) -> str:
        """Run kubectl and give its output; raises CommandError."""
        argv = [str(self.binary), "--kubeconfig", str(self.kubeconfig), *args]
        return run(argv, stdin=stdin, timeout=timeout, check=check)

    def apply(self, manifests: str | Sequence[Mapping[str, Any]]) -> None:
        """Apply YAML text or objects server-side, taking over fields from others."""
        if not isinstance(manifests, str):
            items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
            manifests = json.dumps(items)
        options = ["--server-side", "--force-conflicts", "--field-manager=nopal-dev"]
        self._run_once_known("apply", *options, "-f", "-", stdin=manifests)

    def _run_once_known(self, *args: str, stdin: str) -> str:
        """Run kubectl, again while kube-apiserver does not know a kind yet."""
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                return self.run(*args, stdin=stdin)
            except CommandError as error:
                if not not_yet(error.output) or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def await_kind(self, body: Mapping[str, Any], *, finalizer: bool) -> None:
        """Wait until an object like this would be created; raises DevError.

        A mutating policy acts a moment after it was made. From then on it refuses every object of
        a kind until its own list of kinds, read every 5 s, has that kind.

        Args:
            body: The object.
            finalizer: Whether it must get a finalizer by that.
        """
        options = ["--dry-run=server", "-o", "json", "-f", "-"]
        deadline = time.monotonic() + _SECONDS
        while True:
            answer = self._run_once_known("create", *options, stdin=json.dumps(body))
            if json.loads(answer)["metadata"].get("finalizers") or not finalizer:
                return
            if time.monotonic() > deadline:
                problem = f"no policy gave it a finalizer within {_SECONDS:.0f} s"
                raise NotReadyError(f"{body['kind']}, tried without creating it", problem)
            time.sleep(0.5)

    def await_rights(self, wanted: Sequence[Mapping[str, Any]]) -> None:
        """Wait until kube-apiserver allows what roles that were just made allow.

        Args:
            wanted: SubjectAccessReviews.

        Raises:
            NotReadyError: One is still refused.
        """
        asked = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(wanted)})
        options = ["-f", "-", "-o", 'jsonpath={.status.allowed}{"\\n"}']

        def allowed() -> bool:
            said = self.run("create", *options, stdin=asked).split()
            return said == ["true"] * len(wanted)

        wait_until("the roles allow what they grant", allowed, timeout=_SECONDS, every=0.5)

    def get(self, *args: str) -> Any:
        """``kubectl get ... -o json``, parsed; None where nothing is."""
        text = self.run("get", *args, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None


def write_kubeconfig(
    path: Path, *, server: str, authority: Path, user: Mapping[str, str], namespace: str = "default"
) -> None:
    """Write a kubeconfig (JSON is YAML) that only its owner can read.

    Args:
        path: Where to.
        server: URL of the API server.
        authority: The cluster's CA certificate.
        user: The ``user`` entry: a token, or the paths of a client certificate and key.
        namespace: What kubectl uses when none is named.
    """
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "nopal",
        "clusters": [
            {
                "name": "nopal",
                "cluster": {"server": server, "certificate-authority": str(authority)},
            }
        ],
        "users": [{"name": "nopal", "user": dict(user)}],
        "contexts": [
            {
                "name": "nopal",
                "context": {"cluster": "nopal", "user": "nopal", "namespace": namespace},
            }
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.tmp")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(config, indent=1))
    draft.rename(path)
