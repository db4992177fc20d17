# SPDX-License-Identifier: Apache-2.0
"""What only a real libvirt, QEMU and Ceph can show."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nopal_dev.bootsector import BootSector
from nopal_node.hypervisor import kvm_probe
from nopal_node.hypervisor.base import DomainState, Exit
from nopal_node.hypervisor.domain_metadata import parse_ownership
from nopal_node.hypervisor.libvirt_hypervisor import LibvirtHypervisor
from nopal_runtime.errors import TerminalError, TransientError
from support.hypervisors import RealBench, new_uid, until

pytestmark = pytest.mark.real


@pytest.fixture
def hypervisor(real_bench: RealBench) -> Iterator[LibvirtHypervisor]:
    running = real_bench.daemon()
    yield running
    running.close()


def test_facts(hypervisor: LibvirtHypervisor) -> None:
    facts = hypervisor.facts()
    assert facts.libvirt_version.count(".") == 2
    assert facts.qemu_version.count(".") == 2
    assert not facts.kvm
    assert "NOPAL_ACCELERATION" in facts.kvm_message
    # lm and sse2 are behind the name of libvirt's model, and not in what differs from it.
    assert {"lm", "sse2", "avx2"} <= {*facts.cpu_features}


def test_the_probe_decides_in_bounded_time() -> None:
    """Where KVM is good, guests run on it; where it is not, the message says why."""
    message = kvm_probe.probe(timeout=60)
    assert "does not start" not in message
    assert kvm_probe.probe(timeout=0.001).startswith("a guest on /dev/kvm hangs")


def test_the_guest_writes_to_its_disk(real_bench: RealBench, hypervisor: LibvirtHypervisor) -> None:
    uid = new_uid()
    hypervisor.start(real_bench.spec(uid))
    assert until(lambda: (real_bench.counter(uid) or 0) > 2, "the counter on the disk moves")


def test_the_live_domain(real_bench: RealBench, hypervisor: LibvirtHypervisor) -> None:
    """Transient, never started by libvirt itself, and whose it is stands in the live XML."""
    uid = new_uid()
    spec = replace(real_bench.spec(uid, epoch=7), cpu_features=("avx2",))
    hypervisor.start(spec)
    with real_bench.connection() as connection:
        domain = connection.lookupByUUIDString(uid)
        assert not domain.isPersistent()
        assert parse_ownership(domain.XMLDesc()) == spec.ownership
        assert "<feature policy='require' name='avx2'/>" in domain.XMLDesc()
        assert [s for s in connection.listAllSecrets() if uid in s.usageID()] == []


def test_the_key_is_on_no_command_line(
    real_bench: RealBench, hypervisor: LibvirtHypervisor
) -> None:
    uid = new_uid()
    spec = real_bench.spec(uid)
    domain = hypervisor.start(spec)
    line = Path(f"/proc/{domain.pid}/cmdline").read_text()
    log = real_bench.folders.qemu_log(f"nopal-{uid}").read_text()
    assert uid in line
    assert spec.disks[0].key not in line
    assert spec.disks[0].key not in log


def test_a_guest_that_powers_itself_off(
    real_bench: RealBench, hypervisor: LibvirtHypervisor
) -> None:
    uid = new_uid()
    real_bench.write_image(f"contract-{uid}", BootSector(ticks=1, power_off_after=3).code())
    hypervisor.start(real_bench.spec(uid))
    until(lambda: hypervisor.domain(uid) is None, "the guest is down")
    assert hypervisor.last_exit(uid) is Exit.GUEST_SHUTDOWN
    assert real_bench.counter(uid) == 3


def test_a_signal_is_not_the_guests_will(
    real_bench: RealBench, hypervisor: LibvirtHypervisor
) -> None:
    """QEMU that gets SIGTERM ends in peace, and libvirt calls it a shutdown."""
    uid = new_uid()
    hypervisor.start(real_bench.spec(uid))
    real_bench.terminate_qemu(uid)
    until(lambda: hypervisor.domain(uid) is None, "the domain is gone")
    # The events come by another thread, and QEMU's last words reach the log through a pipe.
    until(lambda: hypervisor.last_exit(uid) is Exit.DESTROYED, "the exit is known")
    later = real_bench.daemon()
    until(lambda: later.last_exit(uid) is Exit.DESTROYED, "the log tells it as well")
    later.close()


def test_a_missing_bridge_is_no_exit(real_bench: RealBench, hypervisor: LibvirtHypervisor) -> None:
    uid = new_uid()
    spec = real_bench.spec(uid)
    nowhere = replace(spec, interfaces=(replace(spec.interfaces[0], bridge="br-absent"),))
    with pytest.raises(TransientError) as refused:
        hypervisor.start(nowhere)
    assert refused.value.reason == "StartFailed"
    assert "br-absent" in refused.value.message
    assert hypervisor.domain(uid) is None
    assert hypervisor.last_exit(uid) is None
    later = real_bench.daemon()
    assert later.last_exit(uid) is None
    later.close()
    assert hypervisor.start(spec).state is DomainState.RUNNING


def test_a_missing_image_is_no_exit(real_bench: RealBench, hypervisor: LibvirtHypervisor) -> None:
    uid = new_uid()
    with pytest.raises(TransientError) as refused:
        hypervisor.start(real_bench.spec_with(uid, "absent"))
    assert refused.value.reason == "StartFailed"
    assert "No such file or directory" in refused.value.message
    assert hypervisor.last_exit(uid) is None
    hypervisor.forget(uid)
    assert real_bench.leftovers(uid) == []


def test_a_wrong_key_is_told_and_not_shown(
    real_bench: RealBench, hypervisor: LibvirtHypervisor
) -> None:
    uid = new_uid()
    spec = real_bench.spec(uid)
    broken = replace(spec, disks=(replace(spec.disks[0], key="not base64!"),))
    with pytest.raises(TerminalError) as refused:
        hypervisor.start(broken)
    assert refused.value.reason == "InvalidKey"
    assert "not base64!" not in str(refused.value)


def test_a_frozen_libvirtd_is_noticed(real_bench: RealBench, hypervisor: LibvirtHypervisor) -> None:
    """A libvirtd that hangs holds nobody for ever: keepalive gives it up."""
    assert hypervisor.domains() is not None
    with real_bench.libvirtd_frozen():
        before = time.monotonic()
        with pytest.raises(TransientError) as refused:
            hypervisor.domains()
        assert refused.value.reason == "HypervisorUnreachable"
        assert time.monotonic() - before < 60
    until(lambda: _answers(hypervisor), "the connection is back")


def test_everything_is_looked_at_again_when_libvirtd_has_settled(
    real_bench: RealBench, hypervisor: LibvirtHypervisor
) -> None:
    """A libvirtd that finds a domain dead while it starts sends no event of it."""
    uid = new_uid()
    hypervisor.start(real_bench.spec(uid))
    real_bench.stop_libvirt()
    real_bench.kill_qemu(uid)
    heard: list[str] = []
    hypervisor.subscribe(heard.append)
    real_bench.start_libvirt()
    until(lambda: heard.count("") >= 2, "the subscriber is told twice")
    assert hypervisor.domain(uid) is None


def test_a_disk_that_refuses_pauses_the_guest(
    real_bench: RealBench, hypervisor: LibvirtHypervisor
) -> None:
    uid = new_uid()
    heard: list[str] = []
    hypervisor.start(real_bench.spec(uid))
    hypervisor.subscribe(heard.append)
    until(lambda: (real_bench.counter(uid) or 0) > 0, "the guest writes")
    heard.clear()
    with real_bench.disk_fenced(uid):
        until(lambda: _paused_by_its_disk(hypervisor, uid), "the guest is paused")
        until(lambda: uid in heard, "the subscriber hears of it")
        hypervisor.resume(uid)
        # Ceph never lets this client write again: the same error comes back.
        until(lambda: _paused_by_its_disk(hypervisor, uid), "the guest is paused again")
    hypervisor.destroy(uid)
    assert hypervisor.last_exit(uid) is Exit.DESTROYED


def test_consoles_are_rotated_and_all_removed(
    real_bench: RealBench, hypervisor: LibvirtHypervisor
) -> None:
    uid = new_uid()
    hypervisor.start(real_bench.spec(uid))
    console = Path(hypervisor.console_log(uid))
    until(lambda: b"nopal: boot" in console.read_bytes(), "the guest has booted")
    hypervisor.destroy(uid)
    # As virtlogd names them (max_backups, /etc/libvirt/virtlogd.conf).
    for number in range(3):
        console.with_name(f"{console.name}.{number}").write_text("older")
    hypervisor.forget(uid)
    assert real_bench.leftovers(uid) == []


def test_folders_of_a_start_that_libvirtd_did_not_survive_are_removed(
    real_bench: RealBench, hypervisor: LibvirtHypervisor
) -> None:
    uid, other = new_uid(), new_uid()
    qemu = real_bench.folders.lib / "qemu"
    # As seen after kill -9 of libvirtd between these folders and the QEMU process.
    for folder in (qemu, qemu / "channel" / "target"):
        for each in (uid, other):
            left = folder / f"domain-7-nopal-{each[:14]}"
            left.mkdir()
            (left / "master-key.aes").write_bytes(b"x" * 32)

    hypervisor.forget(uid)

    assert real_bench.leftovers(uid) == []
    assert len(real_bench.leftovers(other)) == 2
    hypervisor.forget(other)


def _paused_by_its_disk(hypervisor: LibvirtHypervisor, uid: str) -> bool:
    domain = hypervisor.domain(uid)
    assert domain is not None
    return domain.io_error and domain.state is DomainState.PAUSED


def _answers(hypervisor: LibvirtHypervisor) -> bool:
    try:
        hypervisor.domains()
    except TransientError:
        return False
    return True
