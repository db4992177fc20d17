# SPDX-License-Identifier: Apache-2.0
"""The second wall: what qemu-img could do to the host if an image got past our own parser."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from nopal_node.reconcile.image import is_final
from nopal_node.storage.convert import RbdImage, convert, run_in_sandbox
from nopal_node.storage.limits import ImportLimits
from nopal_node.storage.rbd_pool import RbdPool
from nopal_node.storage.rbd_staging import RbdStaging
from nopal_node.storage.staging import build_name, scratch_name
from nopal_runtime.ceph.connection import CephAccess, CephConnection
from nopal_runtime.errors import NopalError, TerminalError, TransientError
from support import qcow2
from support.fileserver import content, file_server
from support.storage import LIMITS, MIB, CephBackend, image_job, uid

pytestmark = pytest.mark.real

HASTY = replace(LIMITS, convert_seconds=0.01)
SECRET = b"a secret of the host " * 4000
ATTACKS = {"backing file": qcow2.with_backing_file, "data file": qcow2.with_data_file}


@pytest.fixture
def host_file() -> Iterator[Path]:
    """A file that everybody on the host may read."""
    folder = Path("/var/tmp") / f"nopal-test-{uid()}"
    folder.mkdir(mode=0o755)
    path = folder / "secret"
    path.write_bytes(SECRET)
    yield path
    path.unlink()
    folder.rmdir()


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_attack_works_without_the_sandbox(host_file: Path, tmp_path: Path, attack: str) -> None:
    image, out = tmp_path / "image", tmp_path / "out"
    image.write_bytes(ATTACKS[attack](str(host_file)))
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, out], check=True)
    assert SECRET[:1000] in out.read_bytes()


@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_attack_finds_nothing_in_the_sandbox(
    ceph: CephBackend, host_file: Path, attack: str
) -> None:
    data = ATTACKS[attack](str(host_file))
    source, target = f"image-{uid()}.1.scratch", f"image-{uid()}.1"
    ceph.plant(source, MIB)
    ceph.write(source, data)
    ceph.plant(target, MIB)
    try:
        with suppress(NopalError):  # a backing file is ignored, a data file cannot be opened
            await convert(
                _image(ceph, source), _image(ceph, target), limits=LIMITS, progress=lambda _: None
            )
        assert ceph.read(target, 0, MIB) == bytes(MIB)
    finally:
        ceph.remove(source)
        ceph.remove(target)


async def test_a_broken_file_is_told_as_such(ceph: CephBackend) -> None:
    """Clusters that lie outside the file: only qemu-img notices."""
    source, target = f"image-{uid()}.1.scratch", f"image-{uid()}.1"
    ceph.plant(source, MIB)
    ceph.write(source, qcow2.image(b"x" * MIB)[: 3 * qcow2.CLUSTER] + b"\xff" * qcow2.CLUSTER)
    ceph.plant(target, MIB)
    try:
        with pytest.raises(TerminalError, match="FormatMismatch"):
            await convert(
                _image(ceph, source), _image(ceph, target), limits=LIMITS, progress=lambda _: None
            )
    finally:
        ceph.remove(source)
        ceph.remove(target)


async def shell(script: str, limits: ImportLimits = LIMITS) -> str:
    """Run a shell in the sandbox and return the last that it said."""
    argv = ["sh", "-c", f"{script}; exit 1"]
    with pytest.raises(TerminalError) as said:
        await run_in_sandbox(
            "/usr/bin/dash", argv, files={}, limits=limits, progress=lambda _: None
        )
    return said.value.message


async def test_the_host_is_not_there() -> None:
    root = (await shell("echo root is: /* >&2")).split("root is: ")[1].split()
    assert {"/dev", "/etc", "/usr"} <= set(root)
    assert {path for path in root if not path.startswith("/lib")} == {"/dev", "/etc", "/usr"}
    etc = (await shell("echo etc is: /etc/* >&2")).split("etc is: ")[1].split()
    assert {Path(path).name for path in etc} <= {
        "ld.so.cache",
        "resolv.conf",
        "hosts",
        "nsswitch.conf",
    }
    assert "/usr/bin/dash" in (await shell("echo usr is: /usr/bin/* >&2")).split()
    assert "python" not in await shell("echo usr is: /usr/bin/* >&2")


async def test_only_one_block_driver_module_is_there() -> None:
    said = await shell("echo drivers: /usr/lib/*/qemu/block-*.so /usr/lib/qemu/block-*.so >&2")
    assert "block-rbd.so" in said
    for driver in ("block-curl", "block-ssh", "block-nfs", "block-iscsi"):
        assert driver not in said


async def test_it_has_no_privileges() -> None:
    assert "write: no" in await shell("[ -w / ] || echo write: no >&2")
    assert "kill: no" in await shell("kill -0 1 2>/dev/null || echo kill: no >&2")
    assert "file: no" in await shell(
        "(echo x > /dev/shm/x || echo x > /x) 2>/dev/null || echo file: no >&2"
    )


async def test_its_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    assert "A_SECRET" not in await shell("export -p >&2")
    assert "set: no" in await shell('[ -z "$A_SECRET" ] && echo set: no >&2')


async def test_its_memory_is_bounded() -> None:
    limits = replace(LIMITS, sandbox_memory=256 * MIB)
    argv = ["dd", "if=/dev/urandom", "of=/dev/null", "bs=1G", "count=1"]
    with pytest.raises(TransientError, match="ran out of memory, of which it gets 256 MiB") as end:
        await run_in_sandbox("/usr/bin/dd", argv, files={}, limits=limits, progress=lambda _: None)
    assert end.value.reason == "ConversionKilled"


@pytest.mark.parametrize("memory", [24, 160])
async def test_a_conversion_without_memory_is_not_the_files_fault(
    ceph: CephBackend, memory: int
) -> None:
    """Neither is enough to load the Ceph client."""
    with pytest.raises(TransientError) as end:
        await convert(
            _image(ceph, "source"),
            _image(ceph, "target"),
            limits=replace(LIMITS, sandbox_memory=memory * MIB),
            progress=lambda _: None,
        )
    assert end.value.reason == "ConversionKilled"


async def test_its_time_is_bounded() -> None:
    before = _children(os.getpid())
    with pytest.raises(TerminalError) as end:
        await _endless(replace(LIMITS, convert_seconds=1.0))
    assert end.value.reason == "ConversionTooSlow"
    assert _children(os.getpid()) <= before


async def test_a_conversion_that_takes_too_long_leaves_nothing(ceph: CephBackend) -> None:
    data = qcow2.image(b"x" * MIB)
    async with file_server() as server:
        job = image_job(server.serve("/x", content(data)), data, format="qcow2")
        with pytest.raises(TerminalError, match="convert it to raw beforehand") as end:
            await ceph.pool(limits=HASTY).fetch(job, progress=lambda _: None)
    assert end.value.reason == "ConversionTooSlow"
    assert ceph.left_of(job.image) == []


async def test_a_pool_that_became_full_is_no_slow_conversion(ceph: CephBackend) -> None:
    job = image_job("http://localhost/x", b"", format="qcow2")
    for name in (scratch_name(job), build_name(job)):
        ceph.plant(name, MIB)
    access = _image(ceph, "").access
    connection = CephConnection(access)
    staging = RbdStaging(RbdPool(connection, ceph.POOL), access, HASTY)
    try:
        with ceph.full(), pytest.raises(TransientError, match="PoolFull"):
            await staging.convert(job, virtual_size=MIB, progress=lambda _: None)
        with pytest.raises(TerminalError, match="ConversionTooSlow"):
            await staging.convert(job, virtual_size=MIB, progress=lambda _: None)
    finally:
        staging.clean(job)
        connection.close()


async def test_its_processor_time_is_bounded() -> None:
    """With another signal than that of the kernel when memory is short."""
    assert "first: SIGXCPU" in await shell(
        '[ "$(ulimit -S -t)" -lt "$(ulimit -H -t)" ] && echo first: SIGXCPU >&2'
    )


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -KILL $$", "ConversionKilled"),
        ("kill -XCPU $$", "ConversionTooSlow"),
        ("echo 'what():  std::bad_alloc' >&2; kill -ABRT $$", "ConversionKilled"),
        ("echo 'what():  Resource temporarily unavailable' >&2; exit 1", "ConversionKilled"),
        ("echo \"Could not open x: Unknown driver 'rbd'\" >&2; exit 1", "QemuImgMissing"),
        ("echo 'Assertion failed' >&2; kill -ABRT $$", "FormatMismatch"),
    ],
    ids=["killed", "time used up", "C++ memory", "no thread", "no module", "own fault"],
)
async def test_what_ends_it_is_told_apart(script: str, reason: str) -> None:
    argv = ["sh", "-c", script]
    with pytest.raises(NopalError) as end:
        await run_in_sandbox(
            "/usr/bin/dash", argv, files={}, limits=LIMITS, progress=lambda _: None
        )
    assert end.value.reason == reason
    assert isinstance(end.value, TransientError) != is_final(end.value)


async def test_cancelling_kills_it() -> None:
    before = _children(os.getpid())
    task = asyncio.create_task(_endless(LIMITS))
    async with asyncio.timeout(30):
        while not _shells(_children(os.getpid()) - before):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _children(os.getpid()) <= before


def test_it_dies_with_the_daemon() -> None:
    program = (
        "import asyncio\n"
        "from nopal_node.storage.convert import run_in_sandbox\n"
        "from nopal_node.storage.limits import ImportLimits\n"
        "asyncio.run(run_in_sandbox('/usr/bin/dash', ['sh', '-c', 'while :; do :; done'],"
        " files={}, limits=ImportLimits(), progress=lambda _: None))\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 30
    while not (shells := _shells(_children(daemon.pid))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    daemon.kill()
    daemon.wait()
    while any(_command(pid) for pid in shells):
        assert time.monotonic() < deadline, "it outlives the daemon"
        time.sleep(0.05)


async def test_without_the_means_it_is_not_run_at_all() -> None:
    with pytest.raises(TransientError, match="SandboxFailed"):
        await run_in_sandbox(
            "/nowhere/qemu-img", ["x"], files={}, limits=LIMITS, progress=lambda _: None
        )


async def _endless(limits: ImportLimits) -> None:
    argv = ["sh", "-c", "while :; do :; done"]
    await run_in_sandbox("/usr/bin/dash", argv, files={}, limits=limits, progress=lambda _: None)


def _children(pid: int) -> set[int]:
    found = set[int]()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that ended meanwhile
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def _shells(pids: set[int]) -> list[int]:
    return [pid for pid in pids if _command(pid).startswith("sh")]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _image(ceph: CephBackend, name: str) -> RbdImage:
    access = ceph.access()
    return RbdImage(
        access=CephAccess(
            fsid=access.fsid, monitors=access.monitors, user=access.user, key=access.key
        ),
        pool=access.pool,
        namespace="",
        image=name,
    )
