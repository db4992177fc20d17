# SPDX-License-Identifier: Apache-2.0
"""A host's sign of life: the Lease that it renews, and how that is watched."""

import asyncio

import pytest

from nopal_api.kinds import LEASE
from nopal_runtime.errors import NotFoundError, TransientError
from nopal_runtime.kube.api import Body, KubeApi
from nopal_runtime.kube.fake import Call, FakeKube
from nopal_runtime.kube.lease import Heartbeat, LeaseWatch
from support.slowkube import SlowKube, end, time
from support.virtualtime import run_virtual


def beat(api: KubeApi) -> Heartbeat:
    return Heartbeat(api, "node-1", renew_seconds=5, lease_seconds=15, clock=time)


def test_a_heartbeat_creates_and_renews_its_lease() -> None:
    async def main() -> None:
        api = FakeKube()
        heartbeat = beat(api)
        assert not heartbeat.fresh()
        task = asyncio.create_task(heartbeat.run())
        await asyncio.sleep(1)
        lease = api.see(LEASE, "node-1", "nopal-hosts")
        assert lease is not None
        assert lease["spec"]["leaseDurationSeconds"] == 15
        assert heartbeat.fresh()
        await asyncio.sleep(99)
        assert heartbeat.fresh()
        writes = [c for c in api.calls if c.verb in ("create", "replace")]
        assert 20 <= len(writes) <= 21
        assert [c.verb for c in api.calls].count("get") == 1
        end(task)

    run_virtual(main())


def test_a_heartbeat_counts_from_before_the_request_was_sent() -> None:
    async def main() -> None:
        async def way() -> None:
            await asyncio.sleep(2)

        heartbeat = beat(SlowKube(FakeKube(), way))
        await heartbeat.renew()  # read: 0 to 4, write: sent at 4, answered at 8
        assert time() == 8
        await asyncio.sleep(4 + 15 - 8 - 0.1)
        assert heartbeat.fresh()
        await asyncio.sleep(0.2)
        assert not heartbeat.fresh()

    run_virtual(main())


def test_a_heartbeat_survives_an_outage_a_deletion_and_a_second_writer() -> None:
    async def main() -> None:
        api, down = FakeKube(), [False]

        async def hook(_call: Call) -> None:
            if down[0]:
                raise TransientError("ApiUnavailable", "down")

        api.hooks.append(hook)
        heartbeat = beat(api)
        task = asyncio.create_task(heartbeat.run())
        await asyncio.sleep(1)
        down[0] = True
        await asyncio.sleep(30)
        assert not heartbeat.fresh()
        down[0] = False
        await asyncio.sleep(6)
        assert heartbeat.fresh()
        api.remove(LEASE, "node-1", "nopal-hosts")
        await asyncio.sleep(11)
        assert heartbeat.fresh()
        assert api.see(LEASE, "node-1", "nopal-hosts")
        lease = api.see(LEASE, "node-1", "nopal-hosts")
        assert lease is not None
        api.put(LEASE, {"metadata": lease["metadata"], "spec": {"holderIdentity": "other"}})
        await asyncio.sleep(11)
        assert heartbeat.fresh()
        end(task)

    run_virtual(main())


def test_a_heartbeat_tells_that_its_namespace_is_missing() -> None:
    async def main() -> None:
        api = FakeKube()

        async def hook(call: Call) -> None:
            if call.verb == "create":
                raise NotFoundError("NotFound", "namespace nopal-hosts not found")

        api.hooks.append(hook)
        heartbeat = beat(api)
        with pytest.raises(NotFoundError):
            await heartbeat.renew()
        assert not heartbeat.fresh()

    run_virtual(main())


def lease(renewed: str, seconds: int = 15) -> Body:
    spec = {"renewTime": renewed, "leaseDurationSeconds": seconds}
    return {"metadata": {"name": "node-1"}, "spec": spec}


def test_a_lease_watch_counts_from_what_it_saw_itself() -> None:
    clock = [1000.0]
    watch = LeaseWatch(clock=lambda: clock[0])
    assert watch.fresh("node-1") is None
    watch.observe(lease("2001-01-01T00:00:00Z"))  # the host's own clock does not matter
    clock[0] += 14
    assert watch.fresh("node-1")
    watch.observe(lease("2001-01-01T00:00:00Z"))  # the same again is no sign of life
    assert watch.expires_in("node-1") == pytest.approx(1)
    clock[0] += 2
    assert watch.fresh("node-1") is False
    assert watch.expires_in("node-1") == 0
    watch.observe(lease("2000-01-01T00:00:00Z"))  # another one is, even with a clock set back
    assert watch.fresh("node-1")
    watch.forget("node-1")
    assert watch.fresh("node-1") is None
