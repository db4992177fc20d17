# SPDX-License-Identifier: Apache-2.0
"""What every verb reads: the cluster, and virtual machines that are given as arguments."""

import argparse
import gc
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ..files.cluster_file import unknown_topology
from ..files.cluster_writer import write_cluster
from ..files.cluster_yaml import FileError, read_cluster, read_vm
from ..files.file_entries import VmEntry
from ..files.ganeti import read_ganeti
from ..files.proof_json import proof_from_json, proof_to_json
from ..model import Cluster, Redundancy, Vm
from ..proof import Proof
from ..words import did_you_mean
from .outcome import InputError


@dataclass(frozen=True, slots=True)
class Loaded:
    """A cluster as it was read."""

    cluster: Cluster
    overhead: bool
    """Whether what QEMU takes is added to the memory of a virtual machine."""
    notes: tuple[str, ...] = ()


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which cluster is meant and how the answer looks."""
    parser.add_argument("cluster", metavar="CLUSTER", help="cluster file; - reads standard input")
    parser.add_argument(
        "--format",
        choices=("nopal", "ganeti"),
        default="nopal",
        help="nopal: YAML, see docs/scheduler-tool.md. ganeti: text file of htools (hscan)",
    )
    parser.add_argument(
        "--failures",
        type=int,
        choices=range(4),
        metavar="K",
        help="failure domains that may be lost at once, 0 to 3, in place of the file's",
    )
    parser.add_argument(
        "--topology",
        metavar="KEY",
        help="what fails as a whole, in place of the file's: host, or a label of hosts",
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")


def add_vms(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that describe virtual machines."""
    group = parser.add_argument_group("virtual machines")
    group.add_argument("--cores", type=int, metavar="N", help="virtual CPUs")
    group.add_argument("--memory", metavar="SIZE", help="memory, for example 8Gi")
    group.add_argument("--count", type=int, metavar="N", help="so many of them")
    group.add_argument("--name", metavar="NAME", help="name, or what their names begin with")
    group.add_argument(
        "--more", action="append", metavar="NAME=N", help="a further resource, e.g. gpu=1"
    )
    group.add_argument(
        "--label", action="append", metavar="KEY=VALUE", help="a label that rules match"
    )
    group.add_argument(
        "--node-selector", action="append", metavar="KEY=VALUE", help="a label its host must have"
    )
    group.add_argument(
        "--network", action="append", metavar="NAME", help="a network its host must have"
    )
    group.add_argument(
        "--cpu-feature", action="append", metavar="NAME", help="a CPU feature its host must have"
    )
    group.add_argument(
        "--vm",
        action="append",
        metavar="YAML",
        help="an entry as below `vms` in a cluster file, with rules and all, for example"
        " '{cores: 2, memory: 4Gi, antiAffinity: [{matchLabels: {app: db}}]}'; may be repeated",
    )


def load(options: argparse.Namespace) -> Loaded:
    """Read the cluster that the arguments name."""
    text = read_text(options.cluster)
    name = "standard input" if options.cluster == "-" else options.cluster
    gc.disable()  # of millions of new objects none is garbage: to look takes most of the time
    try:
        if options.format == "ganeti":
            found = read_ganeti(text, name)
            loaded = Loaded(found.cluster, overhead=False, notes=found.notes)
        else:
            counts = options.topology is None and options.failures != 0
            file = read_cluster(text, name, topology=counts)
            loaded = Loaded(file.to_cluster(), overhead=file.vm_overhead)
    except ValueError as error:
        raise InputError(str(error)) from None
    finally:
        gc.enable()
    if options.topology == "":
        raise InputError("--topology: is empty: write host, or a label of hosts")
    asked = loaded.cluster.redundancy
    redundancy = Redundancy(
        asked.failures if options.failures is None else options.failures,
        options.topology or asked.topology,
    )
    cluster = replace(loaded.cluster, redundancy=redundancy)
    what = unknown_topology(redundancy.topology, (host.labels for host in cluster.hosts))
    if what and options.topology is not None:
        raise InputError(f"--topology: {what}")
    if what and redundancy.failures:
        raise InputError(f"{name}: redundancy.topologyKey: {what}")
    notes = [*loaded.notes, *_doubts(cluster)]
    return replace(loaded, cluster=cluster, notes=tuple(notes))


def _doubts(cluster: Cluster) -> Iterable[str]:
    topology, failures = cluster.redundancy.topology, cluster.redundancy.failures
    without = [host.name for host in cluster.hosts if host.domain(topology) is None]
    if failures and without:
        some = "has" if len(without) == 1 else "have"
        yield (
            f"{len(without)} of {len(cluster.hosts)} hosts {some} no label {topology}, for example"
            f" {without[0]}: each counts as a failure domain of its own"
        )


def given_vms(options: argparse.Namespace, loaded: Loaded, *, name: str) -> tuple[Vm, ...]:
    """Return the virtual machines that the arguments describe, named apart from the cluster's.

    Args:
        options: With the arguments of `add_vms`.
        loaded: The cluster.
        name: What those are called that have no name.
    """
    taken = {vm.name for vm in loaded.cluster.vms}
    vms = [
        vm
        for entry in _entries(options, name=name)
        for vm in entry.to_vms(overhead=loaded.overhead)
    ]
    for vm in vms:
        if vm.name in taken:
            raise InputError(f'there is a virtual machine "{vm.name}" already: give another --name')
        if vm.host is not None:
            raise InputError(f'"{vm.name}" has a host: leave host out of --vm')
        taken.add(vm.name)
    return tuple(vms)


def given_sizes(options: argparse.Namespace, loaded: Loaded, *, name: str) -> list[tuple[Vm, int]]:
    """Return one virtual machine for each size that the arguments describe, and its count."""
    sizes: dict[str, tuple[Vm, int]] = {}
    for entry in _entries(options, name=name):
        (vm,) = entry.model_copy(update={"count": None}).to_vms(overhead=loaded.overhead)
        if vm.name in sizes:
            raise InputError(f'two sizes are called "{vm.name}": give each its own name')
        sizes[vm.name] = (vm, entry.count or 1)
    return list(sizes.values())


def _entries(options: argparse.Namespace, *, name: str) -> Iterator[VmEntry]:
    """Yield the entries that the arguments describe; those without a name get one."""
    entries = [("--vm", _mapping(text)) for text in options.vm or ()]
    simple = _simple(options)
    if simple:
        entries.insert(0, ("arguments", simple))
    for i, (source, entry) in enumerate(entries, start=1):
        named = {"name": name if len(entries) == 1 else f"{name}-{i}", **entry}
        try:
            yield read_vm(named, source)
        except FileError as error:
            raise InputError(str(error)) from None


def chosen_hosts(cluster: Cluster, words: Sequence[str]) -> tuple[str, ...]:
    """Return the hosts that arguments name: by name, or by a label as KEY=VALUE."""
    chosen = dict[str, None]()
    names = {host.name for host in cluster.hosts}
    for word in words:
        key, is_label, value = word.partition("=")
        found = [host.name for host in cluster.hosts if host.labels.get(key) == value]
        if not is_label:
            found = [word] if word in names else []
        if not found:
            pairs = (f"{k}={v}" for host in cluster.hosts for k, v in host.labels.items())
            meant = did_you_mean(word, set(pairs) if is_label else names)
            what = "host with the label" if is_label else "host"
            raise InputError(f"there is no {what} {word}{meant}")
        chosen.update(dict.fromkeys(sorted(found)))
    return tuple(chosen)


def _mapping(text: str) -> dict[str, Any]:
    try:
        entry = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise InputError(f"--vm: {text!r} is no mapping: write '{{cores: 2, memory: 4Gi}}'")
    return entry


def _simple(options: argparse.Namespace) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "cores": options.cores,
        "memory": options.memory,
        "count": options.count,
        "name": options.name,
        "labels": _pairs("--label", options.label),
        "nodeSelector": _pairs("--node-selector", options.node_selector),
        "networks": options.network,
        "cpuFeatures": options.cpu_feature,
    }
    entry["more"] = _pairs("--more", options.more)
    entry = {key: value for key, value in entry.items() if value not in (None, {})}
    if entry and not {"cores", "memory"} <= entry.keys():
        raise InputError("a virtual machine needs --cores and --memory; or describe it by --vm")
    return entry


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise InputError(f"{option}: {text!r}: write KEY=VALUE")
        pairs[key] = value
    return pairs


def read_proof(path: str) -> Proof:
    """Read a proof that `write_proof` wrote."""
    text = read_text(path)
    try:
        return proof_from_json(json.loads(text))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: is no JSON: {error.msg}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply to be a proof") from None


def write_proof(path: str, proof: Proof) -> None:
    """Write a proof as JSON."""
    _write(path, json.dumps(proof_to_json(proof), indent=1) + "\n")


def write_file(path: str, cluster: Cluster, *, overhead: bool) -> None:
    """Write a cluster as a cluster file; `overhead` as it was read."""
    _write(path, write_cluster(cluster, overhead=overhead))


def read_text(path: str) -> str:
    """Read a file; - is standard input."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is no UTF-8 text") from None


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
