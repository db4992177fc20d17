# SPDX-License-Identifier: Apache-2.0
"""What a host's network promises, whichever way it is realized."""

import contextlib
import itertools

import pytest

from nopal_node.network.base import BridgeSpec, BridgeState
from nopal_node.network.bridges import Bridges
from nopal_runtime.errors import NopalError, TerminalError, TransientError
from support.links import Bench, Crash

UID = "6f2d4b0e-0000-4000-8000-000000000001"
OTHER = "6f2d4b0e-0000-4000-8000-000000000002"


def managed(name: str = "lan", *, uid: str = UID, mtu: int | None = None) -> BridgeSpec:
    return BridgeSpec(name, owner_uid=uid, managed=True, mtu=mtu)


def existing(name: str = "lan", *, mtu: int | None = None) -> BridgeSpec:
    return BridgeSpec(name, owner_uid=UID, managed=False, mtu=mtu)


@pytest.fixture
def network(bench: Bench) -> Bridges:
    return Bridges(bench.links)


def reason(error: pytest.ExceptionInfo[NopalError]) -> str:
    return error.value.reason


class TestManaged:
    def test_it_is_made_up_and_marked(self, network: Bridges) -> None:
        assert network.bridge("lan") is None
        state = network.ensure_bridge(managed(mtu=1400))
        assert state == BridgeState("lan", mtu=1400, up=True, owner_uid=UID, ports=())
        assert network.bridge("lan") == state
        assert network.owned_bridges() == (state,)

    def test_without_an_mtu_the_kernels_stays(self, network: Bridges) -> None:
        assert network.ensure_bridge(managed()).mtu == 1500

    def test_again_changes_nothing(self, bench: Bench, network: Bridges) -> None:
        network.ensure_bridge(managed(mtu=1400))
        before = bench.links.all()
        network.ensure_bridge(managed(mtu=1400))
        assert bench.links.all() == before

    def test_another_mtu_is_set_on_the_same_bridge(self, bench: Bench, network: Bridges) -> None:
        network.ensure_bridge(managed(mtu=1400))
        before = bench.links.get("lan")
        bench.attach("tap0", "lan")
        state = network.ensure_bridge(managed(mtu=1450))
        assert state.mtu == 1450
        assert state.ports == ("tap0",)
        after = bench.links.get("lan")
        assert before is not None
        assert after is not None
        assert after.index == before.index

    def test_one_that_somebody_took_down_comes_up(self, bench: Bench, network: Bridges) -> None:
        network.ensure_bridge(managed())
        link = bench.links.get("lan")
        assert link is not None
        bench.links.change(link, up=False)
        assert network.ensure_bridge(managed()).up

    def test_somebody_elses_bridge_is_never_taken(self, bench: Bench, network: Bridges) -> None:
        bench.add("lan", "bridge")
        before = bench.links.all()
        with pytest.raises(TerminalError) as error:
            network.ensure_bridge(managed(mtu=1400))
        assert reason(error) == "BridgeConflict"
        assert "choose another bridge.name" in error.value.message
        network.remove_bridge("lan", owner_uid=UID)
        assert bench.links.all() == before

    def test_another_networks_bridge_is_never_taken(self, bench: Bench, network: Bridges) -> None:
        """A new Network with an old name gets no bridge of the old one."""
        network.ensure_bridge(managed(uid=OTHER))
        before = bench.links.all()
        with pytest.raises(TerminalError) as error:
            network.ensure_bridge(managed(uid=UID))
        assert reason(error) == "BridgeConflict"
        assert OTHER in error.value.message
        network.remove_bridge("lan", owner_uid=UID)
        assert bench.links.all() == before

    def test_a_link_that_is_no_bridge_is_left_alone(self, bench: Bench, network: Bridges) -> None:
        bench.add("lan", "veth")
        before = bench.links.all()
        with pytest.raises(TerminalError) as error:
            network.ensure_bridge(managed())
        assert reason(error) == "BridgeConflict"
        assert "veth" in error.value.message
        assert network.bridge("lan") is None
        network.remove_bridge("lan", owner_uid=UID)
        assert bench.links.all() == before

    @pytest.mark.parametrize("after", [False, True])
    def test_killed_at_any_step_it_is_finished_by_the_next_life(
        self, bench: Bench, after: bool
    ) -> None:
        for step in itertools.count():
            name, uid = f"lan{step}", f"uid-{step}"
            links = bench.crashing(step, after=after)
            with contextlib.suppress(Crash):
                Bridges(links).ensure_bridge(managed(name, uid=uid, mtu=1400))
            if not links.crashed:
                break
            state = Bridges(bench.links).ensure_bridge(managed(name, uid=uid, mtu=1400))
            assert state == BridgeState(name, mtu=1400, up=True, owner_uid=uid, ports=())
        bridges = {link.name for link in bench.links.all() if link.kind == "bridge"}
        assert bridges == {f"lan{number}" for number in range(step + 1)}
        assert step >= 4, "made, marked, named, set up"

    @pytest.mark.parametrize("after", [False, True])
    def test_killed_at_any_step_and_then_not_wanted_it_is_removed(
        self, bench: Bench, after: bool
    ) -> None:
        for step in range(4):
            links = bench.crashing(step, after=after)
            with pytest.raises(Crash):
                Bridges(links).ensure_bridge(managed(mtu=1400))
            Bridges(bench.links).remove_bridge("lan", owner_uid=UID)
            assert not [link for link in bench.links.all() if link.kind == "bridge"]


class TestRemoval:
    def test_ours_goes_and_again_is_success(self, bench: Bench, network: Bridges) -> None:
        network.ensure_bridge(managed())
        network.remove_bridge("lan", owner_uid=UID)
        assert network.bridge("lan") is None
        assert network.owned_bridges() == ()
        network.remove_bridge("lan", owner_uid=UID)

    def test_not_while_a_guest_is_on_it(self, bench: Bench, network: Bridges) -> None:
        network.ensure_bridge(managed())
        bench.attach("tap0", "lan")
        with pytest.raises(TransientError) as error:
            network.remove_bridge("lan", owner_uid=UID)
        assert reason(error) == "BridgeInUse"
        assert "tap0" in error.value.message
        assert network.bridge("lan") is not None
        bench.detach("tap0")
        network.remove_bridge("lan", owner_uid=UID)
        assert network.bridge("lan") is None

    def test_others_stay(self, bench: Bench, network: Bridges) -> None:
        network.ensure_bridge(managed("lan2", uid=OTHER))
        network.ensure_bridge(managed())
        network.remove_bridge("lan", owner_uid=UID)
        assert [bridge.name for bridge in network.owned_bridges()] == ["lan2"]


class TestExisting:
    def test_it_is_used_as_it_is(self, bench: Bench, network: Bridges) -> None:
        bench.add("lan", "bridge", mtu=9000)
        before = bench.links.all()
        state = network.ensure_bridge(existing(mtu=1500))
        assert state == BridgeState("lan", mtu=9000, up=True, owner_uid="", ports=())
        assert bench.links.all() == before
        assert network.owned_bridges() == ()

    def test_absent_names_the_command(self, bench: Bench, network: Bridges) -> None:
        before = bench.links.all()
        with pytest.raises(TerminalError) as error:
            network.ensure_bridge(existing())
        assert reason(error) == "BridgeNotFound"
        assert "ip link add lan type bridge" in error.value.message
        assert bench.links.all() == before

    @pytest.mark.parametrize(
        ("made", "wanted", "command"),
        [
            ({"up": False}, "BridgeDown", "ip link set lan up"),
            ({"mtu": 1400}, "MTUTooSmall", "ip link set lan mtu 1500"),
        ],
    )
    def test_what_is_wrong_with_it_is_told_and_left(
        self, bench: Bench, network: Bridges, made: dict[str, int], wanted: str, command: str
    ) -> None:
        bench.add("lan", "bridge", mtu=made.get("mtu", 1500), up=bool(made.get("up", True)))
        before = bench.links.all()
        with pytest.raises(TerminalError) as error:
            network.ensure_bridge(existing(mtu=1500))
        assert reason(error) == wanted
        assert command in error.value.message
        assert bench.links.all() == before

    def test_no_bridge_at_all(self, bench: Bench, network: Bridges) -> None:
        bench.add("lan", "veth")
        with pytest.raises(TerminalError) as error:
            network.ensure_bridge(existing())
        assert reason(error) == "BridgeConflict"
