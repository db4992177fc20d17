# SPDX-License-Identifier: Apache-2.0
"""Names, slots, caches and locks: what keeps clusters apart and interrupted work out of sight."""

import threading
from pathlib import Path

import pytest

from nopal_dev import binaries, packages, state
from nopal_dev.cache import cached, locked
from nopal_dev.errors import DevError, UnknownClusterError
from nopal_dev.network import Network
from nopal_dev.state import State, clusters, free_slot


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NOPAL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(state, "_MACHINE", tmp_path / "machine")
    monkeypatch.setattr(state, "_SLOTS", tmp_path / "machine" / "slots")
    monkeypatch.setattr(state, "namespaces", lambda: ["np1-fabric", "somebody-elses"])
    return tmp_path


def _state(name: str, slot: int) -> State:
    return State(name=name, slot=slot, hosts=("node-1",), fsid="f")


def test_links_have_names_that_linux_takes() -> None:
    for slot in (0, 9, 254):
        network = Network(slot)
        for link in (f"{network.prefix}mgmt", network.guest_link):
            assert len(link) <= 15


def test_slots_are_taken_once_and_given_back(machine: Path) -> None:
    first = _state("one", free_slot("one"))
    first.save()
    second = _state("two", free_slot("two"))
    second.save()
    assert (first.slot, second.slot) == (0, 2)  # np1 belongs to a namespace that exists
    assert clusters() == ["one", "two"]
    (first.folder / "logs").mkdir()
    first.remove()
    assert not first.folder.exists()
    assert clusters() == ["two"]
    assert free_slot("three") == 0


def test_a_slot_whose_cluster_was_never_written_down_is_free_again(machine: Path) -> None:
    assert free_slot("killed") == 0
    assert free_slot("other") == 0


def test_state_comes_back_as_it_was(machine: Path) -> None:
    saved = _state("one", 7)
    saved.save()
    assert State.load("one") == saved
    with pytest.raises(UnknownClusterError):
        State.load("two")


@pytest.mark.parametrize("name", ["", "A", "-x", "x-", "a/b", "..", "x" * 33])
def test_names_that_are_no_names_are_refused(machine: Path, name: str) -> None:
    with pytest.raises(DevError, match="cluster name"):
        free_slot(name)


def test_an_interrupted_build_leaves_nothing_that_looks_done(tmp_path: Path) -> None:
    def broken(draft: Path) -> None:
        (draft / "half").touch()
        raise DevError("no more room")

    with pytest.raises(DevError):
        cached(tmp_path / "entry", broken)
    assert not (tmp_path / "entry").exists()
    assert cached(tmp_path / "entry", lambda draft: (draft / "whole").touch()).is_dir()
    assert [path.name for path in (tmp_path / "entry").iterdir()] == ["whole"]


def test_what_is_cached_is_built_once(tmp_path: Path) -> None:
    built = []

    def build(draft: Path) -> None:
        built.append(draft)

    threads = [threading.Thread(target=cached, args=(tmp_path / "entry", build)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_a_lock_that_was_removed_still_excludes(tmp_path: Path) -> None:
    inside = []
    most = []

    def work() -> None:
        with locked(tmp_path / "lock", remove=True):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert not (tmp_path / "lock").exists()


ENVTEST = ("etcd", "kube-apiserver", "kubectl")
"""What the folder holds that envtest downloads."""


def folder_with(path: Path, *programs: str) -> str:
    path.mkdir()
    for name in programs:
        (path / name).touch(mode=0o755)
    return str(path)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no program in a cache and no Go."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("NOPAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    (tmp_path / "path").mkdir()
    return tmp_path


def go(bare: Path) -> None:
    """A Go that makes each program a file with the name of its package."""
    script = 'while [ "$1" != -o ]; do shift; done; echo "$3" > "$2"'
    program = bare / "path" / "go"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_folder_with_all_programs_needs_no_go(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = folder_with(bare / "assets", *ENVTEST, "kube-controller-manager", "helm")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", assets)
    assert binaries.Binaries.find().path == assets


def test_what_envtest_lacks_is_named(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", folder_with(bare / "assets", *ENVTEST))
    with pytest.raises(DevError, match=r"^kube-controller-manager, helm: neither in.*install Go"):
        binaries.Binaries.find()


def test_what_envtest_lacks_is_built(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = Path(folder_with(bare / "assets", *ENVTEST))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    go(bare)
    said: list[str] = []
    found = binaries.Binaries.find(said.append)
    assert [line.split()[1] for line in said] == ["kube-controller-manager", "helm"]
    assert [found.etcd, found.apiserver, found.kubectl] == [assets / name for name in ENVTEST]
    assert "kube-controller-manager" in found.controller_manager.read_text()
    assert binaries.Binaries.find(said.append) == found
    assert len(said) == 2  # found in the cache


def test_a_part_in_the_cache_is_not_taken_for_the_whole(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", folder_with(bare / "assets", *ENVTEST))
    go(bare)
    binaries.Binaries.find()
    monkeypatch.delenv("KUBEBUILDER_ASSETS")
    whole = binaries.Binaries.find()
    assert all(path.exists() for path in (whole.apiserver, whole.kubectl, whole.controller_manager))


def test_without_go_the_message_says_what_to_do(bare: Path) -> None:
    with pytest.raises(DevError, match=r"KUBEBUILDER_ASSETS.*install Go"):
        binaries.Binaries.find()


def test_packages_are_not_installed_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "missing", lambda: ["ceph-mon"])
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(DevError, match="sudo apt-get install ceph-mon"):
        packages.install()


def test_another_distribution_is_told_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(DevError, match="ceph-mon"):
        packages.missing()
