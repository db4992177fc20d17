# SPDX-License-Identifier: Apache-2.0
"""An API server in memory, for tests: it passes the same contract suite as the real one."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import ValidationError

from nopal_api import kinds, names
from nopal_api.kinds import Kind
from nopal_runtime.errors import ConflictError, NotFoundError, TerminalError
from nopal_runtime.kube.api import Body, Key, KubeApi, Listing
from nopal_runtime.kube.fields import status_shape
from nopal_runtime.kube.ownership import Owners, apply, fields_v1

Verb = Literal["list", "get", "create", "apply_status", "set_finalizers", "replace", "delete"]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]
Admission = Callable[[Kind, dict[str, Any]], dict[str, Any]]
_WITH_FINALIZER = ("VirtualMachine", "Disk", "Image", "Network", "Host")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API, before or after it took effect."""

    verb: Verb
    kind: str
    namespace: str = ""
    name: str = ""
    manager: str = ""
    phase: Literal["before", "after"] = "before"


Hook = Callable[[Call], Awaitable[None]]


@dataclass(slots=True)
class _Object:
    kind: Kind
    body: dict[str, Any]
    owners: Owners = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        body: dict[str, Any] = _copy(self.body)
        if self.owners:
            body["metadata"]["managedFields"] = [
                {
                    "manager": manager,
                    "operation": "Apply",
                    "subresource": "status",
                    "apiVersion": body["apiVersion"],
                    "fieldsType": "FieldsV1",
                    "fieldsV1": fields_v1(paths),
                }
                for manager, paths in self.owners.items()
            ]
        return body


@dataclass(eq=False, slots=True)
class Subscription:
    """A watch of one kind; `close` ends it."""

    kind: Kind
    callback: Callable[[EventType, Body], None]
    field_selector: str
    _all: list["Subscription"]

    def close(self) -> None:
        """End the watch."""
        if self in self._all:
            self._all.remove(self)


def add_finalizers(kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
    """Add Nopal's finalizer, as the chart's MutatingAdmissionPolicy does on create."""
    if kind.kind in _WITH_FINALIZER:
        finalizers = body["metadata"].setdefault("finalizers", [])
        if names.FINALIZER not in finalizers:
            finalizers.append(names.FINALIZER)
    return body


class FakeKube(KubeApi):
    """kube-apiserver as Nopal sees it: versions, UIDs, generations, finalizers, apply, watches.

    `hooks` are awaited before and after every call and may raise: a test's crash or failure. The
    methods without `async` are the user's hand: they run no hooks and are not counted in `calls`.

    Args:
        admission: changes an object when it is created; `add_finalizers` is the chart's.
        seed: makes the UIDs of two fakes differ.
    """

    def __init__(self, *, admission: Admission | None = add_finalizers, seed: int = 0) -> None:
        self.hooks: list[Hook] = []
        self.calls: list[Call] = []
        self._admission = admission
        self._objects: dict[Key, _Object] = {}
        self._version = 1000
        self._uids = (f"{seed:08x}-0000-4000-8000-{n:012x}" for n in itertools.count(1))
        self._subscriptions: list[Subscription] = []
        for namespace in ("kube-system", names.SYSTEM_NAMESPACE, names.HOST_LEASE_NAMESPACE):
            self.put(kinds.NAMESPACE, {"metadata": {"name": namespace}})

    # The interface

    async def list(self, kind: Kind, *, field_selector: str = "") -> Listing:
        """Return all objects of the kind."""
        call = await self._before("list", kind)
        items = tuple(
            o.wire()
            for key, o in self._objects.items()
            if key.kind == kind.kind and selects(field_selector, o.body)
        )
        listing = Listing(items, str(self._version))
        await self._after(call)
        return listing

    async def get(self, kind: Kind, *, namespace: str = "", name: str) -> Body:
        """Return the object."""
        call = await self._before("get", kind, namespace, name)
        body = self._find(kind, namespace, name).wire()
        await self._after(call)
        return body

    async def create(self, kind: Kind, body: Body) -> Body:
        """Create the object."""
        meta = body["metadata"]
        call = await self._before("create", kind, meta.get("namespace", ""), meta["name"])
        made = self._create(kind, body)
        await self._after(call)
        return made

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
        """Apply the manager's complete set of status fields."""
        call = await self._before("apply_status", kind, namespace, name, manager)
        if len(manager.encode()) > 128:
            raise TerminalError("Invalid", f"field manager {manager!r} is longer than 128 bytes")
        found = self._find(kind, namespace, name)
        self._check_version(found, resource_version)
        self._validate(kind, {"spec": found.body.get("spec", {}), "status": dict(status)})
        applied = apply(
            found.body.get("status", {}),
            found.owners,
            manager=manager,
            wanted=status,
            shape=status_shape(kind),
        )
        if found.body.get("status") and not applied.status:
            raise TerminalError("Invalid", f"{kind} {name}: status must not become empty")
        if applied.status != found.body.get("status", {}) or applied.owners != found.owners:
            old = _copy(found.body)
            found.body["status"], found.owners = applied.status, applied.owners
            self._changed(found, old)
        body = found.wire()
        await self._after(call)
        return body

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
        call = await self._before("set_finalizers", kind, namespace, name)
        found = self._find(kind, namespace, name)
        if found.body["metadata"]["uid"] != uid:
            raise ConflictError(
                "Conflict", f"{kind} {name} is another object by now: read it again"
            )
        self._check_version(found, resource_version)
        old = _copy(found.body)
        meta = found.body["metadata"]
        if meta.get("deletionTimestamp") and not {*finalizers} <= {*meta.get("finalizers", ())}:
            raise TerminalError("Invalid", f"{kind} {name} is being deleted: no new finalizers")
        meta["finalizers"] = [*finalizers]
        self._changed(found, old)
        made = found.wire()
        await self._after(call)
        return made

    async def replace(self, kind: Kind, body: Body) -> Body:
        """Replace the object whole, its status left as it is."""
        meta = body["metadata"]
        call = await self._before("replace", kind, meta.get("namespace", ""), meta["name"])
        found = self._find(kind, meta.get("namespace", ""), meta["name"])
        self._check_version(found, meta.get("resourceVersion", ""))
        self._replace(found, body)
        made = found.wire()
        await self._after(call)
        return made

    async def delete(self, kind: Kind, *, namespace: str = "", name: str, uid: str) -> None:
        """Delete exactly that object."""
        call = await self._before("delete", kind, namespace, name)
        found = self._find(kind, namespace, name)
        if found.body["metadata"]["uid"] != uid:
            raise ConflictError(
                "Conflict", f"{kind} {name} is another object by now: read it again"
            )
        self._delete(found)
        await self._after(call)

    # The user's hand

    def put(self, kind: Kind, body: Mapping[str, Any]) -> Body:
        """Create the object, or change its spec and labels as `kubectl apply` does."""
        meta = body["metadata"]
        found = self._objects.get(Key(kind.kind, meta.get("namespace", ""), meta["name"]))
        if found is None:
            return self._create(kind, body)
        merged_meta = {**found.body["metadata"], **meta}
        self._replace(found, {**found.body, **body, "metadata": merged_meta})
        return found.wire()

    def see(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any] | None:
        """Return the object as it is now, or None."""
        found = self._objects.get(Key(kind.kind, namespace, name))
        return None if found is None else found.wire()

    def remove(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Delete the object as `kubectl delete --wait=false` does."""
        self._delete(self._find(kind, namespace, name))

    def strip_finalizers(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Take all finalizers off the object, as a person in a hurry does."""
        found = self._find(kind, namespace, name)
        old = _copy(found.body)
        found.body["metadata"]["finalizers"] = []
        self._changed(found, old)

    def subscribe(
        self, kind: Kind, callback: Callable[[EventType, Body], None], *, field_selector: str = ""
    ) -> Subscription:
        """Call back soon after each change, in order. Leaving the selection is a DELETED."""
        made = Subscription(kind, callback, field_selector, self._subscriptions)
        self._subscriptions.append(made)
        return made

    # How it works

    async def _before(
        self, verb: Verb, kind: Kind, namespace: str = "", name: str = "", manager: str = ""
    ) -> Call:
        call = Call(verb, kind.kind, namespace, name, manager)
        self.calls.append(call)
        await asyncio.sleep(0)  # every real call lets others run
        for hook in tuple(self.hooks):
            await hook(call)
        return call

    async def _after(self, call: Call) -> None:
        for hook in tuple(self.hooks):
            await hook(replace(call, phase="after"))

    def _find(self, kind: Kind, namespace: str, name: str) -> _Object:
        found = self._objects.get(Key(kind.kind, namespace, name))
        if found is None:
            raise NotFoundError("NotFound", f"{Key(kind.kind, namespace, name)} does not exist")
        return found

    def _check_version(self, found: _Object, version: str) -> None:
        if found.body["metadata"]["resourceVersion"] != version:
            raise ConflictError(
                "Conflict",
                f"{found.kind} {found.body['metadata']['name']} has changed: read it again",
            )

    def _validate(self, kind: Kind, body: Body) -> None:
        if kind.model is None:
            return
        try:
            # The real one prunes unknown fields of a spec, but refuses an apply that has any.
            kind.model.model_validate(body, extra="forbid" if "status" in body else None)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise TerminalError("Invalid", f"{kind} {where}: {first['msg']}") from error

    def _create(self, kind: Kind, body: Body) -> Body:
        made: dict[str, Any] = _copy(dict(body))
        meta = made["metadata"] = {**made["metadata"]}
        key = Key(kind.kind, meta.get("namespace", ""), meta["name"])
        if bool(key.namespace) != kind.namespaced:
            raise TerminalError(
                "Invalid", f"{key}: a namespace is needed only for namespaced kinds"
            )
        if key in self._objects:
            raise ConflictError("AlreadyExists", f"{key} exists already: read it")
        if kind.model is not None:
            made.pop("status", None)
        made = {"apiVersion": kind.api_version, "kind": kind.kind, **made}
        self._validate(kind, {k: v for k, v in made.items() if k == "spec"})
        meta.update(uid=next(self._uids), generation=1, creationTimestamp="2026-01-01T00:00:00Z")
        if self._admission is not None:
            made = self._admission(kind, made)
        self._objects[key] = found = _Object(kind, made)
        self._changed(found, None)
        return found.wire()

    def _replace(self, found: _Object, body: Body) -> None:
        old = _copy(found.body)
        new = _copy(dict(body))
        kept = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "resourceVersion")
        meta = {**new["metadata"], **{k: v for k, v in old["metadata"].items() if k in kept}}
        meta.pop("managedFields", None)
        new = {"apiVersion": old["apiVersion"], "kind": old["kind"], **new, "metadata": meta}
        if found.kind.model is not None:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
            self._validate(found.kind, {k: v for k, v in new.items() if k == "spec"})
            if new.get("spec") != old.get("spec"):
                meta["generation"] += 1
        if new != old:
            found.body = new
            self._changed(found, old)

    def _delete(self, found: _Object) -> None:
        meta = found.body["metadata"]
        old = _copy(found.body)
        if meta.get("finalizers"):
            if "deletionTimestamp" not in meta:
                meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
                meta["generation"] += 1
                self._changed(found, old)
            return
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self._changed(found, old)

    def _changed(self, found: _Object, old: Body | None) -> None:
        meta = found.body["metadata"]
        self._version += 1
        meta["resourceVersion"] = str(self._version)
        gone = bool(meta.get("deletionTimestamp")) and not meta.get("finalizers")
        if gone:
            key = Key(found.kind.kind, meta.get("namespace", ""), meta["name"])
            self._objects.pop(key, None)
        body = found.wire()
        for watch in tuple(self._subscriptions):
            if watch.kind.kind != found.kind.kind:
                continue
            was = old is not None and selects(watch.field_selector, old)
            now = not gone and selects(watch.field_selector, body)
            if was or now:
                event: EventType = "ADDED" if not was else "MODIFIED" if now else "DELETED"
                _soon(watch.callback, event, _copy(body))


def _copy(value: Any) -> Any:
    """Return a copy of what JSON can hold; several times faster than copy.deepcopy."""
    if isinstance(value, str | int):  # most are, and asking for a Mapping is slow
        return value
    if isinstance(value, Mapping):
        return {key: _copy(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(child) for child in value]
    return value


def _soon(callback: Callable[[EventType, Body], None], event: EventType, body: Body) -> None:
    try:
        asyncio.get_running_loop().call_soon(callback, event, body)
    except RuntimeError:  # a test that prepares its objects before the loop runs
        callback(event, body)


def selects(selector: str, body: Body) -> bool:
    """Tell whether the object is in a field selection such as status.a.b=x,metadata.name!=y."""
    for term in filter(None, selector.split(",")):
        path, _, wanted = term.partition("=")
        unequal = path.endswith("!")
        value: Any = body
        for step in path.rstrip("!").split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        if ((str(value) if value is not None else "") == wanted) is unequal:
            return False
    return True
