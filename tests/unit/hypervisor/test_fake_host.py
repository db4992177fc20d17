# SPDX-License-Identifier: Apache-2.0
"""What the fake host offers beyond the contract: faults, and what outlives the daemon."""

import pytest

from nopal_node.hypervisor.base import Exit
from nopal_node.hypervisor.fake import FakeHypervisor
from nopal_node.hypervisor.fake_host import Effect, FakeHostState
from nopal_runtime.errors import TransientError
from support.hypervisors import new_uid, plain_spec


class Crashed(Exception):  # noqa: N818 - the daemon's end, not an error
    pass


@pytest.mark.parametrize("done", [False, True])
def test_a_crash_around_a_start(*, done: bool) -> None:
    host, uid = FakeHostState(), new_uid()

    def crash(effect: Effect) -> None:
        if effect == Effect("start", uid, done=done):
            raise Crashed

    host.intercept = crash
    with pytest.raises(Crashed):
        FakeHypervisor(host).start(plain_spec(uid))
    host.intercept = lambda _effect: None
    host.daemon_dies()
    assert (FakeHypervisor(host).domain(uid) is not None) is done
    assert host.starts == ([(uid, 1)] if done else [])


def test_every_effect_is_told() -> None:
    host, uid = FakeHostState(), new_uid()
    effects: list[Effect] = []
    host.intercept = effects.append
    hypervisor = FakeHypervisor(host)
    hypervisor.start(plain_spec(uid))
    hypervisor.start(plain_spec(uid))
    host.pause_on_io_error(uid)
    hypervisor.resume(uid)
    host.ignores_acpi.add(uid)
    hypervisor.shutdown(uid)
    hypervisor.destroy(uid)
    hypervisor.forget(uid)
    names = [effect.name for effect in effects if effect.done]
    assert names == ["start", "resume", "shutdown", "destroy", "forget"]
    assert len(effects) == 2 * len(names)


def test_io_errors_pause_until_resumed() -> None:
    host, uid = FakeHostState(), new_uid()
    hypervisor = FakeHypervisor(host)
    hypervisor.start(plain_spec(uid))
    host.pause_on_io_error(uid)
    domain = hypervisor.domain(uid)
    assert domain is not None
    assert domain.io_error
    hypervisor.resume(uid)
    domain = hypervisor.domain(uid)
    assert domain is not None
    assert not domain.io_error


def test_a_power_cut_leaves_no_record() -> None:
    host, uid = FakeHostState(), new_uid()
    FakeHypervisor(host).start(plain_spec(uid))
    host.power_cut()
    hypervisor = FakeHypervisor(host)
    assert hypervisor.domain(uid) is None
    assert hypervisor.last_exit(uid) is Exit.UNKNOWN


def test_a_start_that_fails_is_no_exit() -> None:
    host, uid = FakeHostState(), new_uid()
    host.refuses_start[uid] = "no such bridge"
    hypervisor = FakeHypervisor(host)
    with pytest.raises(TransientError, match="no such bridge") as refused:
        hypervisor.start(plain_spec(uid))
    assert refused.value.reason == "StartFailed"
    assert hypervisor.last_exit(uid) is None


def test_hosts_share_nothing() -> None:
    one, other, uid = FakeHostState(), FakeHostState(), new_uid()
    FakeHypervisor(one).start(plain_spec(uid))
    assert FakeHypervisor(other).domains() == {}
    assert one.open_images() == {f"nopal/disk-{uid}": one.domains[uid].pid}
    assert other.open_images() == {}
