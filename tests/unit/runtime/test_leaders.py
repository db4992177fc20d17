# SPDX-License-Identifier: Apache-2.0
"""Never two leaders, whatever the API and the clocks do; and only the leader writes."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from nopal_api.kinds import HOST, LEASE
from nopal_runtime.errors import TransientError
from nopal_runtime.kube.api import KubeApi
from nopal_runtime.kube.fake import Call, FakeKube
from nopal_runtime.kube.guard import GuardedKube
from nopal_runtime.kube.lease import Elector
from nopal_runtime.ownloop import OwnLoop
from support.slowkube import SlowKube, end, time
from support.virtualtime import run_virtual


def elector(api: KubeApi, identity: str, clock: Callable[[], float] = time, **more: Any) -> Elector:
    more.setdefault("on_lost", lambda: None)
    return Elector(
        api, identity=identity, namespace="nopal-system", name="operator", clock=clock, **more
    )


async def operator(candidate: Elector) -> None:
    """The life of an operator process up to its end."""
    await candidate.acquire()
    await candidate.keep()


def test_the_first_leads_and_the_second_waits() -> None:
    async def main() -> None:
        api = FakeKube()
        a, b = elector(api, "a"), elector(api, "b")
        first = asyncio.create_task(operator(a))
        await asyncio.sleep(1)
        second = asyncio.create_task(operator(b))
        await asyncio.sleep(600)
        assert a.leading()
        assert not b.leading()
        lease = api.see(LEASE, "operator", "nopal-system")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == "a"
        end(first, second)

    run_virtual(main())


def test_after_a_kill_the_second_takes_over_when_the_lease_has_run_out() -> None:
    async def main() -> None:
        api = FakeKube()
        a, b = elector(api, "a"), elector(api, "b")
        first, second = asyncio.create_task(operator(a)), asyncio.create_task(operator(b))
        await asyncio.sleep(100)
        assert a.leading() != b.leading()
        dead, other = (first, b) if a.leading() else (second, a)
        dead.cancel()
        began = time()
        while not other.leading():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        assert 13 <= time() - began <= 20
        end(first, second)

    run_virtual(main())


def test_a_released_lease_is_taken_at_once() -> None:
    async def main() -> None:
        api = FakeKube()
        a, b = elector(api, "a"), elector(api, "b")
        first = asyncio.create_task(operator(a))
        await asyncio.sleep(5)
        second = asyncio.create_task(operator(b))
        await asyncio.sleep(5)
        first.cancel()
        await a.release()
        assert not a.leading()
        await asyncio.sleep(3)
        assert b.leading()
        end(second)

    run_virtual(main())


def test_the_api_away_for_less_than_the_deadline_costs_nothing() -> None:
    async def main() -> None:
        api, lost = FakeKube(), list[float]()
        hang = [False]

        async def way() -> None:
            if hang[0]:
                await asyncio.sleep(1e6)

        a = elector(SlowKube(api, way), "a", on_lost=lambda: lost.append(time()))
        task = asyncio.create_task(operator(a))
        await asyncio.sleep(10)
        hang[0] = True
        await asyncio.sleep(6)
        hang[0] = False
        await asyncio.sleep(100)
        assert a.leading()
        assert not lost
        hang[0] = True
        await asyncio.sleep(20)
        assert not a.leading()
        assert len(lost) == 1
        assert 116 + 6 <= lost[0] <= 116 + 10.1
        assert task.done()
        assert isinstance(task.exception(), TransientError)

    run_virtual(main())


def test_an_answer_that_was_lost_is_not_another_leader() -> None:
    async def main() -> None:
        api, lost = FakeKube(), list[float]()
        drop = [0]

        async def after(call: Call) -> None:
            if call.phase == "after" and call.verb == "replace" and drop[0]:
                drop[0] -= 1
                raise TransientError("ApiUnavailable", "the answer was lost")

        api.hooks.append(after)
        a = elector(api, "a", on_lost=lambda: lost.append(time()))
        task = asyncio.create_task(operator(a))
        await asyncio.sleep(10)
        drop[0] = 2
        await asyncio.sleep(100)
        assert a.leading()
        assert not lost
        end(task)

    run_virtual(main())


def test_a_lease_stolen_by_hand_ends_the_leader_at_once() -> None:
    async def main() -> None:
        api, lost = FakeKube(), list[float]()
        a = elector(api, "a", on_lost=lambda: lost.append(time()))
        task = asyncio.create_task(operator(a))
        await asyncio.sleep(10)
        lease = api.see(LEASE, "operator", "nopal-system")
        assert lease is not None
        api.put(LEASE, {"metadata": lease["metadata"], "spec": {"holderIdentity": "thief"}})
        await asyncio.sleep(2.5)
        assert not a.leading()
        assert lost
        assert task.done()
        task.exception()

    run_virtual(main())


def test_the_spans_must_make_sense() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="must hold"):
            elector(FakeKube(), "a", deadline_seconds=15.0)
        with pytest.raises(ValueError, match="must hold"):
            elector(FakeKube(), "a", renew_seconds=10.0)

    run_virtual(main())


@pytest.mark.slow
@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**32),
    drifts=st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=3),
    trouble=st.floats(0, 0.3),
)
def test_never_two_leaders(seed: int, drifts: Sequence[float], trouble: float) -> None:
    """Clocks drift; ways to the API are slow, cut for a while, or deliver after minutes."""
    dice = random.Random(seed)  # noqa: S311
    led = set[str]()

    def way() -> Callable[[], Awaitable[None]]:
        cut = [0.0]

        async def travel() -> None:
            if time() >= cut[0] and dice.random() < 0.1:
                cut[0] = time() + dice.choice([3, 8, 11, 14, 18, 25])
            late = dice.choice([0.5, 1.9, 4, 16, 120]) if dice.random() < trouble else 0.01
            await asyncio.sleep(max(late, cut[0] - time()))

        return travel

    async def process(api: FakeKube, number: int, electors: dict[int, Elector]) -> None:
        drift = 1 + drifts[number]
        while True:  # a process that lost is started again, with a new identity
            name = f"{number}-{time()}"
            made = elector(SlowKube(api, way()), name, clock=lambda: time() * drift)
            electors[number] = made
            await made.acquire()
            # Only here a second leader could begin.
            assert [n for n, e in electors.items() if e.leading()] == [number]
            led.add(name)
            with suppress(TransientError):
                await made.keep()
            await asyncio.sleep(dice.random())

    async def main() -> None:
        api, electors = FakeKube(), dict[int, Elector]()
        tasks = [asyncio.create_task(process(api, n, electors)) for n in range(len(drifts))]
        done, _ = await asyncio.wait(tasks, timeout=600, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        end(*tasks)

    with capture_logs():
        run_virtual(main())
    assert led  # somebody did lead: the property is not empty


SHORT = {"lease_seconds": 4.5, "deadline_seconds": 3.0, "renew_seconds": 0.3}


def block(until: Callable[[], bool], seconds: float) -> None:
    """Compute in this thread for so many seconds, or until something is so."""
    begun = monotonic()
    while monotonic() - begun < seconds and not until():
        sum(range(1000))


@pytest.mark.slow
async def test_a_leader_that_computes_for_longer_than_its_lease_stays_the_leader() -> None:
    api, lost = FakeKube(), list[int]()
    async with OwnLoop("a") as own, OwnLoop("b") as another:
        a = elector(api, "a", monotonic, on_lost=lambda: lost.append(1), **SHORT)
        b = elector(api, "b", monotonic, **SHORT)
        await own.run(a.acquire())
        keeping = asyncio.create_task(own.run(a.keep()))
        waiting = asyncio.create_task(another.run(b.acquire()))
        await asyncio.sleep(0)
        block(b.leading, 7.5)
        assert a.leading()
        assert not b.leading()
        assert not lost
        end(keeping, waiting)
        await asyncio.gather(keeping, waiting, return_exceptions=True)


@pytest.mark.slow
async def test_a_leader_that_computes_is_ended_when_it_cannot_renew() -> None:
    api, lost = FakeKube(), list[int]()

    cut = [False]

    async def way() -> None:
        if cut[0]:
            raise TransientError("ApiUnavailable", "not now")

    async with OwnLoop("a") as own:
        a = elector(SlowKube(api, way), "a", monotonic, on_lost=lambda: lost.append(1), **SHORT)
        await own.run(a.acquire())
        keeping = asyncio.create_task(own.run(a.keep()))
        await asyncio.sleep(0)
        cut[0] = True
        block(lambda: bool(lost), 30)
        assert lost
        assert not a.leading()
        with pytest.raises(TransientError, match="NotLeading"):
            await keeping


def test_a_guarded_api_writes_only_while_leading() -> None:
    async def main() -> None:
        api, may = FakeKube(), [True]
        guarded = GuardedKube(api, lambda: may[0])
        made = await guarded.create(HOST, {"metadata": {"name": "a"}, "spec": {}})
        meta = made["metadata"]
        exact = {"name": "a", "resource_version": meta["resourceVersion"]}
        may[0] = False
        before = len(api.calls)
        for write in (
            guarded.create(HOST, {"metadata": {"name": "b"}, "spec": {}}),
            guarded.replace(HOST, made),
            guarded.delete(HOST, name="a", uid=meta["uid"]),
            guarded.apply_status(HOST, **exact, manager="m", status={"zone": "z"}),
            guarded.set_finalizers(HOST, **exact, uid=meta["uid"], finalizers=()),
        ):
            with pytest.raises(TransientError, match="NotLeading"):
                await write
        assert len(api.calls) == before
        assert (await guarded.get(HOST, name="a"))["metadata"]["uid"] == meta["uid"]
        assert len((await guarded.list(HOST)).items) == 1

    run_virtual(main())
