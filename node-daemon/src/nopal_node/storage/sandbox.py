# SPDX-License-Identifier: Apache-2.0
"""Becomes a tool that opens hostile files: no host files, no privileges, bounded resources.

Run as a script of its own (`python -I sandbox.py`), with its orders as JSON on standard input, so
that no secret is ever on a command line. Imports nothing of ours: it must start in milliseconds.

In a mount namespace of its own the root is an empty tmpfs, with only what the tool needs: its
binary, the system's libraries, read-only. Then an unprivileged user, no new privileges, limits, and
the parent's death is its own.
"""

import contextlib
import ctypes
import glob
import json
import os
import resource
import signal
import sys

FAILED = 125
"""Exit status when the sandbox itself could not be made; the tool never ran."""

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 1, 2, 4, 32
_MS_BIND, _MS_MOVE, _MS_REC, _MS_PRIVATE = 4096, 8192, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_NOBODY = 65534

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def main() -> None:
    """Read the orders and become the tool; exits with FAILED if that cannot be."""
    try:
        orders = json.loads(sys.stdin.buffer.read())
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        _enter(orders["program"], orders["files"])
        _limit(orders["limits"])
        _drop(orders["parent"])
    except (OSError, KeyError, ValueError) as error:
        print(f"sandbox: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(FAILED)
    try:
        os.execve(orders["program"], orders["argv"], {"LC_ALL": "C", "MALLOC_ARENA_MAX": "2"})  # noqa: S606
    except OSError as error:
        print(f"sandbox: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(FAILED)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = [word.encode() or None for word in (source, target, kind)]
    _checked(_libc.mount(*words, flags, data.encode() or None), f"mount {target}")


def _bind(path: str, root: str) -> None:
    """Show a host's file or folder read-only at the same path."""
    target = root + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb"):
            pass
    _mount(path, target, "", _MS_BIND)
    devices = 0 if path.startswith("/dev/") else _MS_NODEV
    _mount("", target, "", _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | devices)


def _enter(program: str, files: dict[str, str]) -> None:
    """Make the root and move into it."""
    _checked(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC), "unshare")
    _mount("", "/", "", _MS_REC | _MS_PRIVATE)
    root = "/tmp"  # noqa: S108 (any folder that exists; covered by the tmpfs)
    drivers = glob.glob("/usr/lib*/qemu*/block-rbd.so") + glob.glob("/usr/lib/*/qemu/block-rbd.so")
    os.chdir("/")
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=4m")
    for name in sorted(os.listdir("/")):
        # /lib and its like are links into /usr wherever that is merged.
        if name.startswith("lib"):
            if os.path.islink(f"/{name}"):
                os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
            else:
                _bind(f"/{name}", root)
    for name in sorted(os.listdir("/usr")):
        if name.startswith("lib") and name != "libexec":
            _bind(f"/usr/{name}", root)
    for driver in drivers:
        _only(driver, root)
    _bind(program, root)
    for path in ("/dev/null", "/dev/random", "/dev/urandom"):
        _bind(path, root)
    for path in ("/etc/ld.so.cache", "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"):
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            files.setdefault(path, file.read().decode("latin-1"))
    for path, content in files.items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        with open(root + path, "wb") as file:
            file.write(content.encode("latin-1"))
    _mount("", root, "", _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    os.chdir(root)
    _mount(".", "/", "", _MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def _only(driver: str, root: str) -> None:
    """Hide every block driver module but one: qemu-img cannot speak HTTP, SSH or NFS then."""
    folder = os.path.dirname(driver)
    _mount("tmpfs", root + folder, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=64k")
    with open(root + driver, "wb"):
        pass
    _mount(driver, root + driver, "", _MS_BIND)
    _mount("", root + driver, "", _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def _limit(limits: dict[str, int]) -> None:
    """Set limits such as {"AS": bytes, "CPU": seconds}."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, value in limits.items():
        # Where both are the same, the kernel sends SIGKILL for the CPU time and never SIGXCPU.
        hard = value + 1 if name == "CPU" else value
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, hard))


def _drop(parent: int) -> None:
    """Give up every privilege for good."""
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _checked(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")
    # After the change of user, which clears it.
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        raise OSError("the parent is gone")


if __name__ == "__main__":
    main()
