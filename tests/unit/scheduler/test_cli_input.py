# SPDX-License-Identifier: Apache-2.0
"""What the command line refuses, how it says so, and what its files may look like."""

import json
import os
from pathlib import Path

import pytest

from nopal_scheduler.cli.main import main
from nopal_scheduler.cli.schema import schema_text
from support.commandline import VERBS, Capture, bad

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["place", "CLUSTER", "--cores=1"], "a virtual machine needs --cores and --memory"),
        (["place", "CLUSTER", "--cores=1", "--memory=8 gigs"], "arguments: memory: '8 gigs' is"),
        (["place", "CLUSTER", "--cores=1", "--memory=8"], "arguments: memory: 8 is 8 bytes: write"),
        (["place", "CLUSTER", "--cores=1", "--memory=1Gi", "--more=gpu"], "--more: 'gpu': write"),
        (
            ["place", "CLUSTER", "--cores=1", "--memory=1Gi", "--more=gpu=2Gi"],
            "arguments: more: gpu: '2Gi' is no whole number, and gpu is counted: write 2",
        ),
        (["place", "CLUSTER", "--label", "=x"], "--label: '=x': write KEY=VALUE"),
        (
            ["place", "CLUSTER", *(2 * ["--vm={name: s, cores: 1, memory: 1Gi}"])],
            'there is a virtual machine "s" already: give another --name',
        ),
        (["place", "LATIN"], "LATIN: is no UTF-8 text"),
        (["place", "CLUSTER", "--vm", "{cores: 1}"], "--vm: memory: is missing: add it"),
        (["place", "CLUSTER", "--vm", "{core: 1}"], "--vm: cores: is missing: add it\n--vm: mem"),
        (["place", "CLUSTER", "--vm", "3"], "--vm: '3' is no mapping: write"),
        (["place", "CLUSTER", "--vm", "{cores: 1, memory: 1Gi, name: db}"], "there is a virtual"),
        (["place", "CLUSTER", "--vm", "{cores: 1, memory: 1Gi, host: old}"], '"new" has a host'),
        (["place", "CLUSTER", "--failures=0", "--proof=x"], "--proof: the cluster is to survive"),
        (["place", "CLUSTER", "--proof=/nowhere/x"], "/nowhere/x: cannot be written: No such"),
        (["place", "/nowhere"], "/nowhere: No such file or directory"),
        (["check", "CLUSTER", "--proof=/nowhere"], "/nowhere: No such file or directory"),
        (["check", "CLUSTER", "--proof=CLUSTER"], "CLUSTER:1: is no JSON: "),
        (["check", "CLUSTER", "--format=ganeti"], "CLUSTER: has 1 sections, must have 5"),
        (["fit", "CLUSTER"], "say what is to fit: --cores and --memory, or --vm for every size"),
        (["fit", "CLUSTER", "--cores=1", "--memory=1Gi", "--most=0"], "--most: 0 is not a number"),
        (
            ["fit", "CLUSTER", *(2 * ["--vm={name: s, cores: 1, memory: 1Gi}"])],
            'two sizes are called "s": give each its own name',
        ),
        (["evacuate", "CLUSTER", "n-9"], "there is no host n-9: did you mean n-3?\n"),
        (["evacuate", "CLUSTER", "zzz"], "there is no host zzz\n"),
        (
            ["failover", "CLUSTER", "rack=b"],
            "there is no host with the label rack=b: did you mean rack=a?\n",
        ),
        (
            ["check", "CLUSTER", "--topology=rac"],
            "--topology: no host has the label rac: did you mean rack?\n",
        ),
        (
            ["check", "CLUSTER", "--topology=zzz"],
            "--topology: no host has the label zzz: write host, or give hosts the label\n",
        ),
        (["check", "CLUSTER", "--topology="], "--topology: is empty: write host, or a label"),
        (["balance", "CLUSTER", "--concurrent=0"], "--concurrent: 0 is no amount: give 1 or more"),
        (["balance", "CLUSTER", "--moves=-1"], "--moves: -1 is no amount: give 0 or more"),
        (["balance", "CLUSTER", "--gain=nan"], "--gain: nan is no amount: give 0 or more"),
        (["balance", "CLUSTER", "--enough=-1"], "--enough: -1.0 is no amount"),
        (["evacuate", "CLUSTER", "--price=inf"], "--price: inf is no amount"),
        (["check", "CLUSTER", "--proof=DEEP"], "DEEP: is nested too deeply to be a proof"),
        (["place", "CLUSTER", "--vm", "[" * 5000], "--vm: "),
    ],
)
def test_bad_input(arguments: list[str], error: str, cluster: str, capsys: Capture) -> None:
    files = {"CLUSTER": cluster, "DEEP": f"{cluster}.deep", "LATIN": f"{cluster}.latin"}
    Path(files["DEEP"]).write_text("[" * 100_000)
    Path(files["LATIN"]).write_bytes(b"hosts: []  # \xfcber")

    def named(text: str) -> str:
        for word, path in files.items():
            text = text.replace(word, path)
        return text

    assert bad(capsys, *map(named, arguments)).startswith(named(error))


def test_evacuate_without_hosts_wants_draining_ones(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("hosts: [{name: a, capacity: {}}]")
    assert bad(capsys, "evacuate", str(path)).startswith("no host is draining: name the hosts")


def test_a_failure_domain_of_the_file_counts_where_it_is_asked_for(
    tmp_path: Path, capsys: Capture
) -> None:
    path, off = tmp_path / "c.yaml", tmp_path / "off.yaml"
    text = "redundancy:\n  failures: 1\n  topologyKey: rac\nhosts: [{name: a, capacity: {},"
    text += " labels: {rack: x}}]\n"
    path.write_text(text)
    off.write_text(text.replace("failures: 1", "failures: 0"))
    what = "redundancy.topologyKey: no host has the label rac: did you mean rack?\n"
    assert bad(capsys, "check", str(path)) == f"{path}:3: {what}"
    assert bad(capsys, "check", str(off), "--failures=1") == f"{off}: {what}"
    assert main(["check", str(path), "--topology=rack"]) == 0
    assert main(["check", str(path), "--failures=0"]) == 0
    assert main(["check", str(off)]) == 0


def test_a_fault_of_the_tool_is_no_answer(
    cluster: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ValueError("what no one thought of")

    monkeypatch.setattr("nopal_scheduler.cli.verify.check_placement", broken)
    assert main(["check", cluster]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("Traceback (most recent call last):\n")
    end = "ValueError: what no one thought of\na fault of the tool: please report it\n"
    assert printed.err.endswith(end)


@pytest.mark.parametrize("arguments", [[], ["grow"], ["place"], ["check", "x", "--failures=4"]])
def test_usage_errors_exit_as_bad_input(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m nopal_scheduler" in capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_names_the_exit_codes(verb: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert "exit codes:\n  0  done" in capsys.readouterr().out


def test_a_reader_that_has_enough_is_no_error(
    cluster: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert main(["check", cluster]) == 0


def test_the_schema_is_the_committed_one(capsys: Capture, tmp_path: Path) -> None:
    committed = ROOT / "docs" / "reference" / "cluster.schema.json"
    assert main(["schema", "--check", str(committed)]) == 0, "run `make crds`"
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == schema_text()
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert main(["schema", "--check", str(other)]) == 1
    capsys.readouterr()
    assert bad(capsys, "schema", "--check", str(tmp_path)) == f"{tmp_path}: Is a directory\n"


def test_the_schema_describes_every_field() -> None:
    schema = json.loads(schema_text())
    for model in (schema, *schema["$defs"].values()):
        for name, field in model["properties"].items():
            assert field.get("description") or "$ref" in field, name
