# SPDX-License-Identifier: Apache-2.0
"""RBD images: handles that are always closed, metadata in one atomic step, watchers that live."""

import errno
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .failures import failure

if TYPE_CHECKING:
    import rados
    import rbd

_PROBE_SECONDS = 2.0
_LENGTH = 4
"""Bytes before a string as Ceph encodes it, which say how long it is."""


def disk_features() -> int:
    """Return the features of an image that a guest writes.

    exclusive-lock: one writer at a time, and a lock to break; object-map and fast-diff need it.
    """
    import rbd

    return (
        rbd.RBD_FEATURE_LAYERING
        | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
        | rbd.RBD_FEATURE_OBJECT_MAP
        | rbd.RBD_FEATURE_FAST_DIFF
        | rbd.RBD_FEATURE_DEEP_FLATTEN
    )


def plain_features() -> int:
    """Return the features of an image that only Nopal writes, once.

    No lock: after kill -9 of its writer nobody waits 30 s for a dead holder.
    """
    import rbd

    return rbd.RBD_FEATURE_LAYERING


@contextmanager
def open_image(
    ioctx: "rados.Ioctx",
    name: str | None = None,
    *,
    image_id: str | None = None,
    writable: bool = False,
) -> Iterator["rbd.Image"]:
    """Open an image by its name or id. Only a writable handle is a watcher."""
    import rbd

    image = rbd.Image(ioctx, name, read_only=not writable, image_id=image_id)
    try:
        yield image
    finally:
        image.close()


def read_metadata(
    ioctx: "rados.Ioctx", name: str, keys: Iterable[str]
) -> tuple[str, dict[str, str]]:
    """Return an image's internal id, and those entries of its metadata that are there.

    Two reads of an OSD. Opening a clone opens all that it was cloned from, which takes ten times as
    long. The objects are those of RBD's image format 2.
    """
    import rados

    image_id = ioctx.read(f"rbd_id.{name}")[_LENGTH:].decode()
    with rados.ReadOpCtx() as operation:
        found, _ = ioctx.get_omap_vals_by_keys(operation, tuple(f"metadata_{k}" for k in keys))
        ioctx.operate_read_op(operation, f"rbd_header.{image_id}")
        # The binding (16.2) has None for an empty value.
        return image_id, {k.removeprefix("metadata_"): (v or b"").decode() for k, v in found}


def set_metadata(
    ioctx: "rados.Ioctx",
    image_id: str,
    values: Mapping[str, str],
    *,
    expected: Mapping[str, str] | None = None,
) -> None:
    """Write all entries of an image's metadata in one atomic step.

    librbd's own call writes one entry each, and cannot compare. This is the same call of the OSD's
    class `rbd` (metadata_set, stable since Ceph 0.94).

    Args:
        ioctx: the pool.
        image_id: the image's internal id.
        values: the entries.
        expected: entries that must be there now, an absent one as the empty string; else the
            operation fails with ECANCELED and nothing is written.
    """
    import rados

    with rados.WriteOpCtx() as operation:
        for key, value in (expected or {}).items():
            operation.omap_cmp(f"metadata_{key}", value, rados.LIBRADOS_CMPXATTR_OP_EQ)
        operation.execute("rbd", "metadata_set", _encoded(values))
        ioctx.operate_write_op(operation, f"rbd_header.{image_id}")


def _encoded(values: Mapping[str, str]) -> bytes:
    """Encode a map<string, bufferlist> as Ceph does: little-endian 32-bit counts and lengths."""
    parts = [struct.pack("<I", len(values))]
    for text in (text for pair in sorted(values.items()) for text in pair):
        data = text.encode()
        parts.append(struct.pack("<I", len(data)) + data)
    return b"".join(parts)


def all_watchers_answer(ioctx: "rados.Ioctx", image_id: str) -> bool:
    """Tell whether every watcher of an image lives: a dead one does not acknowledge.

    Sends an empty notification, which librbd takes as "look at the header again"; the OSD waits
    2 s for the acknowledgements.
    """
    codes: list[int] = []

    def done(_: object, code: int, _acks: object, _missing: object) -> None:
        codes.append(code)

    began = time.monotonic()
    header = f"rbd_header.{image_id}"
    ioctx.aio_notify(header, done, timeout_ms=int(_PROBE_SECONDS * 1000)).wait_for_complete_and_cb()
    if codes == [0]:
        return True
    # The same code tells that the OSD itself is silent: then nothing is known of the watchers.
    if abs(codes[0]) == errno.ETIMEDOUT and time.monotonic() - began < 2 * _PROBE_SECONDS:
        return False
    raise failure(codes[0], "probe the watchers of an image")
