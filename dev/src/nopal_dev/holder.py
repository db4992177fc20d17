# SPDX-License-Identifier: Apache-2.0
"""Keeps the mount and UTS namespace of a host alive: the first process in it, and the smallest.

Run inside fresh namespaces as ``python -m nopal_dev.holder FOLDER NAME``. It binds the
host's own folders over those of the machine, names the host, writes FOLDER/ready and sleeps.
"""

import os
import socket
import sys
from pathlib import Path

from nopal_dev.commands import run

PRIVATE = (
    "/run/libvirt",
    "/var/lib/libvirt",
    "/var/log/libvirt",
    "/var/cache/libvirt",
    "/etc/libvirt",
)
"""What every host has for itself."""


def private(folder: Path, path: str) -> Path:
    """Where a host's own version of a path of PRIVATE lies."""
    return folder / path.strip("/").replace("/", "-")


def hold(folder: Path, name: str) -> None:
    """Make this process's namespaces those of the host, and stay."""
    socket.sethostname(name)
    for path in PRIVATE:
        own = private(folder, path)
        own.mkdir(parents=True, exist_ok=True)
        Path(path).mkdir(parents=True, exist_ok=True)
        run(["mount", "--bind", str(own), path])
    for path in ("/etc/hosts", "/etc/hostname"):
        own = private(folder, path)
        if own.exists():
            run(["mount", "--bind", str(own), path])
    (folder / "ready").write_text(str(os.getpid()))
    os.execvp("sleep", ["sleep", "infinity"])  # noqa: S606 - becomes sleep on purpose


if __name__ == "__main__":
    hold(Path(sys.argv[1]), sys.argv[2])
