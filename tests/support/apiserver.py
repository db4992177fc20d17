# SPDX-License-Identifier: Apache-2.0
"""kube-apiserver over plain HTTP: what it answers to whom, refusals included.

Nothing of the product's own client is in between, so that a test sees the server's very words.
"""

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from nopal_api.kinds import Kind
from nopal_dev.kubernetes import not_yet

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_SECONDS = 60.0
_OWN_LIMIT = 70.0
"""Seconds for one answer: kube-apiserver gives up by itself after 60, and says so."""


class Answer(NamedTuple):
    """An answer: the HTTP status and the object, or the Status that says why not."""

    code: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        return self.code < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


@dataclass(frozen=True)
class ApiServer:
    """kube-apiserver as one user sees it: a token, or the administrator's certificate."""

    server: str
    authority: Path
    token: str = field(default="", repr=False)
    certificate: Path | None = None
    key: Path | None = None
    acting_as: str = ""
    """The administrator asks under another user's name, and keeps the right to do everything."""
    dry: bool = False
    """Ask what the server would answer; it changes nothing."""

    def get(self, kind: Kind, name: str, namespace: str = "") -> Answer:
        return self._call("GET", _path(kind, namespace, name))

    def create(self, kind: Kind, body: Mapping[str, Any]) -> Answer:
        namespace = body["metadata"].get("namespace", "")
        return self._call("POST", _path(kind, namespace), _typed(kind, body))

    def replace(self, kind: Kind, body: Mapping[str, Any]) -> Answer:
        meta = body["metadata"]
        path = _path(kind, meta.get("namespace", ""), meta["name"])
        return self._call("PUT", path, _typed(kind, body))

    def delete(self, kind: Kind, name: str, namespace: str = "") -> Answer:
        return self._call("DELETE", _path(kind, namespace, name))

    def merge(
        self, kind: Kind, name: str, namespace: str = "", *, patch: Mapping[str, Any]
    ) -> Answer:
        return self._call("PATCH", _path(kind, namespace, name), patch, _MERGE)

    def apply_status(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        manager: str,
        status: Mapping[str, Any],
    ) -> Answer:
        path = f"{_path(kind, namespace, name)}/status?fieldManager={manager}&force=true"
        meta = {"name": name} | ({"namespace": namespace} if namespace else {})
        return self._call("PATCH", path, _typed(kind, {"metadata": meta, "status": status}), _APPLY)

    def _call(
        self, method: str, path: str, body: Any = None, content: str = "application/json"
    ) -> Answer:
        """Ask, and again while the server bids to try again later, as clients of Kubernetes do."""
        deadline = time.monotonic() + _SECONDS
        while True:
            answer, delay = self._ask(method, path, body, content)
            if not delay or time.monotonic() > deadline:
                return answer
            time.sleep(delay)

    def _ask(self, method: str, path: str, body: Any, content: str) -> tuple[Answer, float]:
        """Return an answer, and after how many seconds to try again; 0 where it is the last."""
        url = urlsplit(self.server)
        context = ssl.create_default_context(cafile=str(self.authority))
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, context=context, timeout=_OWN_LIMIT
        )
        headers = {"Content-Type": content}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.acting_as:
            headers |= {"Impersonate-User": self.acting_as, "Impersonate-Group": "system:masters"}
        if self.dry:
            path += ("&" if "?" in path else "?") + "dryRun=All"
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), headers=headers
            )
            response = connection.getresponse()
            text = response.read().decode()
            # A server that has too much to do says so in plain text.
            answer = Answer(
                response.status, json.loads(text) if text.startswith("{") else {"message": text}
            )
            delay = response.getheader("Retry-After") or (0.5 if not_yet(answer.message) else 0)
            return answer, float(delay)
        finally:
            connection.close()


def _path(kind: Kind, namespace: str, name: str = "") -> str:
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{inside}/{kind.plural}" + (f"/{name}" if name else "")


def _typed(kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": kind.api_version, "kind": kind.kind, **body}
