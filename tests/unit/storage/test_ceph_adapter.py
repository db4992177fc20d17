# SPDX-License-Identifier: Apache-2.0
"""The adapter over rados and rbd, as far as it needs neither."""

import errno
import re
import sys

import pytest

from nopal_node.storage.base import PoolAccess
from nopal_node.storage.ceph import CephPool
from nopal_runtime.ceph.caps import host_caps
from nopal_runtime.ceph.connection import CephAccess, host_of
from nopal_runtime.ceph.failures import failure
from nopal_runtime.ceph.kept import KeptConnections
from nopal_runtime.errors import ConflictError, NotFoundError, TerminalError, TransientError

ACCESS = CephAccess(fsid="f", monitors=("10.0.0.1:6789",), user="nopal.a", key="s3cr3t")


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (errno.ENOENT, NotFoundError, "ImageNotFound"),
        (-errno.ENOENT, NotFoundError, "ImageNotFound"),
        (errno.EEXIST, ConflictError, "ImageExists"),
        (errno.ENOTEMPTY, ConflictError, "ImageHasSnapshots"),
        (errno.ECANCELED, ConflictError, "ImageChanged"),
        (errno.EBUSY, TransientError, "ImageInUse"),
        (errno.ESTALE, TransientError, "ImageInUse"),
        (errno.ENOSPC, TransientError, "PoolFull"),
        (errno.EDQUOT, TransientError, "PoolFull"),
        (errno.ETIMEDOUT, TransientError, "StorageUnreachable"),
        (errno.ESHUTDOWN, TransientError, "StorageUnreachable"),
        (errno.ECONNREFUSED, TransientError, "StorageUnreachable"),
        (errno.EACCES, TerminalError, "AccessDenied"),
        (errno.EPERM, TerminalError, "AccessDenied"),
        (errno.EINVAL, TransientError, "StorageError"),
        (0, TransientError, "StorageError"),
        (9999, TransientError, "StorageError"),
    ],
)
def test_every_errno_has_a_reason(code: int, kind: type[Exception], reason: str) -> None:
    error = failure(code, "open image x")
    assert type(error) is kind
    assert error.reason == reason
    assert "open image x" in error.message


@pytest.mark.parametrize(
    ("instance", "address"),
    [
        ("10.0.0.1:0/4027", "10.0.0.1"),
        ("v1:10.0.0.1:0/4027", "10.0.0.1"),
        ("v2:[fd00::1]:0/4027", "fd00::1"),
        ("[fd00::1]:0/1", "fd00::1"),
        ("-", ""),
        ("", ""),
    ],
)
def test_addresses_lose_port_and_nonce(instance: str, address: str) -> None:
    assert host_of(instance) == address


def test_the_key_is_never_shown() -> None:
    assert "s3cr3t" not in repr(ACCESS)
    assert "s3cr3t" not in repr(PoolAccess("f", (), "p", "", "u", "s3cr3t"))


def test_connections_are_shared_and_closed_by_the_last() -> None:
    kept = KeptConnections()
    first = kept.take(ACCESS)
    assert kept.take(ACCESS) is first
    kept.give_back(ACCESS)
    assert kept.take(ACCESS) is first
    kept.give_back(ACCESS)
    kept.give_back(ACCESS)
    assert kept.take(ACCESS) is not first


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rados", None)
    pool = CephPool(PoolAccess("f", ("10.0.0.1:6789",), "p", "", "u", "k"))
    with pytest.raises(TerminalError, match="python3-rados") as refused:
        pool.info("disk-x")
    assert refused.value.reason == "CephLibrariesMissing"
    pool.close()


def test_a_hosts_capabilities_name_its_own_addresses_only() -> None:
    caps = host_caps(addresses=["10.0.0.1", "fd00::1"], pools=[("a", ""), ("b", "ns")])
    assert caps["osd"] == "profile rbd pool=a, profile rbd pool=b namespace=ns"
    assert caps["mon"].startswith("allow r, allow command")
    # POSIX takes [[] for a bracket, Python warns of it.
    patterns = re.findall(r'regex "([^"]+)"', caps["mon"].replace("[[]", r"\["))
    assert [bool(re.search(p, "10.0.0.1:0/77")) for p in patterns] == [True, False]
    assert [bool(re.search(p, "[fd00::1]:0/77")) for p in patterns] == [False, True]
    for other in (
        "10.0.0.1:0/0",
        "10.0.0.10:0/7",
        "110.0.0.1:0/7",
        "10x0.0.1:0/7",
        "fd00::1:0/7",
        "10.0.0.0/24",
    ):
        assert not any(re.search(p, other) for p in patterns)
