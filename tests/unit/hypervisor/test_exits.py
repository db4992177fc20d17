# SPDX-License-Identifier: Apache-2.0
"""How a domain ended, as its log tells. The lines are libvirt 9.0's and QEMU 7.2's own."""

import pytest

from nopal_node.hypervisor.base import Exit
from nopal_node.hypervisor.exits import last_exit

START = """\
2026-11-21 09:34:47.002+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4, qemu version: 7
LC_ALL=C \\
/usr/bin/qemu-system-x86_64 \\
-name guest=nopal-x,debug-threads=on \\
-msg timestamp=on
char device redirected to /dev/pts/0 (label charserial0)
"""
BY_LIBVIRT = (
    "2026-11-21T09:34:50.804880Z qemu-system-x86_64: terminating on signal 15 from pid 18052"
    " (/usr/sbin/libvirtd)\n"
)
BY_SOMEBODY = BY_LIBVIRT.replace("/usr/sbin/libvirtd", "-bash")


def end(reason: str) -> str:
    return f"2026-11-21 09:34:52.206+0000: shutting down, reason={reason}\n"


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", None),
        ("nonsense\n", None),
        (START + end("shutdown"), Exit.GUEST_SHUTDOWN),
        # libvirt ends QEMU itself after the guest has powered off.
        (START + BY_LIBVIRT + end("shutdown"), Exit.GUEST_SHUTDOWN),
        (
            START + BY_LIBVIRT.replace("libvirtd", "virtqemud") + end("shutdown"),
            Exit.GUEST_SHUTDOWN,
        ),
        (START + BY_SOMEBODY + end("shutdown"), Exit.DESTROYED),
        (START + BY_LIBVIRT + end("destroyed"), Exit.DESTROYED),
        (START + end("crashed"), Exit.CRASHED),
        (START + end("daemon"), Exit.ABANDONED),
        (START + end("unknown"), Exit.UNKNOWN),
        (START + end("migrated"), Exit.UNKNOWN),
        # It never ran: what was before counts.
        (START + end("failed"), None),
        (START + end("crashed") + START + end("failed"), Exit.CRASHED),
        # The last run counts.
        (START + end("crashed") + START + end("destroyed"), Exit.DESTROYED),
        # The host went down with it.
        (START, Exit.UNKNOWN),
        (START + end("shutdown") + START, Exit.UNKNOWN),
        (START + START + end("destroyed"), Exit.DESTROYED),
        # Only the end of a long log was read.
        ("...\n" + end("crashed"), Exit.CRASHED),
        # A guest cannot forge it: its words go to the console's log, QEMU's begin with a stamp.
        (START + "x shutting down, reason=shutdown\n" + end("crashed"), Exit.CRASHED),
    ],
)
def test_last_exit(log: str, expected: Exit | None) -> None:
    assert last_exit(log) is expected
