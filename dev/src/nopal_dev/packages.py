# SPDX-License-Identifier: Apache-2.0
"""The Debian packages that a cluster needs; installs what is missing."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

from nopal_dev.commands import run
from nopal_dev.errors import CommandError, DevError

PACKAGES = (
    # hosts
    *("libvirt-daemon-system", "libvirt-daemon-driver-qemu", "libvirt-clients"),
    *("qemu-system-x86", "qemu-utils", "qemu-block-extra", "python3-libvirt"),
    # storage
    *("ceph-mon", "ceph-mgr", "ceph-osd", "ceph-common", "python3-rados", "python3-rbd"),
    # networks
    *("iproute2", "dnsmasq-base", "nftables", "procps", "util-linux"),
    # the Debian guest
    *("mmdebstrap", "extlinux", "e2fsprogs", "linux-image-cloud-amd64", "busybox-static"),
    # the virtual environment
    *("python3-venv", "libvirt-dev", "pkg-config", "git"),
)
"""Everything, as installed with ``--no-install-recommends``."""


def missing() -> list[str]:
    """The packages of the list that are not installed.

    Raises:
        DevError: This is not Debian or one of its kind.
    """
    if shutil.which("dpkg-query") is None:
        raise DevError(
            "this is not Debian or Ubuntu (no dpkg-query): install by hand what provides"
            f" {' '.join(PACKAGES)}"
        )
    form = "${Package} ${db:Status-Status}\\n"
    listed = run(["dpkg-query", "-W", "-f", form, *PACKAGES], check=False)
    installed = {line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}
    return [name for name in PACKAGES if name not in installed]


def install(say: Callable[[str], None] = lambda _line: None) -> None:
    """Install what is missing.

    Raises:
        DevError: Something is missing and this is not root.
        CommandError: apt-get failed; its own words say why.
    """
    wanted = missing()
    if not wanted:
        return
    if os.geteuid() != 0:
        raise DevError(f"not root, so please run: sudo apt-get install {' '.join(wanted)}")
    if shutil.which("apt-get") is None:
        raise DevError(f"no apt-get here, so please install {' '.join(wanted)}")
    say(f"installing {len(wanted)} Debian packages: {' '.join(wanted)}")
    # Postinst scripts must not start the machine's own daemons where nothing manages them.
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], env=env, timeout=600.0, check=False)
    _follow(["apt-get", "install", "-qy", "--no-install-recommends", *wanted], env, say)


def _follow(argv: list[str], env: dict[str, str], say: Callable[[str], None]) -> None:
    """Run apt-get, telling each package as it is set up."""
    lines: list[str] = []
    with subprocess.Popen(
        argv,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            if line.startswith("Setting up "):
                say(line.strip())
    if process.returncode != 0:
        raise CommandError(argv, f"status {process.returncode}", "".join(lines[-20:]))


if __name__ == "__main__":
    # Before there is a virtual environment: this module needs nothing but Python itself.
    try:
        install(lambda line: print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True))
    except DevError as error:
        sys.exit(f"nopal_dev: {error}")
