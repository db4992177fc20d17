# SPDX-License-Identifier: Apache-2.0
"""Where slow things are kept between clusters and checkouts."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """The cache: ``$NOPAL_CACHE``, or ``nopal`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("NOPAL_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "nopal"


def cached(entry: Path, build: Callable[[Path], None]) -> Path:
    """Give a cached folder, building it first if it is absent.

    Built in a draft folder and renamed when complete, so that an interrupted build leaves nothing
    that looks finished; a lock keeps two builders from doing the same work.

    Args:
        entry: The finished folder.
        build: Fills the draft folder that it is given.
    """
    if entry.is_dir():
        return entry
    entry.parent.mkdir(parents=True, exist_ok=True)
    with locked(entry.with_name(f".{entry.name}.lock")):
        if entry.is_dir():
            return entry
        draft = entry.with_name(f".{entry.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            build(draft)
            draft.rename(entry)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return entry


@contextmanager
def locked(path: Path, *, remove: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel frees it when this process dies.

    Args:
        path: The lock file; made if it is absent.
        remove: Whether to remove it at the end. Whoever waits for it then makes a new one.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _same(file.fileno(), path):
                continue
            try:
                yield
            finally:
                if remove:
                    path.unlink(missing_ok=True)
            return


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
