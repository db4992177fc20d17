# SPDX-License-Identifier: Apache-2.0
"""Where a cluster's files are and which slot it has, known before anything is started.

``down`` must find everything of a cluster whose ``up`` was killed at any moment: so the state file
is the first thing that is written and the last that is removed.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from nopal_dev.cache import locked
from nopal_dev.errors import DevError, UnknownClusterError
from nopal_dev.network import namespaces

_MACHINE = Path("/run/nopal-dev")
_SLOTS = _MACHINE / "slots"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")

MARKER = "NOPAL_DEV_CLUSTER"
"""The environment variable that every process of a cluster carries."""


def state_dir() -> Path:
    """Where clusters are kept: ``$NOPAL_STATE`` or /run/nopal-dev."""
    return Path(os.environ.get("NOPAL_STATE") or _MACHINE)


@dataclass(frozen=True, slots=True)
class State:
    """What was decided when a cluster was made."""

    name: str
    slot: int
    hosts: tuple[str, ...]
    fsid: str
    objectstore: str = "memstore"

    @property
    def folder(self) -> Path:
        """All files of the cluster."""
        return _folder(self.name)

    @property
    def marker(self) -> dict[str, str]:
        """The environment that tells a process of this cluster from any other."""
        return marker(self.name)

    def save(self) -> None:
        """Write it down, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / ".cluster.tmp"
        draft.write_text(json.dumps(asdict(self)))
        draft.rename(self.folder / "cluster.json")

    def remove(self) -> None:
        """Remove all files of the cluster and give its slot back."""
        # The state file last: without it nobody would find what is left.
        for entry in self.folder.iterdir():
            if entry.name == "cluster.json":
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        shutil.rmtree(self.folder)
        with locked(_MACHINE / "slots.lock", remove=True), suppress(OSError):
            (_SLOTS / str(self.slot)).unlink(missing_ok=True)
            _SLOTS.rmdir()

    @classmethod
    def load(cls, name: str) -> "State":
        """Read a cluster's state; raises UnknownClusterError."""
        try:
            data = json.loads((_folder(name) / "cluster.json").read_text())
        except FileNotFoundError as error:
            raise UnknownClusterError(f"no cluster {name!r} in {state_dir()}") from error
        return cls(**{**data, "hosts": tuple(data["hosts"])})


def marker(name: str) -> dict[str, str]:
    """The environment of every process of the cluster with this name."""
    return {MARKER: f"{name}@{_folder(name)}"}


def free_slot(name: str) -> int:
    """Take a slot that no cluster of the machine has."""
    if not _NAME.fullmatch(name):
        raise DevError(f"cluster name {name!r}: lower-case letters, digits and -, at most 32")
    with locked(_MACHINE / "slots.lock"):
        _SLOTS.mkdir(parents=True, exist_ok=True)
        own = str(_folder(name))
        used = {each.split("-")[0] for each in namespaces()}
        for slot in range(255):
            claim = _SLOTS / str(slot)
            holder = claim.read_text() if claim.exists() else ""
            # A claim whose cluster was never written down is from an interrupted `up`.
            stale = not holder or holder == own or not Path(holder, "cluster.json").exists()
            if stale and f"np{slot}" not in used:
                claim.write_text(own)
                return slot
    raise DevError("255 clusters on one machine are enough: use `down` on some")


def clusters() -> list[str]:
    """The names of the clusters that exist here."""
    return sorted(path.parent.name for path in state_dir().glob("*/cluster.json"))


@contextmanager
def exclusive(name: str, *, last: bool = False) -> Iterator[None]:
    """Only one command at a time changes a cluster; the last one removes even the lock."""
    with locked(state_dir() / f".{name}.lock", remove=last):
        yield
    if last:
        with suppress(OSError):  # not empty: there are other clusters
            state_dir().rmdir()


def _folder(name: str) -> Path:
    return state_dir() / name
