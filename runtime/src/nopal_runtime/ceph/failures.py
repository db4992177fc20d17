# SPDX-License-Identifier: Apache-2.0
"""What rados and rbd raise, as errors with a reason: nobody above this adapter reads an errno."""

import errno

from ..errors import ConflictError, NopalError, NotFoundError, TerminalError, TransientError

DEAD_HANDLE = frozenset({errno.ESHUTDOWN, errno.ENOTCONN})
"""The connection itself is of no use any more: Ceph refuses this client instance for ever."""

_UNREACHABLE = DEAD_HANDLE | {
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EINTR,
    errno.EIO,
}


def failure(code: int, what: str) -> NopalError:
    """Return the error to raise.

    Args:
        code: an errno, of either sign.
        what: what was tried, as in "open image disk-1 of pool nopal".
    """
    number = abs(code)
    if number == errno.ENOENT:
        return NotFoundError("ImageNotFound", f"cannot {what}: it does not exist")
    if number == errno.EEXIST:
        return ConflictError("ImageExists", f"cannot {what}: it exists already")
    if number == errno.ENOTEMPTY:
        return ConflictError("ImageHasSnapshots", f"cannot {what}: it has snapshots or clones")
    if number == errno.ECANCELED:
        return ConflictError("ImageChanged", f"cannot {what}: somebody else changed it meanwhile")
    if number == errno.EBUSY:
        return TransientError(
            "ImageInUse",
            f"cannot {what}: a client has it open (rbd status shows it); one that died is"
            " forgotten after 30 s",
        )
    if number == errno.ESTALE:
        # What librbd's remove says to the slower of two clients that remove the same image.
        return TransientError("ImageInUse", f"cannot {what}: another client just removes it")
    if number in (errno.ENOSPC, errno.EDQUOT):
        return TransientError(
            "PoolFull",
            f"cannot {what}: the pool or the cluster is full: delete disks, add OSDs or raise the"
            " pool's quota",
        )
    if number in (errno.EACCES, errno.EPERM):
        return TerminalError(
            "AccessDenied",
            f"cannot {what}: Ceph refuses this host's key: compare the Secret with ceph auth get,"
            " and the user's capabilities with the documentation",
        )
    if number == errno.ESHUTDOWN:
        return TransientError(
            "StorageUnreachable",
            f"cannot {what}: Ceph has blocklisted this client (ceph osd blocklist ls)",
        )
    if number in _UNREACHABLE:
        return TransientError(
            "StorageUnreachable",
            f"cannot {what}: Ceph does not answer ({errno.errorcode.get(number, number)}): see"
            " ceph -s and that this host reaches the monitors and OSDs",
        )
    return TransientError(
        "StorageError", f"cannot {what}: Ceph says {errno.errorcode.get(number, number)}"
    )
