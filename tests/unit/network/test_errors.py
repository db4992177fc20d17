# SPDX-License-Identifier: Apache-2.0
"""What the kernel's refusals become, and the fake's hooks."""

import errno

import pytest

from nopal_node.network.base import BridgeSpec
from nopal_node.network.fake import FakeLinks, FakeNetwork, LinkCall
from nopal_node.network.linux import translated
from nopal_runtime.errors import (
    ConflictError,
    NopalError,
    NotFoundError,
    TerminalError,
    TransientError,
)

SPEC = BridgeSpec("lan", owner_uid="u1", managed=True)


@pytest.mark.parametrize(
    ("code", "kind", "reason", "word"),
    [
        (errno.EEXIST, ConflictError, "LinkExists", ""),
        (errno.ENODEV, NotFoundError, "LinkNotFound", ""),
        (errno.EOPNOTSUPP, TerminalError, "ModuleMissing", "modprobe bridge"),
        (errno.EPERM, TransientError, "NetworkUnreachable", "CAP_NET_ADMIN"),
        (errno.ENOBUFS, TransientError, "NetworkUnreachable", "out of room"),
    ],
)
def test_a_refusal_of_the_kernel_says_what_to_do(
    code: int, kind: type[NopalError], reason: str, word: str
) -> None:
    error = translated(code, "out of room")
    assert type(error) is kind
    assert error.reason == reason
    assert word in error.message


def test_what_cannot_be_asked_is_unknown_and_never_absent() -> None:
    links = FakeLinks()
    FakeNetwork(links).ensure_bridge(SPEC)
    links.down = True
    with pytest.raises(TransientError):
        FakeNetwork(links).bridge("lan")
    links.down = False
    assert FakeNetwork(links).bridge("lan") is not None, "it outlives a daemon's life"


def test_a_name_that_is_taken_meanwhile_is_looked_at_again() -> None:
    links = FakeLinks()

    def take(call: LinkCall) -> None:
        if call.verb == "change" and call.phase == "after" and links.get("lan") is None:
            links.hooks.clear()
            links.put("lan", kind="bridge")

    links.hooks.append(take)
    with pytest.raises(TransientError) as error:
        FakeNetwork(links).ensure_bridge(SPEC)
    assert error.value.reason == "NetworkChanged"
    with pytest.raises(TerminalError) as conflict:
        FakeNetwork(links).ensure_bridge(SPEC)
    assert conflict.value.reason == "BridgeConflict"
