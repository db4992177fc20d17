# SPDX-License-Identifier: Apache-2.0
"""The command line end to end: files in, tables, exit codes and files out."""

import io
import json
import shlex
from pathlib import Path

import pytest

from nopal_scheduler.cli.main import main
from nopal_scheduler.cli.outcome import listed
from nopal_scheduler.cli.redundancy import verdict_text
from nopal_scheduler.files.cluster_yaml import read_cluster
from nopal_scheduler.model import Cluster, Redundancy
from nopal_scheduler.proof import Proof
from nopal_scheduler.scheduler import Scheduler
from support.commandline import CLUSTER, VERBS, Capture, bad, out

ROOT = Path(__file__).parents[3]
THREE_NODES = Path(__file__).parent / "ganeti" / "three-nodes.data"
GROUPS = Path(__file__).parent / "ganeti" / "tags-and-groups.data"


def test_place_prints_where_what_has_no_host_goes(cluster: str, capsys: Capture) -> None:
    assert out(capsys, "place", cluster) == (
        "VM  HOST  CPU  MEMORY\ndb  n-3     4    24Gi\n\nN+1 over hosts: proven (4 cases)\n0"
    )


def test_place_says_why_not_by_host_and_what_would_help(cluster: str, capsys: Capture) -> None:
    text = out(capsys, "place", cluster, "--cores=1", "--memory=60Gi", "--count=2", "--failures=0")
    assert text == (
        "VM     HOST  CPU  MEMORY\n"
        "new-1  n-3     1    60Gi\n"
        "new-2  -       1    60Gi\n"
        "\n"
        "new-2: 0/4 hosts fit: 3 insufficient memory (needs 60Gi, at most 56Gi free), 1 draining\n"
        "\n"
        "  HOSTS     WHY NOT\n"
        "  n-1, n-2  insufficient memory (needs 60Gi, 56Gi free)\n"
        "  n-3       insufficient memory (needs 60Gi, 4Gi free)\n"
        "  old       draining\n"
        "\n"
        "  what would help:\n"
        "  - fits if 60Gi of memory were free on any of n-1, n-2 and n-3"
        " (n-1 lacks the least: 4Gi of memory)\n"
        "  - fits on host old if it took virtual machines again (draining)\n"
        "  - fits on n-1 with 1 move: web-1 from n-1 to n-2\n"
        "1"
    )


def test_many_hosts_are_put_together_by_reason(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "c.yaml"
    hosts = [f"- {{name: h, count: 2, capacity: {{cpu: 1, memory: {i}Gi}}}}" for i in range(1, 15)]
    hosts = [host.replace("name: h", f"name: h{i}") for i, host in enumerate(hosts)]
    path.write_text("vmOverhead: false\nhosts:\n" + "\n".join(hosts))
    text = out(capsys, "place", str(path), "--cores=1", "--memory=20Gi", "--node-selector=a=b")
    assert (
        "  HOSTS                               WHY NOT\n"
        "  h0-1, h0-2, h1-1, h1-2 and 24 more  insufficient memory (needs 20Gi, at most 14Gi free),"
        " no label a=b\n"
    ) in f"{text}\n".replace("\n1\n", "\n")


def test_help_that_would_cost_the_redundancy_is_not_given(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "vmOverhead: false\nredundancy: {failures: 1}\nhosts:\n"
        "- {name: a, capacity: {cpu: 8, memory: 64Gi}}\n"
        "- {name: b, capacity: {cpu: 8, memory: 16Gi}}\n"
        "vms: [{name: v, cores: 1, memory: 8Gi, host: a}]\n"
    )
    arguments = ("place", str(path), "--cores=1", "--memory=60Gi", "-o", "json")
    helps = json.loads(out(capsys, *arguments)[:-1])["refused"][0]["help"]
    assert helps == []
    helps = json.loads(out(capsys, *arguments, "--failures=0")[:-1])["refused"][0]["help"]
    assert helps != []


def test_help_says_where_the_redundancy_is_kept(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "vmOverhead: false\nredundancy: {failures: 1}\nhosts:\n"
        "- {name: a, capacity: {cpu: 8, memory: 64Gi}, labels: {pin: y}}\n"
        "- {name: b, capacity: {cpu: 8, memory: 64Gi}}\n"
        "- {name: c, capacity: {cpu: 8, memory: 32Gi}, labels: {pin: y}}\n"
        "vms: [{name: u, cores: 1, memory: 30Gi, host: c, nodeSelector: {pin: y}}]\n"
    )
    entry = "{cores: 1, memory: 40Gi, nodeSelector: {ssd: y}, restarts: false}"
    arguments = ("place", str(path), "--vm", entry, "-o", "json")
    both = "fits on any of a and b if it had label ssd=y"
    for failures, wanted in (("0", [both]), ("1", [f"{both}; N+1 is kept on b"])):
        text = out(capsys, *arguments, "--failures", failures)
        assert json.loads(text[:-1])["refused"][0]["help"] == wanted


def test_a_proof_is_written_and_verified_and_refuted(
    cluster: str, tmp_path: Path, capsys: Capture
) -> None:
    proof, after = str(tmp_path / "proof.json"), str(tmp_path / "after.yaml")
    assert main(["place", cluster, "--proof", proof, "--write", after]) == 0
    placed = {vm.name: vm.host for vm in read_cluster(Path(after).read_text()).to_cluster().vms}
    assert placed == {"web-1": "n-1", "web-2": "n-2", "db": "n-3", "cache": "old"}
    capsys.readouterr()
    assert out(capsys, "check", after, "--proof", proof) == (
        "placement: holds for 4 virtual machines on 4 hosts\n\nN+1 over hosts: the proof holds\n0"
    )
    mutated = json.loads(Path(proof).read_text())
    mutated["cases"][0]["restarts"]["web-1"] = "old"
    Path(proof).write_text(json.dumps(mutated))
    text = out(capsys, "check", after, "--proof", proof)
    assert text.endswith(
        "the proof does not hold, 1 violation\n\n"
        "LOST  VM     HOST  WHAT DOES NOT HOLD\nn-1   web-1  old   the host is draining\n1"
    )


def test_place_without_a_proof_to_write_is_a_no(tmp_path: Path, capsys: Capture) -> None:
    path, proof = tmp_path / "c.yaml", tmp_path / "proof.json"
    path.write_text(
        "redundancy: {failures: 1}\nhosts: [{name: a, capacity: {cpu: 8, memory: 8Gi}}]\n"
        "vms: [{name: v, cores: 1, memory: 1Gi, host: a}]\n"
    )
    text = out(capsys, "place", str(path), "--proof", str(proof))
    assert text.startswith("every virtual machine has a host: nothing to place\n\nN+1 over hosts: ")
    assert text.endswith("1")
    assert not proof.exists()


def test_help_is_looked_for_for_the_first_kinds_only(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("hosts: [{name: a, capacity: {cpu: 8, memory: 64Gi}, state: Draining}]")
    vms = [f"--vm={{name: v{i}, cores: {min(i, 6)}, memory: 1Gi}}" for i in range(1, 8)]
    refused = json.loads(out(capsys, "place", str(path), *vms, "-o", "json")[:-1])["refused"]
    assert [bool(each["help"]) for each in refused] == [True] * 5 + [False] * 2


def test_check_looks_for_a_proof_where_none_is_given(cluster: str, capsys: Capture) -> None:
    assert out(capsys, "check", cluster) == (
        "placement: holds for 3 virtual machines on 4 hosts\n\n"
        "without a host, and not looked at: db\n\n"
        "N+1 over hosts: proven (4 cases), verified\n0"
    )
    assert main(["check", cluster, "--topology=rack", "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["redundancy"]["verdict"] == "impossible"


def test_a_proof_of_the_search_that_does_not_hold_is_no_proof(
    cluster: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Proof(Redundancy(1), backups={"web-1": ("n-1",), "web-2": ("n-1",), "cache": ("n-1",)})
    monkeypatch.setattr(Scheduler, "verdict", lambda _: wrong)
    text = out(capsys, "check", cluster)
    assert "N+1 over hosts: the search gave a proof that does not hold: please report it" in text
    assert text.endswith("n-1   web-1  -     gets no new host\n1")


def test_many_violations_are_counted_and_the_first_are_shown(
    tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "hosts: [{name: a, capacity: {cpu: 99, memory: 999Gi}}]\n"
        "vms: [{name: v, count: 52, cores: 1, memory: 1Gi, host: a, networks: [lan]}]\n"
    )
    text = out(capsys, "check", str(path))
    assert text.startswith(
        "placement: 52 violations\n\nVM    HOST  WHAT DOES NOT HOLD\nv-1   a     "
    )
    assert text.endswith("v-50  a     network lan is missing\nand 2 more\n1")


def test_a_verdict_is_a_field_of_its_own(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "redundancy: {failures: 1}\nhosts: [{name: a, capacity: {cpu: 8, memory: 8Gi}}]\n"
        "vms: [{name: v, cores: 1, memory: 1Gi, host: a}]\n"
    )
    said = "after the loss of a no host is left"
    assert out(capsys, "check", str(path)) == (
        f"placement: holds for 1 virtual machine on 1 host\n\nN+1 over hosts: impossible: {said}\n1"
    )
    data = json.loads(out(capsys, "check", str(path), "-o", "json")[:-1])["redundancy"]
    assert (data["verdict"], data["message"]) == ("impossible", said)


def test_one_case_is_one(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("redundancy: {failures: 1}\nhosts: [{name: a, capacity: {}}]\n")
    assert "N+1 over hosts: proven (1 case)" in out(capsys, "check", str(path))


def test_a_proof_by_lists_is_called_so() -> None:
    zone = Cluster((), redundancy=Redundancy(2, "rack"))
    proof = Proof(zone.redundancy, backups={"v": ("a", "b")})
    assert verdict_text(zone, proof) == "N+2 over rack: proven (backup lists)"


def test_the_cluster_is_written_as_it_is_after_moves(
    cluster: str, tmp_path: Path, capsys: Capture
) -> None:
    after = tmp_path / "after.yaml"
    text = out(capsys, "evacuate", cluster, "--write", str(after))
    assert text.startswith("STEP  VM     FROM  TO      GAIN  COPIES\n   1  cache  old   n-3  ")
    assert "1 move in 1 step, 4Gi to copy" in text
    again = out(capsys, "evacuate", str(after))
    assert again.startswith("no moves\n")
    assert out(capsys, "check", str(after)).endswith("0")


def test_moves_are_limited(cluster: str, capsys: Capture) -> None:
    assert out(capsys, "balance", cluster, "--moves=0").startswith("no moves\n")
    text = out(capsys, "evacuate", cluster, "--moves=0")
    assert "cache  old  the limit of 0 moves is reached" in text
    assert text.endswith("1")


@pytest.mark.parametrize("limit", ["--gain=9", "--enough=9", "--price=9"])
def test_what_a_move_must_win(limit: str, capsys: Capture) -> None:
    balance = ("balance", str(THREE_NODES), "--format=ganeti")
    assert not out(capsys, *balance).startswith("no moves")
    assert out(capsys, *balance, limit).startswith("no moves\n")


def test_evacuate_says_what_is_survived_without_the_hosts(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "tight.yaml"
    path.write_text(
        "redundancy: {failures: 1}\nvmOverhead: false\n"
        "hosts: [{name: h, count: 3, capacity: {cpu: 8, memory: 64Gi}}]\n"
        "vms: [{name: v, count: 3, cores: 1, memory: 24Gi, host: [h-1, h-2, h-3]}]\n"
    )
    told = out(capsys, "evacuate", str(path), "h-1")
    assert "with them closed, N+1 over hosts: impossible: after the loss of h-2 the hosts" in told
    assert told.endswith("1")
    data = json.loads(out(capsys, "evacuate", str(path), "h-1", "-o", "json")[:-1])
    assert data["withThemClosed"]["verdict"] == "impossible"
    told = out(capsys, "evacuate", str(path), "h-1", "--closed-failures=0")
    assert "closed" not in told
    assert told.endswith("0")
    path.write_text(path.read_text().replace("24Gi", "20Gi"))
    assert out(capsys, "evacuate", str(path), "h-1").endswith("0")
    told = out(capsys, "evacuate", str(path), "h-1", "--closed-failures=2")
    assert "with them closed, N+2 over hosts: impossible" in told
    assert told.endswith("1")


def test_fit_counts_and_names_the_first_limit(cluster: str, capsys: Capture) -> None:
    text = out(capsys, "fit", cluster, "--cores=1", "--memory=8Gi")
    assert text.startswith("SIZE  CPU  MEMORY  FIT\nnew     1     8Gi   14\n\n14 more fit with N+1")
    assert "\n\nfirst limit: memory after the loss of n-1\n0/4 hosts fit: " in text
    assert '"new' not in text
    assert text.endswith("0")
    assert out(capsys, "fit", cluster, "--cores=1", "--memory=8Gi", "--at-least=15").endswith("1")
    text = out(capsys, "fit", cluster, "--cores=1", "--memory=8Gi", "--most=2")
    assert "\n\nat least 2 more fit with N+1 over hosts\n" in text
    assert "first limit" not in text
    text = out(capsys, "fit", cluster, "--cores=1", "--memory=8Gi", "--most=2", "-o", "json")
    assert json.loads(text[:-1])["limit"] is None
    text = out(capsys, "fit", cluster, "--cores=1", "--memory=8Gi", "-o", "json")
    data = json.loads(text[:-1])
    assert (data["resource"], data["lost"]) == ("memory", ["n-1"])
    text = out(capsys, "fit", cluster, "--cores=1", "--memory=60Gi", "--failures=0")
    assert "\n\n1 more fits with no redundancy\n" in text


def test_fit_of_a_mix_keeps_its_proportion(cluster: str, capsys: Capture) -> None:
    small, large = "{name: s, cores: 1, memory: 4Gi, count: 3}", "{cores: 2, memory: 16Gi}"
    arguments = ("fit", cluster, "--failures=0", "--vm", small, "--vm", large, "-o", "json")
    data = json.loads(out(capsys, *arguments)[:-1])
    assert set(data["counts"]) == {"s", "new-2"}
    assert data["count"] == sum(data["counts"].values()) == sum(data["hosts"].values())
    assert abs(data["counts"]["s"] - 3 * data["counts"]["new-2"]) <= 3
    assert data["limit"] == "memory"


def test_failover_by_a_proof_that_is_older(cluster: str, tmp_path: Path, capsys: Capture) -> None:
    proof, after = str(tmp_path / "proof.json"), tmp_path / "after.yaml"
    assert main(["place", cluster, "--cores=1", "--memory=1Gi", "--proof", proof]) == 0
    capsys.readouterr()
    text = out(capsys, "failover", cluster, "old", "--proof", proof, "--write", str(after))
    assert text.startswith("lost: old; 1 of 1 virtual machine restarts\n\nORDER  VM ")
    assert text.endswith("proof\n0")
    written = read_cluster(after.read_text()).to_cluster()
    assert next(host for host in written.hosts if host.name == "old").blocked == "not ready"
    assert next(vm for vm in written.vms if vm.name == "cache").host != "old"


def test_failover_of_a_rack(cluster: str, tmp_path: Path, capsys: Capture) -> None:
    after = tmp_path / "after.yaml"
    text = out(capsys, "failover", cluster, "rack=a", "-o", "json", "--write", str(after))
    data = json.loads(text[:-1])
    assert data["lost"] == ["n-1", "n-2", "n-3"]
    assert [each["vm"] for each in data["unplaced"]] == ["web-1", "web-2"]
    written = read_cluster(after.read_text()).to_cluster()
    assert {vm.name: vm.host for vm in written.vms if vm.host} == {"cache": "old"}
    assert text.endswith("1")


def test_a_restart_as_data_says_what_the_table_says(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "vmOverhead: false\nhosts: [{name: h, count: 2, capacity: {cpu: 8, memory: 8Gi}}]\n"
        "vms: [{name: v, cores: 1, memory: 1Gi, host: h-1, priority: 7}]\n"
    )
    restarts = json.loads(out(capsys, "failover", str(path), "h-1", "-o", "json")[:-1])["restarts"]
    assert restarts == [
        {"vm": "v", "host": "h-2", "from": "search", "wasOn": "h-1", "priority": 7, "memory": 2**30}
    ]


def test_those_refused_for_the_same_are_told_once(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "redundancy: {failures: 1}\nhosts:\n"
        "- {name: a, capacity: {cpu: 8, memory: 8Gi}, cpuFeatures: [avx]}\n"
        "- {name: b, capacity: {cpu: 8, memory: 8Gi}}\n"
        "vms: [{name: v, count: 2, cores: 1, memory: 1Gi, cpuFeatures: [avx]}]\n"
    )
    text = out(capsys, "place", str(path))
    assert text.count("hosts fit") == 1
    assert "\nv-1, v-2: 0/2 hosts fit: 1 N+1 impossible (after the loss of a no host" in text


def test_ganetis_files_are_read_by_every_verb(capsys: Capture) -> None:
    file = (str(THREE_NODES), "--format", "ganeti")
    text = out(capsys, "balance", *file)
    # hbal moves the same instance to the same node.
    assert "   1  db-1  node-1.example.com  node-3.example.com" in text
    assert out(capsys, "check", *file).endswith("N+1 over hosts: proven (3 cases), verified\n0")
    # Nothing is added to an instance's size: exactly what is free still fits.
    assert out(capsys, "place", *file, "--cores=1", "--memory=63Gi", "--failures=0").endswith("0")


def test_notes_go_to_standard_error(cluster: str, capsys: Capture) -> None:
    assert main(["check", str(GROUPS), "--format=ganeti"]) == 1
    assert capsys.readouterr().err.startswith("note: group group2 is unallocable: ")
    main(["check", cluster, "--topology=rack"])
    note = "note: 1 of 4 hosts has no label rack, for example old: each counts as a failure"
    assert capsys.readouterr().err.startswith(note)
    main(["check", cluster, "--topology=rack", "-o", "json"])
    (told,) = json.loads(capsys.readouterr().out)["notes"]
    assert f"note: {told}".startswith(note)
    assert out(capsys, "check", cluster, "--topology=rack", "--failures=0").endswith("0")


def test_of_very_many_names_the_first_are_listed() -> None:
    assert listed(["a", "b", "c"], 3) == "a, b, c"
    assert listed(["a", "b", "c", "d"], 3) == "a, b, c and 1 more"


def test_standard_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(CLUSTER))
    assert out(capsys, "place", "-").endswith("0")
    monkeypatch.setattr("sys.stdin", io.StringIO("hosts: 3"))
    assert bad(capsys, "place", "-").startswith("standard input:1: hosts: 3 is no list")
    monkeypatch.setattr("sys.stdin", io.StringIO(CLUSTER))
    assert bad(capsys, "check", "-", "--proof=-").startswith("--proof: standard input is the")


def test_virtual_machines_as_arguments(cluster: str, capsys: Capture) -> None:
    entry = "{name: e, count: 2, cores: 1, memory: 1Gi, labels: {app: e},"
    entry += " antiAffinity: [{matchLabels: {app: e}}]}"
    text = out(
        capsys, "place", cluster, "--cores=1", "--memory=1Gi", "--label=app=e", "--vm", entry,
        "--node-selector=rack=a", "--failures=0", "-o", "json",
    )  # fmt: skip
    placements = json.loads(text[:-1])["placements"]
    assert sorted(placements) == ["e-1", "e-2", "new-1"]
    assert len(set(placements.values())) == 3


@pytest.mark.slow
def test_the_guide_shows_what_is_really_printed(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (ROOT / "docs" / "scheduler-tool.md").read_text()
    (tmp_path / "zone.yaml").write_text(guide.split("```yaml\n")[1].split("```")[0])
    (tmp_path / THREE_NODES.name).write_text(THREE_NODES.read_text())
    monkeypatch.chdir(tmp_path)
    blocks = [block.split("```")[0] for block in guide.split("```console\n")[1:]]
    verbs = set()
    for block in blocks:
        command, _, printed = block.partition("\n")
        arguments = shlex.split(command.removeprefix("$ python -m nopal_scheduler "))
        main(arguments)
        assert capsys.readouterr().out == printed, f"write it into the guide: {command}"
        verbs.add(arguments[0])
    assert verbs == VERBS
