# SPDX-License-Identifier: Apache-2.0
"""How a domain went away, from libvirt's own log of it. Pure.

libvirt writes into /var/log/libvirt/qemu/NAME.log, one run after another:

    2026-11-21 09:34:47.002+0000: starting up libvirt version: 9.0.0, ...
    LC_ALL=C PATH=... /usr/bin/qemu-system-x86_64 -name guest=...
    2026-11-21T09:34:50.804880Z qemu-system-x86_64: terminating on signal 15 from pid 18052 (...)
    2026-11-21 09:34:52.206+0000: shutting down, reason=destroyed

The signal is libvirt's own, also after a guest has powered off by itself, or somebody else's.

The reasons are virDomainShutoffReason (libvirt's src/conf/domain_conf.c).
"""

import re

from .base import Exit

TAIL_BYTES = 256 * 1024
"""So much of the end of a log is enough: one run takes about 6 KiB."""

_STAMP = r"^\d{4}-\d\d-\d\d[ T][0-9:.]+(?:\+0000|Z)?:? "
_LINE = re.compile(
    _STAMP + r"(?:(?P<start>starting up libvirt version:)"
    r"|(?P<signal>\S*qemu\S*: terminating on signal \d+ from pid (?!0 )\d+ "
    r"(?!\(\S*(?:libvirtd|virtqemud)\b))"
    r"|shutting down, reason=(?P<reason>[a-z-]+))",
    re.MULTILINE,
)
_REASONS = {
    "shutdown": Exit.GUEST_SHUTDOWN,
    "destroyed": Exit.DESTROYED,
    "crashed": Exit.CRASHED,
    # libvirtd came back and found that QEMU was half-started, or did not answer.
    "daemon": Exit.ABANDONED,
    "unknown": Exit.UNKNOWN,
}
_NEVER_RAN = "failed"


def last_exit(log: str) -> Exit | None:
    """Return how the last run ended; None if no run that got as far as a guest is told of."""
    ends: list[Exit] = []
    open_run, signalled = False, False
    for line in _LINE.finditer(log):
        if line["start"]:
            if open_run:
                ends.append(Exit.UNKNOWN)  # the host went down with it
            open_run, signalled = True, False
        elif line["signal"]:
            signalled = True
        else:
            open_run = False
            reason = line["reason"]
            if reason == _NEVER_RAN:
                continue
            end = _REASONS.get(reason, Exit.UNKNOWN)
            # A stranger's signal ends QEMU in peace, and libvirt calls that a shutdown.
            ends.append(Exit.DESTROYED if signalled and end is Exit.GUEST_SHUTDOWN else end)
    if open_run:
        ends.append(Exit.UNKNOWN)
    return ends[-1] if ends else None
