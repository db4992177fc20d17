# SPDX-License-Identifier: Apache-2.0
"""Ganeti's htools as Debian ships them, run on clusters of ours: one process for each question."""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.scheduler.ganeti_files import to_request, to_text
from nopal_scheduler.model import Cluster, Vm

INSTALL = "apt-get install -y --no-install-recommends ganeti-htools"
_PLACES = (Path("/usr/lib/ganeti"), Path("/usr/bin"))
"""hail has no command of its own: the binary `htools` is what its environment names it."""
_VERSION = re.compile(r"version (\S+)")
_SCORE = re.compile(r"^Cluster score: ([0-9.]+)$", re.MULTILINE)
_MOVE = re.compile(r"^ *\d+\. (\S+) +(\S+) *=> (\S+) +([0-9.]+) a=", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What hail says to one virtual machine."""

    host: str | None
    why: str
    """hail's own words."""
    seconds: float
    """The whole call: start, reading the state, deciding."""


@dataclass(frozen=True, slots=True)
class Balanced:
    """What hbal does with a cluster."""

    moves: tuple[tuple[str, str], ...]
    """(virtual machine, host that it goes to), in hbal's order."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """How many more hspace places."""

    count: int
    why: str
    seconds: float


class TooSlowError(Exception):
    """The peer was ended before it had an answer."""


class Htools:
    """The peer.

    Args:
        binary: The program: see `find`.
        patience: Seconds that one process of it may take; then TooSlowError is raised.
    """

    def __init__(self, binary: Path, *, patience: float) -> None:
        self._binary = binary
        self._patience = patience
        version = _VERSION.search(self._run("hbal", "--version").stdout)
        self.version = version[1] if version else "of unknown version"

    @classmethod
    def find(cls, *, patience: float) -> "Htools | None":
        """Return the installed one; None where there is none."""
        for place in _PLACES:
            found = sorted(place.rglob("htools")) if place.is_dir() else []
            programs = [each for each in found if each.is_file() and os.access(each, os.X_OK)]
            if programs:
                return cls(programs[-1], patience=patience)
        return None

    def allocate(self, cluster: Cluster, vm: Vm, *, redundant: bool = True) -> Answer:
        """Ask hail for a host; `redundant` is its N+1 check, without it that is left out."""
        with _file(json.dumps(to_request(cluster, vm))) as path:
            begun = time.perf_counter()
            options = [] if redundant else ["--no-capacity-checks"]
            done = self._run("hail", *options, str(path))
            took = time.perf_counter() - begun
        return parse_answer(done.stdout, took)

    def score(self, cluster: Cluster, *, ignore_load: bool = False) -> float:
        """Return the score that htools itself gives to a cluster; lower is better."""
        with _file(to_text(cluster)) as path:
            return parse_score(self._run("hinfo", "-t", str(path), *_load(ignore_load)).stdout)

    def balance(self, cluster: Cluster, *, ignore_load: bool = False) -> Balanced:
        """Let hbal go on until it stops by itself."""
        with _file(to_text(cluster)) as path:
            begun = time.perf_counter()
            done = self._run("hbal", "-t", str(path), *_load(ignore_load))
            took = time.perf_counter() - begun
        return Balanced(parse_moves(done.stdout), took)

    def fit(self, cluster: Cluster, vm: Vm) -> Fitted:
        """Ask hspace how many of this size still fit with N+1 kept.

        Its tiered mode cannot be switched off and takes most of the time: with one size as least,
        standard and most it has nothing to shrink.
        """
        size = f"1024,{vm.needs.memory // 2**20},{vm.needs.cpu}"
        with _file(to_text(cluster, only=vm)) as path:
            begun = time.perf_counter()
            done = self._run(
                "hspace", "-t", str(path), "--disk-template=rbd", "--machine-readable",
                f"--standard-alloc={size}",
            )  # fmt: skip
            took = time.perf_counter() - begun
        return parse_fit(done.stdout, took)

    def _run(self, tool: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"HTOOLS": tool, "LC_ALL": "C.UTF-8"}
        command = [str(self._binary), *arguments]
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=self._patience,
            )
        except subprocess.TimeoutExpired as error:
            raise TooSlowError(f"{tool} has no answer after {self._patience:g} s") from error
        if done.returncode:
            raise RuntimeError(f"{tool} ended with {done.returncode}: {done.stderr.strip()}")
        return done


def parse_answer(text: str, seconds: float) -> Answer:
    """Read hail's answer."""
    answer = json.loads(text)
    hosts: Sequence[str] = answer["result"] if answer["success"] else ()
    return Answer(hosts[0] if hosts else None, answer["info"], seconds)


def parse_score(text: str) -> float:
    """Read the score of the cluster from hinfo."""
    found = _SCORE.search(text)
    if not found:
        raise RuntimeError(f"hinfo printed no score: {text[-200:]}")
    return float(found[1])


def parse_moves(text: str) -> tuple[tuple[str, str], ...]:
    """Read hbal's steps."""
    return tuple((found[1], found[3]) for found in _MOVE.finditer(text))


def parse_fit(text: str, seconds: float) -> Fitted:
    """Read hspace's pairs."""
    pairs: Mapping[str, str] = dict(
        line.split("=", 1) for line in text.splitlines() if line.startswith("HTS_")
    )
    why = pairs.get("HTS_ALLOC_FAIL_REASON", "").strip("'\"")
    return Fitted(int(pairs["HTS_ALLOC_INSTANCES"]), why, seconds)


@contextmanager
def _file(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nopal-bench-") as folder:
        path = Path(folder) / "cluster"
        path.write_text(text)
        yield path


def _load(ignored: bool) -> tuple[str, ...]:
    return ("--ignore-dynu",) if ignored else ()
