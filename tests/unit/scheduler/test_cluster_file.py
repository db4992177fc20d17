# SPDX-License-Identifier: Apache-2.0
"""What a cluster file means, which line of it is wrong, and that what is written is read back."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopal_scheduler.files.cluster_writer import write_cluster
from nopal_scheduler.files.cluster_yaml import FileError, read_cluster
from nopal_scheduler.model import Cluster, Host, Redundancy, Room, Rule, RuleKind, Vm, vm_cost

GIB = 2**30
PLACE = Host("a", Room())
HOSTS = "hosts:\n- {name: a, capacity: {cpu: 8, memory: 64Gi}}\n"


def cluster(text: str) -> Cluster:
    return read_cluster(text).to_cluster()


def wrong(text: str) -> list[str]:
    with pytest.raises(FileError) as caught:
        read_cluster(text, "f")
    return str(caught.value).splitlines()


def test_threads_are_overcommitted_and_the_zones_reserve_is_kept() -> None:
    made = cluster(
        "cpuOvercommitPercent: 200\nhostReserved: {cpu: 1, memory: 4Gi}\nhosts:\n"
        "- {name: a, threads: 8, memory: 64Gi, more: {gpu: 2}}\n"
        "- {name: b, threads: 8, memory: 64Gi, cpuOvercommitPercent: 100,\n"
        "   reserved: {memory: 1Gi}}\n"
    )
    assert [host.capacity for host in made.hosts] == [
        Room(14, 60 * GIB, {"gpu": 2}),
        Room(8, 63 * GIB),
    ]


def test_without_settings_a_host_is_as_in_a_zone() -> None:
    made = cluster("hosts: [{name: a, threads: 8, memory: 64Gi}]")
    assert made.hosts[0].capacity == Room(32, 62 * GIB)
    assert made.redundancy == Redundancy(0)


def test_overhead_is_added_unless_the_file_says_that_it_is_in() -> None:
    vms = "vms: [{name: v, cores: 2, memory: 8Gi, host: a}]\n"
    assert cluster(HOSTS + vms).vms[0].needs == vm_cost(2, 8 * GIB)
    assert cluster(f"vmOverhead: false\n{HOSTS}{vms}").vms[0].needs == Room(2, 8 * GIB)


def test_count_numbers_from_one_and_hosts_take_turns() -> None:
    made = cluster(
        "hosts: [{name: n, count: 2, capacity: {}}]\n"
        "vms: [{name: v, count: 3, cores: 1, memory: 1Gi, host: [n-1, n-2]}]\n"
    )
    assert [host.name for host in made.hosts] == ["n-1", "n-2"]
    assert [(vm.name, vm.host) for vm in made.vms] == [
        ("v-1", "n-1"),
        ("v-2", "n-2"),
        ("v-3", "n-1"),
    ]


@pytest.mark.parametrize(
    ("state", "refusal", "draining"),
    [
        ("state: Ready", "", False),
        ("state: NotReady", "not ready", False),
        ("state: NotReady, reason: fan", "not ready: fan", False),
        ("state: NotReady, reason: not ready (dark)", "not ready (dark)", False),
        ("state: Unschedulable", "scheduling disabled", False),
        ("state: Unschedulable, reason: new disks", "new disks", False),
        ("state: Draining", "draining", True),
        ("state: Draining, reason: kernel", "kernel", True),
    ],
)
def test_states(state: str, refusal: str, draining: bool) -> None:
    host = cluster(f"hosts: [{{name: a, capacity: {{}}, {state}}}]").hosts[0]
    assert (host.refusal, host.draining) == (refusal, draining)


def test_terms_become_rules() -> None:
    made = cluster(
        f"{HOSTS}vms:\n- name: v\n  cores: 1\n  memory: 1Gi\n"
        "  affinity: [{matchLabels: {b: x, a: y}, topologyKey: rack, weight: 7}]\n"
        "  antiAffinity: [{matchLabels: {}}]\n"
        "  spread: [{matchLabels: {a: y}, topologyKey: room, maxSkew: 2}]\n"
    )
    assert made.vms[0].rules == (
        Rule(RuleKind.AFFINITY, (("a", "y"), ("b", "x")), "rack", weight=7),
        Rule(RuleKind.ANTI_AFFINITY, ()),
        Rule(RuleKind.SPREAD, (("a", "y"),), "room", max_skew=2),
    )


def test_every_error_has_its_line_its_field_and_a_remedy() -> None:
    assert wrong(
        "hosts:\n- name: a\n  thread: 8\n  memory: 8 gigs\n  labels: {rack: 1}\n"
        "vms:\n- name: v\n  memory: 8Gi\n  cores: yes\n  spread:\n  - {}\n  - {matchlabels: {}}\n"
    ) == [
        "f:3: hosts[0].thread: is no field here: did you mean threads?",
        "f:4: hosts[0].memory: '8 gigs' is not a quantity: write for example 512Mi or 8Gi",
        "f:5: hosts[0].labels.rack: 1 is no text: put it in quotes",
        "f:9: vms[0].cores: true is no whole number: write a whole number",
        "f:11: vms[0].spread[0].matchLabels: is missing: add it",
        "f:12: vms[0].spread[1].matchLabels: is missing: add it",
        "f:12: vms[0].spread[1].matchlabels: is no field here: did you mean matchLabels?",
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "f:1: is no mapping: begin with `hosts:` and a list of hosts"),
        ("- a", "f:1: is no mapping: begin with `hosts:` and a list of hosts"),
        ("hosts: [}", "f:1: is no YAML: did not find expected node content"),
        ("hosts:\n- name: a\n\tx: 1", "f:3: is no YAML: found"),
        ("hosts:\n- {name: a,\n   name: b}", "f:3: name: stands there twice: leave one"),
        ("hosts: 3", "f:1: hosts: 3 is no list: write a list, each item with a dash"),
        ("hosts: []", "f:1: hosts: there is none: write at least one"),
        ("hosts: &a [*a]", "f:1: hosts[0]: [[...]] is no mapping: write `key: value` lines"),
        ("hosts: [{name: a}]", "f:1: hosts[0]: give threads and memory of the machine"),
        ("hosts: [{name: a, threads: 8}]", "f:1: hosts[0]: give threads and memory of the machine"),
        (
            "hosts:\n\n- {name: a, capacity: {}, more: {gpu: 1}}",
            "f:3: hosts[0]: capacity already says what more would: leave one of them out",
        ),
        (HOSTS + "- {name: a, capacity: {}}", 'f:3: hosts[1].name: "a" is there already: give it'),
        (
            HOSTS + "vms:\n- name: v\n  cores: 1\n  memory: 1Gi\n  host: b",
            'f:7: vms[0].host: there is no host "b": add it to hosts',
        ),
        (
            "hosts: [{name: n, count: 2, capacity: {}}]\n"
            "vms: [{name: v, cores: 1, memory: 1Gi, host: n}]",
            'f:2: vms[0].host: there is no host "n": did you mean n-2?',
        ),
        (
            HOSTS + "vms: [{name: v, cores: 1, memory: 1Gi, host: [a, a]}]",
            "f:3: vms[0].host: more hosts than virtual machines (1)",
        ),
        ("hosts: [{name: a, count: 0, capacity: {}}]", "f:1: hosts[0].count: 0: write 1 or more"),
        ("redundancy: {failures: 4}\nhosts: [{name: a, capacity: {}}]",
         "f:1: redundancy.failures: 4: write 3 or less"),
        ("hosts: [{name: a, state: Down, capacity: {}}]",
         "f:1: hosts[0].state: 'Down': write Ready, NotReady, Unschedulable or Draining"),
        ("hosts: [{name: a b, capacity: {}}]", "f:1: hosts[0].name: 'a b': write letters, digits"),
        ("hosts: [{name: a, capacity: {}, labels: {r: '[x]'}}]",
         "f:1: hosts[0].labels.r: '[x]': write it without [ and ]"),
        ("hosts:\n- {name: a, capacity: {},\n   labels: {2: b}}",
         "f:3: hosts[0].labels: the key 2: put it in quotes"),
        ("hosts:\n- {name: a, capacity: {}, 2: b}", "f:2: hosts[0]: the key 2: put it in quotes"),
        ("hosts: 2020-01-01", "f:1: hosts: 2020-01-01 is no list: write a list"),
        ("hosts: " + "[" * 100_000, "f:1: is nested too deeply to be a cluster file"),
        ("hosts:\n" + "- " * 100, "f:2: is nested too deeply to be a cluster file"),
        ("hosts: [{name: a, count: 99999, capacity: {}}, {name: b, count: 2, capacity: {}}]",
         "f:1: hosts: these are more than 100000"),
        ("hosts: [{name: a, capacity: {memory: 65Ti}}]",
         "f:1: hosts[0].capacity.memory: 71468255805440: write 64Ti or less"),
        ("hosts:\n- name: a\n  threads: 8\n  memory: 64",
         "f:4: hosts[0].memory: 64 is 64 bytes: write 64Gi"),
        ("hosts: [{name: a, threads: 8, memory: 65536}]",
         "f:1: hosts[0].memory: 65536 is 65536 bytes: write 65536Mi"),
        ("hosts: [{name: a, threads: 8, memory: '1'}]",
         "f:1: hosts[0].memory: 1 is 1 byte: write 1Gi"),
        ("hosts: [{name: a, capacity: {memory: 8k}}]",
         "f:1: hosts[0].capacity.memory: 8k is less than 1Mi: write for example 64Gi"),
        (HOSTS + "vms:\n- name: v\n  cores: 1\n  memory: 1023Ki",
         "f:6: vms[0].memory: 1023Ki is less than 1Mi"),
        ("hosts: [{name: a, capacity: {more: {gpu: 2Gi}}}]",
         "f:1: hosts[0].capacity.more: gpu: '2Gi' is no whole number, and gpu is counted: write 2"),
        ("hosts: [{name: a, capacity: {more: {gpu: 2.5}}}]",
         "f:1: hosts[0].capacity.more.gpu: 2.5 is no whole number"),
        ("hosts: [{name: a, capacity: {more: {x.io/hugepages-1Gi: 8}}}]",
         "f:1: hosts[0].capacity.more: x.io/hugepages-1Gi: 8 is 8 bytes: write 8Gi"),
        ("hosts: [{name: a, capacity: {more: 3}}]",
         "f:1: hosts[0].capacity.more: 3 is no mapping"),
    ],
)  # fmt: skip
def test_an_error(text: str, error: str) -> None:
    found = wrong(text)
    assert found[0].startswith(error)
    assert len(found) == 1


def test_further_resources_are_counted_and_huge_pages_are_bytes() -> None:
    made = cluster(
        "hosts: [{name: a, capacity: {more: {gpu: '2', licence: 3, hugepages-2Mi: 4Gi}}}]"
    )
    more = {"gpu": 2, "licence": 3, "hugepages-2Mi": 4 * GIB}
    assert made.hosts[0].capacity == Room(more=more)
    text = write_cluster(made)
    assert "gpu: 2\n" in text
    assert "hugepages-2Mi: 4Gi\n" in text


def test_of_very_many_errors_the_first_are_shown() -> None:
    found = wrong("hosts:\n" + "- {}\n" * 50)
    assert len(found) == 21
    assert found[-1] == "f: and 30 more errors"


_NAMES = st.sampled_from(["a", "b", "c-1", "ns/x.y"])
_LABELS = st.dictionaries(st.sampled_from(["app", "rack"]), st.sampled_from(["", "x", "1"]))
_AMOUNTS = st.sampled_from([0, 2**20, 3 * 2**20, 5 * GIB, 2**40 + 1])
_ROOMS = st.builds(
    Room,
    cpu=st.integers(0, 99),
    memory=_AMOUNTS,
    more=st.dictionaries(st.sampled_from(["gpu", "vf"]), st.just(1) | _AMOUNTS),
)
_FEATURES = st.frozensets(st.sampled_from(["avx", "aes"]))


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    hosts = draw(
        st.lists(
            st.builds(
                Host,
                name=_NAMES,
                capacity=_ROOMS,
                allocated=_ROOMS,
                networks=_FEATURES,
                cpu_features=_FEATURES,
                labels=_LABELS,
                blocked=st.sampled_from(["", "not ready (dark)", "no: why?"]),
                draining=st.booleans(),
            ),
            unique_by=lambda host: host.name,
            min_size=1,
        )
    )
    rules = st.builds(
        Rule,
        kind=st.sampled_from(RuleKind),
        selector=_LABELS.map(lambda labels: tuple(sorted(labels.items()))),
        topology=st.sampled_from(["host", "rack"]),
        weight=st.none() | st.integers(1, 100),
    )
    vms = draw(
        st.lists(
            st.builds(
                Vm,
                name=_NAMES,
                needs=_ROOMS,
                host=st.sampled_from([None, *(host.name for host in hosts)]),
                networks=st.just(()) | st.just(("lan", "wan")),
                cpu_features=_FEATURES,
                node_selector=_LABELS,
                labels=_LABELS,
                rules=st.lists(rules, max_size=3).map(tuple),
                priority=st.integers(-3, 3),
                restarts=st.booleans(),
                movable=st.booleans(),
            ),
            unique_by=lambda vm: vm.name,
            max_size=4,
        )
    )
    keys = sorted({"host", *(key for host in hosts for key in host.labels)})
    redundancy = draw(
        st.builds(Redundancy, failures=st.integers(0, 3), topology=st.sampled_from(keys))
    )
    return Cluster(tuple(hosts), tuple(vms), redundancy)


def ordered(cluster: Cluster) -> Cluster:
    """Bring into one order what has none."""
    kinds = list(RuleKind)
    return replace(
        cluster,
        hosts=tuple(sorted(cluster.hosts, key=lambda host: host.name)),
        vms=tuple(
            replace(vm, rules=tuple(sorted(vm.rules, key=lambda rule: kinds.index(rule.kind))))
            for vm in sorted(cluster.vms, key=lambda vm: vm.name)
        ),
    )


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(clusters())
def test_what_is_written_is_read_back(cluster: Cluster) -> None:
    text = write_cluster(cluster)
    assert read_cluster(text).to_cluster() == ordered(cluster)
    backwards = replace(cluster, hosts=cluster.hosts[::-1], vms=cluster.vms[::-1])
    assert write_cluster(backwards) == text


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 255), st.integers(2**20, 2**44))
def test_the_guests_memory_is_found_again(cores: int, memory: int) -> None:
    vm = Vm("v", vm_cost(cores, memory))
    text = write_cluster(Cluster((PLACE,), (vm,)), overhead=True)
    assert "vmOverhead: true" in text
    entry = read_cluster(text).vms[0]
    assert entry.memory == memory
    assert read_cluster(text).to_cluster().vms == (vm,)


def test_what_no_guest_takes_is_written_with_its_overhead() -> None:
    vms = (Vm("v", vm_cost(2, GIB)), Vm("w", Room(1, 2**20)))
    text = write_cluster(Cluster((PLACE,), vms), overhead=True)
    assert "vmOverhead: false" in text
    assert read_cluster(text).to_cluster().vms == vms
