# SPDX-License-Identifier: Apache-2.0
"""What becomes of a text file of Ganeti's htools, and which line is wrong."""

from pathlib import Path

import pytest

from nopal_scheduler.files.ganeti import GanetiCluster, read_ganeti
from nopal_scheduler.model import MIB, Host, Redundancy, Room, Rule, RuleKind, Vm

FILES = Path(__file__).parent / "ganeti"
TEXT = (FILES / "tags-and-groups.data").read_text()


def read(text: str = TEXT) -> tuple[GanetiCluster, dict[str, Host], dict[str, Vm]]:
    found = read_ganeti(text, "f.data")
    hosts = {host.name: host for host in found.cluster.hosts}
    return found, hosts, {vm.name: vm for vm in found.cluster.vms}


def changed(old: str, new: str) -> str:
    assert TEXT.count(old) == 1
    return TEXT.replace(old, new)


def test_memory_is_mib_without_overhead_and_what_others_take_is_allocated() -> None:
    _, hosts, vms = read()
    assert vms["db-1"].needs == Room(8, 16384 * MIB)
    # 65536 in all, 1024 of the node itself; 40960 are free and 16384 the instances'.
    assert hosts["node-1"].capacity.memory == 64512 * MIB
    assert hosts["node-1"].allocated.memory == (64512 - 40960 - 16384) * MIB


def test_nothing_is_taken_elsewhere_where_guests_did_not_touch_their_memory() -> None:
    _, hosts, _ = read(changed("node-1|65536|1024|40960", "node-1|65536|1024|64000"))
    assert hosts["node-1"].allocated.memory == 0
    _, hosts, _ = read(changed("node-4|65536|1024|64512", "node-4|1024|2048|0"))
    assert hosts["node-4"].capacity.memory == 0


def test_an_instance_that_runs_though_it_should_not_has_its_memory() -> None:
    _, hosts, _ = read(changed("|8|running|N|", "|8|ERROR_up|N|"))
    assert hosts["node-2"].allocated.memory == 0


def test_a_stopped_instance_is_counted_and_its_memory_was_counted_free() -> None:
    _, hosts, vms = read()
    assert vms["off-1"].needs.memory == 4096 * MIB
    assert hosts["node-2"].allocated.memory == 0


def test_an_offline_instance_takes_no_memory_and_does_not_restart() -> None:
    _, _, vms = read(changed("ADMIN_down", "ADMIN_offline"))
    assert vms["off-1"].needs == Room(8, 0)
    assert not vms["off-1"].restarts


def test_the_vcpu_ratio_of_the_group_goes_before_the_clusters() -> None:
    _, hosts, _ = read()
    assert hosts["node-1"].capacity.cpu == 32  # group1: 2.0
    assert hosts["node-4"].capacity.cpu == 64  # the cluster: 4.0
    assert hosts["node-1"].allocated.cpu == 1


def test_offline_nodes_take_nothing_and_silent_ones_have_nothing() -> None:
    _, hosts, _ = read()
    assert [n for n, host in hosts.items() if host.blocked] == ["node-3"]
    _, hosts, _ = read(changed("node-4|65536|1024|64512", "node-4|?|?|?"))
    assert hosts["node-4"].blocked == "offline"
    assert hosts["node-4"].capacity == Room()
    _, hosts, _ = read(changed("node-4|65536|1024|64512", "node-4|65536|1024|?"))
    assert (hosts["node-4"].blocked, hosts["node-4"].capacity) == ("offline", Room())


def test_a_node_that_says_nothing_of_its_own_vcpus_has_one() -> None:
    _, hosts, _ = read(TEXT.replace("|N|0|1|1.0", ""))
    assert hosts["node-4"].allocated.cpu == 1


def test_an_instance_stays_in_its_node_group() -> None:
    _, hosts, vms = read()
    assert hosts["node-4"].labels == {"group": "group2"}
    assert vms["db-1"].node_selector == {"group": "group1"}
    _, hosts, vms = read((FILES / "three-nodes.data").read_text())
    assert vms["db-1"].node_selector == {}
    assert hosts["node-1.example.com"].labels == {}


def test_exclusion_tags_keep_apart_and_location_tags_are_labels() -> None:
    _, hosts, vms = read()
    apart = Rule(RuleKind.ANTI_AFFINITY, (("service:web", "true"),))
    assert vms["web-1"].rules == (apart,)
    assert apart.matches(vms["web-2"].labels)
    assert vms["db-1"].labels == {}
    assert hosts["node-2"].labels["power"] == "b"
    _, hosts, _ = read(changed("|power:a|", "|power:a,power:b,,other:c|"))
    assert hosts["node-1"].labels == {"group": "group1", "power": "a"}
    _, _, vms = read(changed("htools:iextags:service", "htools:iextags:other"))
    assert vms["web-1"].rules == ()


def test_auto_balance_says_what_restarts_and_one_loss_is_survived() -> None:
    found, _, vms = read()
    assert [name for name, vm in vms.items() if not vm.restarts] == ["db-1"]
    assert found.cluster.redundancy == Redundancy(1)


def test_what_does_not_count_is_noted() -> None:
    text = changed("db-1|16384|10240|8|running|N|node-2||rbd", "db-1|1|1|8|running|Y|node-2||plain")
    found, _, vms = read(text.replace("htools:nlocation", "htools:migration"))
    assert not vms["db-1"].movable
    _, _, vms = read(
        changed("db-1|16384|10240|8|running|N|node-2||rbd", "db-1|1|1|8|running|Y|node-2||file")
    )
    assert not vms["db-1"].movable
    assert not vms["db-1"].restarts
    assert [note.split(":")[0] for note in found.notes] == [
        "group group2 is unallocable",
        "1 instances have local disks",
        "these cluster tags do not count here",
    ]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("node-2|65536", "node-2|64G", "f.data:5: total memory: '64G' is not a whole number"),
        ("|Y|uuid-1", "|X|uuid-1", "f.data:6: role: 'X' is not Y (offline), N or M (master)"),
        ("16|N|uuid-2", "16|N|uuid-3", "f.data:7: group: there is no node group of UUID 'uuid-3'"),
        ("|N|node-2|", "|N|node-9|", "f.data:11: primary node: there is no node 'node-9'"),
        ("|N|node-2|", "|?|node-2|", "f.data:11: auto_balance: '?' is neither Y nor N"),
        ("web-2|8192", "web-1|8192", "f.data:10: name: instance 'web-1' is there already"),
        ("node-2|65536", "node-1|65536", "f.data:5: name: node 'node-1' is there already"),
        ("|1.0\nnode-2", "|1.0\nnode-9|1\nnode-2", "f.data:5: has 2 columns, must have 9"),
        ("node-2|65536", "node-2|67108865", "f.data:5: total memory: '67108865' is not a whole"),
        ("|2.0|32.0", "|0|32.0", "f.data:18: vcpu ratio: '0' is not a number above 0"),
        ("|2.0|32.0", "|much|32.0", "f.data:18: vcpu ratio: 'much' is not a number"),
        ("N|0|1|1.0\nnode-2", "N|0|one|1.0\nnode-2", "f.data:4: vcpus of the node's system"),
        ("\n\nweb-1", "\nweb-1", "f.data:13: has 1 columns"),
    ],
)
def test_an_error_names_the_line_and_the_column(old: str, new: str, error: str) -> None:
    text = changed(old, new)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is the point
        read_ganeti(text, "f.data")
    assert str(caught.value).startswith(error)


def test_empty_lines_at_the_end_are_no_section() -> None:
    assert read(TEXT + "\n\n") == read()


def test_a_file_without_nodes_is_refused() -> None:
    empty = "\n".join(line for line in TEXT.splitlines() if not line.startswith("n"))
    with pytest.raises(ValueError, match=r"f\.data: there is no node$"):
        read_ganeti(empty, "f.data")


@pytest.mark.parametrize("text", ["", "hosts: []\n", "a|b\n\n\n\n\n\n\nx"])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"f\.data:"):
        read_ganeti(text, "f.data")
