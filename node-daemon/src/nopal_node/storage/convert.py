# SPDX-License-Identifier: Apache-2.0
"""Runs qemu-img convert from RBD to RBD in the sandbox."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nopal_runtime.ceph.connection import CephAccess
from nopal_runtime.errors import NopalError, TerminalError, TransientError

from .limits import ImportLimits
from .sandbox import FAILED

_CONF = "/etc/ceph/ceph.conf"
"""A path inside the sandbox."""

_PERCENT = re.compile(rb"\((\d+)\.\d+/100%\)")
_ERROR_BYTES = 4096
_NO_MEMORY = re.compile(
    # strerror(ENOMEM), GLib, C++, coreutils, the loader, a thread that got no stack
    "Cannot allocate memory|failed to allocate|bad_alloc|memory exhausted|failed to map segment"
    "|Resource temporarily unavailable"
)


@dataclass(frozen=True, slots=True)
class RbdImage:
    """An RBD image as qemu-img reaches it."""

    access: CephAccess
    pool: str
    namespace: str
    image: str

    def node(self) -> dict[str, str]:
        """Return the block driver's options. The key is in the sandbox's ceph.conf only."""
        options = {
            "driver": "rbd",
            "pool": self.pool,
            "image": self.image,
            "user": self.access.user,
            "conf": _CONF,
        }
        return {**options, "namespace": self.namespace} if self.namespace else options


async def convert(
    source: RbdImage,
    target: RbdImage,
    *,
    limits: ImportLimits,
    progress: Callable[[int], None],
) -> None:
    """Convert the qcow2 file in source into the raw image target, which exists and is all zeros.

    Raises TerminalError (FormatMismatch, ConversionTooSlow) or TransientError (ConversionKilled,
    SandboxFailed, QemuImgMissing).
    """
    program = shutil.which("qemu-img")
    if program is None:
        raise TransientError("QemuImgMissing", "qemu-img is not installed: apt install qemu-utils")
    # Formats are named, never probed; no backing file whatever the header says.
    reading = {"driver": "qcow2", "backing": None, "file": source.node()}
    argv = [
        "qemu-img",
        "convert",
        "-p",
        "-n",
        "--target-is-zero",
        "-O",
        "raw",
        f"json:{json.dumps(reading)}",
        f"json:{json.dumps({'driver': 'raw', 'file': target.node()})}",
    ]
    conf = "".join(f"{key} = {value}\n" for key, value in source.access.conf().items())
    await run_in_sandbox(
        program, argv, files={_CONF: f"[global]\n{conf}"}, limits=limits, progress=progress
    )


async def run_in_sandbox(
    program: str,
    argv: list[str],
    *,
    files: Mapping[str, str],
    limits: ImportLimits,
    progress: Callable[[int], None],
) -> None:
    """Run a tool in the sandbox; it is gone when this returns, raises or is cancelled."""
    seconds = int(limits.convert_seconds)
    orders = {
        "program": program,
        "argv": argv,
        "files": dict(files),
        "parent": os.getpid(),
        "limits": {
            "AS": limits.sandbox_memory,
            # All its threads together.
            "CPU": max(4 * seconds, 4),
            "FSIZE": 0,
            "NOFILE": 8192,
        },
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(Path(__file__).with_name("sandbox.py")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(limits.convert_seconds):
            said = await _talk(process, json.dumps(orders).encode(), progress)
            status = await process.wait()
    except TimeoutError as error:
        raise _too_slow(limits) from error
    finally:
        await _end(process)
    if status != 0:
        raise _problem(status, said, limits)


async def _talk(
    process: asyncio.subprocess.Process, orders: bytes, progress: Callable[[int], None]
) -> str:
    """Give the orders, follow the progress, and return the end of what it says on stderr."""
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    if stdin is None or stdout is None or stderr is None:
        raise TransientError("SandboxFailed", "the sandbox has no pipes")
    with suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(orders)
        await stdin.drain()
    stdin.close()

    async def follow(stream: asyncio.StreamReader) -> None:
        while piece := await stream.read(1024):
            for percent in _PERCENT.findall(piece)[-1:]:
                progress(int(percent))

    async def keep(stream: asyncio.StreamReader) -> bytes:
        kept = b""
        while piece := await stream.read(_ERROR_BYTES):
            kept = (kept + piece)[-_ERROR_BYTES:]
        return kept

    _, said = await asyncio.gather(follow(stdout), keep(stderr))
    return said.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill its whole process group and wait for it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _too_slow(limits: ImportLimits) -> TerminalError:
    return TerminalError(
        "ConversionTooSlow",
        f"its conversion was not done within {limits.convert_seconds:g} s: convert it to raw"
        " beforehand, or raise node.imports.convertSeconds and make the Image anew",
    )


def _problem(status: int, output: str, limits: ImportLimits) -> NopalError:
    lines = output.strip().splitlines()
    said = "".join(c for c in (lines[-1] if lines else "") if c.isprintable())[:300]
    if status == FAILED:
        return TransientError(
            "SandboxFailed",
            f"qemu-img was not run because its sandbox could not be made ({said}): the daemon needs"
            " root and CAP_SYS_ADMIN",
        )
    if status == -signal.SIGXCPU:
        return _too_slow(limits)
    if status == -signal.SIGKILL:
        return TransientError("ConversionKilled", "qemu-img was killed: see the host's memory")
    if _NO_MEMORY.search(output):
        return TransientError(
            "ConversionKilled",
            f"qemu-img ran out of memory, of which it gets {limits.sandbox_memory >> 20} MiB: see"
            " the host's memory, or convert the image to raw beforehand",
        )
    if "Unknown driver 'rbd'" in said:
        return TransientError(
            "QemuImgMissing", "qemu-img cannot open RBD images: apt install qemu-block-extra"
        )
    if status < 0:
        said = f"it ended by {signal.Signals(-status).name} {said}".rstrip()
    return TerminalError("FormatMismatch", f"qemu-img cannot convert the image: {said}")
