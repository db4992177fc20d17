# SPDX-License-Identifier: Apache-2.0
"""The real guest: Debian 12 with cloud-init and qemu-guest-agent, made on the spot.

The whole disk is one ext4 without a partition table, booted by extlinux: nothing to align, and
cloud-init grows it with the disk. The console is the serial port. cloud-init asks NoCloud only and
runs few modules, so that a guest under emulation is done in about a minute.
"""

import hashlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nopal_dev.cache import cache_dir, cached
from nopal_dev.commands import run
from nopal_dev.errors import CommandError

_SUITE = "bookworm"
_SIZE = "1600M"
_LABEL = "nopal-root"
_FEATURES = "^64bit,^metadata_csum"  # extlinux reads no newer ext4
_PACKAGES = (
    *("linux-image-cloud-amd64", "systemd-sysv", "udev", "dbus", "kmod", "initramfs-tools"),
    *("cloud-init", "qemu-guest-agent", "iproute2", "iputils-ping", "e2fsprogs", "zstd"),
)
_LEFT_OUT = ("doc", "man", "info", "locale", "lintian", "bug", "i18n")
_KERNEL_OPTIONS = (
    f"root=LABEL={_LABEL} ro console=ttyS0,115200 quiet systemd.show_status=true"
    " net.ifnames=0 mitigations=off panic=1"
)

_EXTLINUX = f"""\
DEFAULT linux
PROMPT 0
TIMEOUT 0
LABEL linux
  LINUX /vmlinuz
  INITRD /initrd.img
  APPEND {_KERNEL_OPTIONS}
"""

_CLOUD = """\
# Made by nopal_dev: one datasource and few modules, for a quick boot under emulation.
datasource_list: [NoCloud]
disable_root: false
users: []
cloud_init_modules: [bootcmd, write-files, resizefs, set_hostname, users-groups]
cloud_config_modules: [set-passwords, runcmd]
cloud_final_modules: [scripts-user, final-message]
system_info:
  network: {renderers: [networkd]}
"""

# Without an address the guest goes on after a while: systemd's own patience is 2 minutes.
_WAIT_ONLINE = """\
[Service]
ExecStart=
ExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=20
"""

_FILES = {
    "etc/systemd/system/systemd-networkd-wait-online.service.d/nopal.conf": _WAIT_ONLINE,
    "etc/fstab": f"LABEL={_LABEL} / ext4 errors=remount-ro 0 1\n",
    "etc/hostname": "debian\n",
    "etc/cloud/cloud.cfg.d/90_nopal.cfg": _CLOUD,
    "boot/extlinux/extlinux.conf": _EXTLINUX,
}
# Before the kernel is installed: a small initramfs with just what a virtual machine has.
_EARLY_FILES = {
    "etc/initramfs-tools/conf.d/nopal": "MODULES=list\nCOMPRESS=zstd\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
    "etc/kernel-img.conf": "do_symlinks=yes\n",
}
_MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer")


@dataclass(frozen=True, slots=True)
class GuestImage:
    """A file to serve: an image and what an Image object must say of it."""

    path: Path
    sha256: str
    format: str = "qcow2"


def debian_guest(say: Callable[[str], None] = lambda _line: None) -> GuestImage:
    """Give the Debian guest's qcow2, making it first if the cache has none (2 minutes, root only).

    Args:
        say: Is told what is being done.

    Raises:
        CommandError: A step failed; it shows that step's own words.
    """
    recipe = hashlib.sha256(repr(_recipe()).encode()).hexdigest()[:16]
    folder = cached(cache_dir() / "guest" / f"debian-12-{recipe}", lambda draft: _make(draft, say))
    path = folder / "debian-12.qcow2"
    return GuestImage(path=path, sha256=(folder / "sha256").read_text().strip())


def _recipe() -> tuple[object, ...]:
    """All that decides what the image is: another recipe is another entry of the cache."""
    return (_SUITE, _SIZE, _LABEL, _PACKAGES, _LEFT_OUT, _FILES, _EARLY_FILES, _MASKED, _FEATURES)


def _make(draft: Path, say: Callable[[str], None]) -> None:
    root = draft / "root"
    early = draft / "early"
    _write(early, _EARLY_FILES)
    say(f"mmdebstrap: Debian {_SUITE} with {len(_PACKAGES)} packages and what they need")
    _bootstrap(root, early, say)
    _write(root, _FILES)
    say("making the disk")
    raw = draft / "disk.raw"
    make = ["mke2fs", "-q", "-t", "ext4", "-O", _FEATURES, "-L", _LABEL, "-d", str(root)]
    run([*make, str(raw), _SIZE], timeout=600.0)
    # The mount is in a namespace of its own: it goes away with the command, however that ends.
    mount = draft / "mount"
    mount.mkdir()
    install = 'mount -o loop "$1" "$2" && extlinux --install "$2/boot/extlinux" && umount "$2"'
    run([*_CONTAINED, "sh", "-ec", install, "sh", str(raw), str(mount)], timeout=120.0)
    say("converting it to qcow2")
    image = draft / "debian-12.qcow2"
    run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(image)], timeout=600.0)
    with image.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    (draft / "sha256").write_text(f"{digest}\n")
    raw.unlink()
    run(["rm", "-rf", "--one-file-system", str(root), str(early), str(mount)])


# Everything below dies with this process, even after kill -9, and leaves no mount.
_CONTAINED = (
    *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"),
    *("--mount-proc", "--"),
)


def _bootstrap(root: Path, early: Path, say: Callable[[str], None]) -> None:
    excludes = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    argv = [
        *(*_CONTAINED, "mmdebstrap", "--mode=root", "--variant=minbase"),
        f"--include={','.join(_PACKAGES)}",
        '--aptopt=APT::Install-Recommends "false"',
        *excludes,
        f"--essential-hook=copy-in {early}/etc /",
        f'--customize-hook=chroot "$1" systemctl mask {" ".join(_MASKED)}',
        '--customize-hook=chroot "$1" systemctl enable systemd-networkd',
        '--customize-hook=chroot "$1" passwd -d root',
        *(_SUITE, str(root), *_own_sources()),
    ]
    lines: list[str] = []
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            if line.startswith("I: ") and "hook" not in line:
                say(line[3:].strip())
    if process.returncode != 0:
        raise CommandError(argv, f"status {process.returncode}", "".join(lines[-20:]))


def _own_sources() -> list[str]:
    """The machine's own package sources, if it is of the same release: they surely work."""
    release = Path("/etc/os-release").read_text()
    if f"VERSION_CODENAME={_SUITE}" not in release:
        return []
    candidates = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
    return [each for each in candidates if Path(each).exists() and os.path.getsize(each)][:1]


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
