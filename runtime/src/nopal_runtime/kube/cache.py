# SPDX-License-Identifier: Apache-2.0
"""What is known of the objects: the newest version of each, as seen by lists, events and writes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from nopal_api.base import ApiModel
from nopal_api.kinds import Kind
from nopal_runtime.errors import TerminalError
from nopal_runtime.kube.api import Body, Key, Listing
from nopal_runtime.kube.fields import owned_digests

M = TypeVar("M", bound=ApiModel)

# Every object of kubectl apply carries itself a second time here.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Record:
    """One version of one object.

    The object is kept as JSON: a dict of the same object takes five times the memory.
    """

    key: Key
    uid: str
    resource_version: str
    generation: int
    deleting: bool
    finalizers: tuple[str, ...]
    created: str
    """metadata.creationTimestamp, RFC 3339."""
    labels: Mapping[str, str]
    owned: Mapping[str, str]
    """For each field manager of the status, a digest of the fields that it owns."""
    _json: bytes = field(repr=False, compare=False)
    _parsed: list[ApiModel] = field(default_factory=list, repr=False, compare=False)

    @property
    def body(self) -> dict[str, Any]:
        """Return the object as it is on the wire, without managedFields; a copy of one's own."""
        body: dict[str, Any] = json.loads(self._json)
        return body

    def model(self, model: type[M]) -> M:
        """Return the object as its model, parsed once for each version.

        Raises:
            TerminalError: the object does not fit the model (InvalidObject).
        """
        if self._parsed and isinstance(self._parsed[0], model):
            return self._parsed[0]
        parsed = self.parse(model)
        self._parsed[:] = [parsed]
        return parsed

    def parse(self, model: type[M]) -> M:
        """Return the object as its model, parsed anew: ten times the record's memory is not kept.

        Raises:
            TerminalError: the object does not fit the model (InvalidObject).
        """
        try:
            return model.model_validate_json(self._json)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise TerminalError(
                "InvalidObject",
                f"{self.key} cannot be read: {where}: {first['msg']}. Correct the object, or"
                " install the CRDs of this release.",
            ) from error

    @property
    def name(self) -> str:
        """Return the object's name."""
        return self.key.name

    @property
    def namespace(self) -> str:
        """Return the object's namespace; empty if it is cluster-scoped."""
        return self.key.namespace


def key_of(kind: Kind, body: Body) -> Key:
    """Return the key of an object."""
    meta = body["metadata"]
    return Key(kind.kind, meta.get("namespace", "") if kind.namespaced else "", meta["name"])


def make_record(kind: Kind, body: Body) -> Record:
    """Return the slim record of an object."""
    meta = dict(body["metadata"])
    owned = owned_digests(meta.pop("managedFields", None) or ())
    annotations = meta.get("annotations")
    if annotations and _LAST_APPLIED in annotations:
        meta["annotations"] = {k: v for k, v in annotations.items() if k != _LAST_APPLIED}
    slim = {**body, "metadata": meta}
    return Record(
        key=key_of(kind, body),
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        generation=meta.get("generation", 0),
        deleting=bool(meta.get("deletionTimestamp")),
        finalizers=tuple(meta.get("finalizers") or ()),
        created=meta.get("creationTimestamp", ""),
        labels=MappingProxyType(dict(meta.get("labels") or {})),
        owned=owned,
        _json=json.dumps(slim, separators=(",", ":")).encode(),
    )


def _is_older(
    kind: Kind, listing: Listing, *, before: int | None, since: Mapping[Key, int]
) -> bool:
    """Tell whether the list is older than the one before, or than what was known at its start.

    The list's own version is not enough: after a restore it may have grown past the known ones,
    while the objects are still the old ones.
    """
    version = int(listing.resource_version)
    if version < max(before or 0, *since.values(), 0):
        return True
    return any(
        int(body["metadata"]["resourceVersion"]) < since.get(key_of(kind, body), 0)
        for body in listing.items
    )


class ObjectCache:
    """The newest known version of every object; versions only ever go forward.

    resourceVersions of one kind are compared as integers (Kubernetes guarantees their order).
    A list is the authority on what exists; events and answers to writes only bring newer versions.

    Args:
        selected: kinds that are watched through a field selector: an object missing there, or a
            DELETED event, means only that it left the selection.
    """

    def __init__(self, *, selected: Iterable[Kind] = ()) -> None:
        self._selected = {kind.kind for kind in selected}
        self._records: dict[str, dict[Key, Record]] = {}
        self._by_uid: dict[str, dict[str, Key]] = {}
        self._gone: dict[str, dict[Key, int]] = {}
        self._listed: dict[str, int] = {}
        self._left: set[Key] = set()
        self._doubted: set[str] = set()
        self.restores = 0
        """How often a list told that kube-apiserver had gone back in time."""

    def versions(self, kind: Kind) -> dict[Key, int]:
        """Return the newest version known of each object, also of those that are gone.

        Asked for before a list is begun, it is what that list cannot be older than.
        """
        records = self._records.get(kind.kind, {})
        known = {key: int(record.resource_version) for key, record in records.items()}
        return {**self._gone.get(kind.kind, {}), **known}

    def offer(self, kind: Kind, body: Body) -> bool:
        """Take the object in if it is newer than what is known; tell whether it was."""
        key = key_of(kind, body)
        version = int(body["metadata"]["resourceVersion"])
        if version <= self._gone.get(kind.kind, {}).get(key, -1):
            return False
        known = self.get(key)
        if known is not None and version <= int(known.resource_version):
            return False
        self._put(make_record(kind, body))
        return True

    def offer_deleted(self, kind: Kind, body: Body) -> bool:
        """Forget the object, unless a newer one is known under its name; tell whether it was."""
        key = key_of(kind, body)
        version = int(body["metadata"]["resourceVersion"])
        known = self.get(key)
        if known is not None and (
            known.uid != body["metadata"]["uid"] or version < int(known.resource_version)
        ):
            return False
        gone = self._gone.setdefault(kind.kind, {})
        gone[key] = max(version, gone.get(key, -1))
        if known is not None:
            self._drop(known)
        return known is not None

    def sync(
        self, kind: Kind, listing: Listing, *, since: Mapping[Key, int] | None = None
    ) -> frozenset[Key]:
        """Take in a complete list; return the keys of what was added, changed or removed.

        A list that is older than what was known before it was begun tells that etcd was restored
        from a backup: then everything known is replaced, of the other kinds at their next lists.

        Args:
            kind: what was listed.
            listing: the list, read from a quorum.
            since: `versions` as they were before the list was begun.
        """
        version = int(listing.resource_version)
        before = self._listed.get(kind.kind)
        records = self._records.setdefault(kind.kind, {})
        changed: set[Key] = set()
        doubted = kind.kind in self._doubted
        self._doubted.discard(kind.kind)
        if doubted or _is_older(kind, listing, before=before, since=since or {}):
            if not doubted:
                self.restores += 1
                self._doubted = set(self._listed) - {kind.kind}
            before = None
            changed.update(records)
            for record in tuple(records.values()):
                self._drop(record)
            self._gone.pop(kind.kind, None)
        present = set()
        for body in listing.items:
            key = key_of(kind, body)
            present.add(key)
            if self.offer(kind, body):
                changed.add(key)
        for key, record in tuple(records.items()):
            if key not in present and int(record.resource_version) <= version:
                self._drop(record)
                self._gone.setdefault(kind.kind, {})[key] = version
                changed.add(key)
        # An answer that is on its way can be older than this list, hardly than the one before it.
        gone = self._gone.get(kind.kind, {})
        for key in [k for k, v in gone.items() if before is not None and v < before]:
            del gone[key]
        self._listed[kind.kind] = version
        return frozenset(changed)

    def get(self, key: Key) -> Record | None:
        """Return what is known of the object; None says nothing until its kind is synced."""
        return self._records.get(key.kind, {}).get(key)

    def find_uid(self, kind: Kind, uid: str) -> Record | None:
        """Return the object with that UID."""
        key = self._by_uid.get(kind.kind, {}).get(uid)
        return None if key is None else self.get(key)

    def all(self, kind: Kind) -> tuple[Record, ...]:
        """Return all known objects of the kind."""
        return tuple(self._records.get(kind.kind, {}).values())

    def synced(self, kind: Kind) -> bool:
        """Tell whether the kind was listed completely at least once."""
        return kind.kind in self._listed

    def left(self, key: Key) -> bool:
        """Tell whether the object left its kind's selection: it may still exist, so read it."""
        return key in self._left

    def forget_left(self, key: Key) -> None:
        """Forget that the object left the selection: it was read again and dealt with."""
        self._left.discard(key)

    def _put(self, record: Record) -> None:
        known = self.get(record.key)
        if known is not None and known.uid != record.uid:
            self._drop(known)
        self._records.setdefault(record.key.kind, {})[record.key] = record
        self._by_uid.setdefault(record.key.kind, {})[record.uid] = record.key
        self._gone.get(record.key.kind, {}).pop(record.key, None)
        self._left.discard(record.key)

    def _drop(self, record: Record) -> None:
        self._records[record.key.kind].pop(record.key, None)
        self._by_uid[record.key.kind].pop(record.uid, None)
        if record.key.kind in self._selected:
            self._left.add(record.key)
