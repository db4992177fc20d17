# SPDX-License-Identifier: Apache-2.0
"""What every hypervisor does, the fake one and the real one alike."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nopal_node.hypervisor.base import STRAY_EPOCH, DomainState, Exit, Hypervisor
from nopal_runtime.errors import ConflictError, TransientError
from support.hypervisors import Bench, new_uid, ownership, until

Daemon = Callable[[], Hypervisor]


def gone(hypervisor: Hypervisor, uid: str) -> Callable[[], bool]:
    return lambda: hypervisor.domain(uid) is None


def test_start_tells_whose_the_domain_is(bench: Bench, hypervisor: Hypervisor) -> None:
    uid = new_uid()
    assert hypervisor.domain(uid) is None
    assert hypervisor.last_exit(uid) is None
    domain = hypervisor.start(bench.spec(uid, epoch=3))
    assert domain.ownership == ownership(uid, 3)
    assert domain.state is DomainState.RUNNING
    assert domain.pid is not None
    assert bench.qemu_runs(domain.pid)
    assert hypervisor.domain(uid) == domain
    assert hypervisor.domains()[uid] == domain
    assert hypervisor.last_exit(uid) is None


def test_a_guest_can_have_every_feature_that_the_host_reports(
    bench: Bench, hypervisor: Hypervisor
) -> None:
    features = hypervisor.facts().cpu_features
    assert "sse4.2" in features
    assert list(features) == sorted(set(features))
    assert hypervisor.facts().cpu_features == features, "steady: it goes into the Host's status"
    uid = new_uid()
    domain = hypervisor.start(replace(bench.spec(uid), cpu_features=features))
    assert domain.state is DomainState.RUNNING


def test_a_guest_does_not_start_without_its_features(bench: Bench, hypervisor: Hypervisor) -> None:
    assert "amx-tile" not in hypervisor.facts().cpu_features
    uid = new_uid()
    with pytest.raises(TransientError, match="amx-tile") as refused:
        hypervisor.start(replace(bench.spec(uid), cpu_features=("amx-tile", "sse4.2")))
    assert refused.value.reason == "StartFailed"
    assert "sse4.2" not in refused.value.message
    assert hypervisor.domain(uid) is None
    hypervisor.start(bench.spec(uid))


def test_start_again_is_the_same_domain(bench: Bench, hypervisor: Hypervisor) -> None:
    uid = new_uid()
    first = hypervisor.start(bench.spec(uid))
    assert hypervisor.start(bench.spec(uid)) == first


def test_start_at_another_epoch_is_refused(bench: Bench, hypervisor: Hypervisor) -> None:
    uid = new_uid()
    running = hypervisor.start(bench.spec(uid, epoch=2))
    for epoch in (1, 3):
        with pytest.raises(ConflictError) as refused:
            hypervisor.start(bench.spec(uid, epoch=epoch))
        assert refused.value.reason == "OtherEpoch"
    assert hypervisor.domain(uid) == running


def test_a_foreign_domain_is_never_touched(bench: Bench, hypervisor: Hypervisor) -> None:
    uid = new_uid()
    runs = bench.foreign_domain(uid)
    spec = bench.spec(uid)
    for touch in (
        lambda: hypervisor.domain(uid),
        lambda: hypervisor.start(spec),
        lambda: hypervisor.shutdown(uid),
        lambda: hypervisor.resume(uid),
        lambda: hypervisor.destroy(uid),
        lambda: hypervisor.forget(uid),
        lambda: hypervisor.last_exit(uid),
    ):
        with pytest.raises(ConflictError) as refused:
            touch()
        assert refused.value.reason == "ForeignDomain"
    assert uid not in hypervisor.domains()
    assert runs()


def test_absent_is_success(hypervisor: Hypervisor) -> None:
    uid = new_uid()
    hypervisor.shutdown(uid)
    hypervisor.resume(uid)
    hypervisor.destroy(uid)
    hypervisor.forget(uid)
    assert hypervisor.last_exit(uid) is None


def test_an_obedient_guest_shuts_down(bench: Bench, hypervisor: Hypervisor) -> None:
    uid = new_uid()
    hypervisor.start(bench.spec(uid))
    boot(bench, hypervisor, uid)
    # Pressed all the time, so also while the guest is on its way down.
    while hypervisor.domain(uid) is not None:
        hypervisor.shutdown(uid)
    assert hypervisor.last_exit(uid) is Exit.DESTROYED


def test_asking_again_while_it_goes_down(bench: Bench, hypervisor: Hypervisor) -> None:
    """Between the guest's last word and QEMU's end libvirt takes no requests: no failure."""
    uid = new_uid()
    hypervisor.start(bench.spec(uid))
    boot(bench, hypervisor, uid)

    def ask_and_look() -> bool:
        hypervisor.shutdown(uid)
        hypervisor.resume(uid)
        return hypervisor.domain(uid) is None

    until(ask_and_look, "the guest is down")
    assert hypervisor.last_exit(uid) is Exit.DESTROYED


def test_a_stubborn_guest_is_destroyed(bench: Bench, hypervisor: Hypervisor) -> None:
    uid = new_uid()
    domain = hypervisor.start(bench.spec(uid, obeys=False))
    boot(bench, hypervisor, uid)
    hypervisor.shutdown(uid)
    assert hypervisor.domain(uid) == domain
    hypervisor.destroy(uid)
    assert hypervisor.domain(uid) is None
    assert domain.pid is not None
    assert not bench.qemu_runs(domain.pid)
    assert hypervisor.last_exit(uid) is Exit.DESTROYED


@pytest.mark.parametrize("watched", [True, False], ids=["by event", "by record"])
def test_a_guest_that_powers_off(bench: Bench, daemon: Daemon, *, watched: bool) -> None:
    uid, hypervisor = new_uid(), daemon()
    hypervisor.start(bench.spec(uid))
    boot(bench, hypervisor, uid)
    if not watched:
        hypervisor.close()
    bench.guest_powers_off(uid)
    if not watched:
        hypervisor = daemon()
    until(gone(hypervisor, uid), "the guest is down")
    assert hypervisor.last_exit(uid) is Exit.GUEST_SHUTDOWN


@pytest.mark.parametrize("watched", [True, False], ids=["by event", "by record"])
def test_a_qemu_that_is_killed(bench: Bench, daemon: Daemon, *, watched: bool) -> None:
    uid, hypervisor = new_uid(), daemon()
    hypervisor.start(bench.spec(uid))
    if not watched:
        hypervisor.close()
    bench.kill_qemu(uid)
    if not watched:
        hypervisor = daemon()
    until(gone(hypervisor, uid), "the domain is gone")
    assert hypervisor.last_exit(uid) is Exit.CRASHED


def test_an_exit_is_of_the_last_run(bench: Bench, hypervisor: Hypervisor) -> None:
    uid = new_uid()
    hypervisor.start(bench.spec(uid))
    bench.kill_qemu(uid)
    until(gone(hypervisor, uid), "the domain is gone")
    hypervisor.start(bench.spec(uid))
    assert hypervisor.last_exit(uid) is None
    hypervisor.destroy(uid)
    assert hypervisor.last_exit(uid) is Exit.DESTROYED


def test_paused_by_somebody_is_left_so(bench: Bench, hypervisor: Hypervisor) -> None:
    uid = new_uid()
    hypervisor.start(bench.spec(uid))
    bench.pause(uid)
    hypervisor.resume(uid)
    domain = hypervisor.domain(uid)
    assert domain is not None
    assert domain.state is DomainState.PAUSED
    assert not domain.io_error


def test_a_domain_outlives_the_daemon(bench: Bench, daemon: Daemon) -> None:
    uid, first = new_uid(), daemon()
    domain = first.start(bench.spec(uid))
    first.close()
    second = daemon()
    assert second.domain(uid) == domain
    assert second.start(bench.spec(uid)) == domain


def test_a_domain_outlives_libvirtd(bench: Bench, hypervisor: Hypervisor) -> None:
    uid = new_uid()
    domain = hypervisor.start(bench.spec(uid))
    heard: list[str] = []
    hypervisor.subscribe(heard.append)
    bench.stop_libvirt()
    until(unknown(hypervisor, uid), "nobody can say anything")
    heard.clear()
    bench.start_libvirt()
    until(lambda: "" in heard, "the subscriber is told to look at everything")
    assert hypervisor.domain(uid) == domain
    # A connection whose callbacks were not registered again would be deaf from here on.
    heard.clear()
    bench.pause(uid)
    until(lambda: uid in heard, "the subscriber hears of the domain")
    bench.kill_qemu(uid)
    until(gone(hypervisor, uid), "the domain is gone")
    assert hypervisor.last_exit(uid) is Exit.CRASHED


def test_unknown_is_not_absent(bench: Bench, hypervisor: Hypervisor) -> None:
    uid = new_uid()
    spec = bench.spec(uid)
    domain = hypervisor.start(spec)
    bench.stop_libvirt()
    until(unknown(hypervisor, uid), "nobody can say anything")
    for ask in (
        hypervisor.facts,
        hypervisor.domains,
        lambda: hypervisor.start(spec),
        lambda: hypervisor.shutdown(uid),
        lambda: hypervisor.resume(uid),
        lambda: hypervisor.destroy(uid),
        lambda: hypervisor.forget(uid),
        lambda: hypervisor.last_exit(uid),
    ):
        with pytest.raises(TransientError) as refused:
            ask()
        assert refused.value.reason == "HypervisorUnreachable"
    assert domain.pid is not None
    assert bench.qemu_runs(domain.pid)
    bench.start_libvirt()
    until(lambda: not unknown(hypervisor, uid)(), "the connection is back")
    assert hypervisor.domain(uid) == domain


def test_a_guest_dies_while_libvirtd_is_down(bench: Bench, daemon: Daemon) -> None:
    uid, hypervisor = new_uid(), daemon()
    hypervisor.start(bench.spec(uid))
    bench.stop_libvirt()
    bench.kill_qemu(uid)
    bench.start_libvirt()
    until(lambda: not unknown(hypervisor, uid)(), "the connection is back")
    until(gone(hypervisor, uid), "the domain is gone")
    assert hypervisor.last_exit(uid) is Exit.CRASHED


def test_subscribers_hear_of_changes(bench: Bench, hypervisor: Hypervisor) -> None:
    heard: list[str] = []
    uid = new_uid()
    hypervisor.domain(uid)
    hypervisor.subscribe(heard.append)
    hypervisor.start(bench.spec(uid))
    assert until(lambda: uid in heard, "the start is told")
    heard.clear()
    hypervisor.destroy(uid)
    assert until(lambda: uid in heard, "the end is told")


def test_a_lost_qemu_is_found_and_ended(bench: Bench, hypervisor: Hypervisor) -> None:
    """A libvirtd that dies while it starts a domain leaves a QEMU behind that it never finds."""
    uid = new_uid()
    hypervisor.start(bench.spec(uid))
    pid = bench.lose(uid)
    until(lambda: not unknown(hypervisor, uid)(), "the connection is back")
    stray = hypervisor.domain(uid)
    assert stray is not None
    assert stray.ownership.epoch == STRAY_EPOCH
    assert stray.pid == pid
    assert hypervisor.domains()[uid] == stray
    with pytest.raises(ConflictError) as refused:
        hypervisor.start(bench.spec(uid))
    assert refused.value.reason == "OtherEpoch"
    with pytest.raises(ConflictError) as refused:
        hypervisor.forget(uid)
    assert refused.value.reason == "StillRunning"
    hypervisor.destroy(uid)
    assert not bench.qemu_runs(pid)
    assert hypervisor.domain(uid) is None
    assert uid not in hypervisor.domains()
    assert hypervisor.last_exit(uid) is Exit.UNKNOWN
    hypervisor.forget(uid)
    assert bench.leftovers(uid) == []


def test_forget_leaves_nothing(bench: Bench, hypervisor: Hypervisor) -> None:
    uid = new_uid()
    hypervisor.start(bench.spec(uid))
    console = Path(hypervisor.console_log(uid))
    until(lambda: "boot" in console.read_text(), "the console's log is readable")
    with pytest.raises(ConflictError) as refused:
        hypervisor.forget(uid)
    assert refused.value.reason == "StillRunning"
    hypervisor.destroy(uid)
    assert bench.leftovers(uid) != []
    hypervisor.forget(uid)
    assert not console.exists()
    assert bench.leftovers(uid) == []
    assert hypervisor.last_exit(uid) is None


def unknown(hypervisor: Hypervisor, uid: str) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            hypervisor.domain(uid)
        except TransientError as error:
            return error.reason == "HypervisorUnreachable"
        return False

    return ask


def boot(bench: Bench, hypervisor: Hypervisor, uid: str) -> None:
    """Wait until the guest listens to its power button."""
    console = Path(hypervisor.console_log(uid))
    until(lambda: "nopal: boot" in console.read_text(), "the guest has booted")
