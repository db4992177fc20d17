# SPDX-License-Identifier: Apache-2.0
"""The real API server, through kubernetes.aio's generic client and without its models.

Objects stay dicts: the typed models of built-in kinds would cost memory for nothing, and Nopal's
own kinds have theirs in nopal_api.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp

from nopal_api.kinds import Kind
from nopal_runtime.errors import (
    ConflictError,
    NopalError,
    NotFoundError,
    TerminalError,
    TransientError,
)
from nopal_runtime.kube.api import Body, KubeApi, Listing
from nopal_runtime.kube.credentials import Credentials
from nopal_runtime.kube.transport import Response, Transport

PAGE = 500
_RELISTS = 3
_JSON, _MERGE, _APPLY = (
    "application/json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as metrics count it."""

    verb: str
    kind: str
    manager: str
    outcome: str
    """ok, or the reason of the error."""


class KubeClient(KubeApi):
    """Reads and writes of one API server.

    Args:
        timeout: seconds for each request, its answer read whole.
        observe: is told every request and its outcome.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        timeout: float = 10.0,
        observe: Callable[[Request], None] | None = None,
    ) -> None:
        self._transport = Transport(credentials)
        self._timeout, self._observe = timeout, observe

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def list(self, kind: Kind, *, field_selector: str = "") -> Listing:
        """Return all objects of the kind, read in pages from a quorum."""
        for _ in range(_RELISTS):
            try:
                return await self._list_once(kind, field_selector)
            except _ExpiredError:
                continue
        raise TransientError(
            "ApiUnavailable", f"the list of {kind.plural} took longer than its pages are kept"
        )

    async def _list_once(self, kind: Kind, field_selector: str) -> Listing:
        items: list[Body] = []
        query = {"limit": str(PAGE)}
        if field_selector:
            query["fieldSelector"] = field_selector
        while True:
            page = await self._call(
                "list", kind, "GET", namespace=selected_namespace(field_selector), query=query
            )
            for item in page.get("items") or ():
                item.setdefault("apiVersion", kind.api_version)
                item.setdefault("kind", kind.kind)
                items.append(item)
            meta = page.get("metadata", {})
            if not meta.get("continue"):
                return Listing(tuple(items), meta["resourceVersion"])
            query["continue"] = meta["continue"]

    async def get(self, kind: Kind, *, namespace: str = "", name: str) -> Body:
        """Return the object as a quorum knows it now, never from a cache."""
        return await self._call("get", kind, "GET", namespace=namespace, name=name)

    async def create(self, kind: Kind, body: Body) -> Body:
        """Create the object. Raises ConflictError (reason AlreadyExists) if there is one."""
        namespace = body["metadata"].get("namespace", "")
        whole = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        return await self._call("create", kind, "POST", namespace=namespace, body=whole)

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
        """Apply the manager's complete set of status fields, server-side, by force."""
        meta = {"name": name, "resourceVersion": resource_version}
        if namespace:
            meta["namespace"] = namespace
        return await self._call(
            "apply_status",
            kind,
            "PATCH",
            namespace=namespace,
            name=name,
            subresource="status",
            query={"fieldManager": manager, "force": "true"},
            content_type=_APPLY,
            manager=manager,
            body={
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": meta,
                "status": status,
            },
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
        """Replace the finalizers of exactly that object at exactly that version."""
        meta = {"uid": uid, "resourceVersion": resource_version, "finalizers": [*finalizers]}
        return await self._call(
            "set_finalizers",
            kind,
            "PATCH",
            namespace=namespace,
            name=name,
            content_type=_MERGE,
            body={"metadata": meta},
        )

    async def replace(self, kind: Kind, body: Body) -> Body:
        """Replace the object whole; its metadata.resourceVersion must be the current one."""
        meta = body["metadata"]
        if not meta.get("resourceVersion"):
            raise TerminalError("Invalid", "replace needs metadata.resourceVersion")
        return await self._call(
            "replace",
            kind,
            "PUT",
            namespace=meta.get("namespace", ""),
            name=meta["name"],
            body={"apiVersion": kind.api_version, "kind": kind.kind, **body},
        )

    async def delete(self, kind: Kind, *, namespace: str = "", name: str, uid: str) -> None:
        """Delete exactly that object."""
        await self._call(
            "delete",
            kind,
            "DELETE",
            namespace=namespace,
            name=name,
            body={
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "preconditions": {"uid": uid},
                "propagationPolicy": "Background",
            },
        )

    async def _call(
        self,
        verb: str,
        kind: Kind,
        method: str,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        manager: str = "",
    ) -> dict[str, Any]:
        where = path(kind, namespace=namespace, name=name, subresource=subresource)
        target = where + ("?" + urlencode(query) if query else "")
        outcome = "ok"
        try:
            response = await self._send(method, target, body, content_type)
            if response.status >= 400:
                raise error_of(response, f"{verb} {kind.kind} {namespace}/{name}".rstrip("/"))
            answer: dict[str, Any] = json.loads(response.data)
            return answer
        except NopalError as error:
            outcome = error.reason
            raise
        finally:
            if self._observe is not None:
                self._observe(Request(verb, kind.kind, manager, outcome))

    async def _send(
        self, method: str, target: str, body: Mapping[str, Any] | None, content_type: str
    ) -> Response:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._transport.send(method, target, body, content_type)
        except TimeoutError as error:
            raise TransientError(
                "ApiUnavailable",
                f"kube-apiserver did not answer {method} {target} within {self._timeout:g} s.",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise TransientError(
                "ApiUnavailable",
                f"kube-apiserver cannot be reached: {type(error).__name__}: {error}",
            ) from error


class _ExpiredError(TransientError):
    """A page of a list is not kept any more (410): list again from the start."""


def selected_namespace(field_selector: str) -> str:
    """Return the one namespace that a field selector asks for, empty if it does not.

    The list then goes to that namespace, so that a Role there is enough to read it.
    """
    terms = (term.partition("=") for term in field_selector.split(","))
    return next(
        (value.lstrip("=") for field, _, value in terms if field == "metadata.namespace"), ""
    )


def path(kind: Kind, *, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """Return the path of a kind's collection or of one object."""
    parts = ["apis", kind.group, kind.version] if kind.group else ["api", kind.version]
    if namespace:
        parts += ["namespaces", namespace]
    parts.append(kind.plural)
    if name:
        parts.append(name)
    if subresource:
        parts.append(subresource)
    return "/" + "/".join(quote(part, safe="") for part in parts)


def error_of(response: Response, what: str) -> NopalError:
    """Return the error of an answer with status 400 or above."""
    try:
        status = json.loads(response.data)
        message, reason = str(status.get("message", "")), str(status.get("reason", ""))
    except (ValueError, AttributeError):
        message, reason = response.data[:200].decode(errors="replace"), ""
    text = f"{what}: {message or f'HTTP {response.status}'}"
    match response.status:
        case 404:
            return NotFoundError("NotFound", text)
        case 409:
            exists = reason == "AlreadyExists"
            return ConflictError("AlreadyExists" if exists else "Conflict", text)
        case 410:
            return _ExpiredError("Expired", text)
        case 403:
            return TerminalError("Forbidden", text)
        case 401:
            return TransientError("Unauthorized", text)
        case 408 | 429:
            return TransientError("ApiUnavailable", text)
        case 422 if "metadata.uid: Invalid value" in message:
            return ConflictError("Conflict", f"{what}: it is another object by now")
        case code if code < 500:
            return TerminalError("Invalid", text)
        case _ if "field not declared in schema" in message:
            return TerminalError("Invalid", text + ". Install the CRDs of this release.")
        case _:
            return TransientError("ApiUnavailable", text)
