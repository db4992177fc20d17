# SPDX-License-Identifier: Apache-2.0
"""The control plane's programs: no Debian suite ships them, so they are built from Go modules.

Order, for each program: ``$KUBEBUILDER_ASSETS``, an earlier build in the cache, a build from the
pinned modules in ``dev/go`` (about 6 minutes on 2 cores, once per version). The folder that envtest
downloads holds three of the five, so Go builds the other two.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nopal_dev.cache import cache_dir, cached
from nopal_dev.commands import run
from nopal_dev.errors import DevError

_VERSION = "k8s.io/component-base/version"
_SOURCES = Path(__file__).parents[2] / "go"


@dataclass(frozen=True, slots=True)
class _Module:
    """One pinned Go module of ours and the programs that it builds."""

    folder: str
    version: str
    packages: dict[str, str]
    ldflags: str = "-s -w"


_KUBERNETES = "v1.36.3"
_MODULES = (
    _Module(
        folder="kubernetes",
        version=_KUBERNETES,
        packages={
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kubectl")
        },
        ldflags=(
            f"-s -w -X {_VERSION}.gitVersion={_KUBERNETES}"
            f" -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36"
        ),
    ),
    _Module("etcd", "v3.6.16", {"etcd": "go.etcd.io/etcd/server/v3"}),
    _Module("helm", "v4.3.1", {"helm": "helm.sh/helm/v4/cmd/helm"}),
)
_PROGRAMS = tuple(name for module in _MODULES for name in module.packages)


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where each program is."""

    apiserver: Path
    controller_manager: Path
    etcd: Path
    kubectl: Path
    helm: Path

    @classmethod
    def find(cls, say: Callable[[str], None] = lambda _line: None) -> "Binaries":
        """Find every program, building what is absent.

        Args:
            say: Is told what is built; a build takes minutes.

        Raises:
            DevError: Something is absent and so is Go, or a build failed.
        """
        found = _given()
        absent = [
            (module, names, _entry(module, names))
            for module in _MODULES
            if (names := [name for name in module.packages if name not in found])
        ]
        _need_go([name for _, names, entry in absent if not entry.is_dir() for name in names])
        for module, names, entry in absent:
            folder = cached(entry, partial(_build, module, names, say=say))
            found |= {name: folder / name for name in names}
        return cls(
            apiserver=found["kube-apiserver"],
            controller_manager=found["kube-controller-manager"],
            etcd=found["etcd"],
            kubectl=found["kubectl"],
            helm=found["helm"],
        )

    @property
    def path(self) -> str:
        """The folders of kubectl and helm, as an entry of ``$PATH``."""
        return ":".join(dict.fromkeys((str(self.kubectl.parent), str(self.helm.parent))))


def _given() -> dict[str, Path]:
    """The programs that ``$KUBEBUILDER_ASSETS`` holds."""
    if not (assets := os.environ.get("KUBEBUILDER_ASSETS")):
        return {}
    given = {name: Path(assets) / name for name in _PROGRAMS}
    return {name: path for name, path in given.items() if os.access(path, os.X_OK)}


def _entry(module: _Module, names: Sequence[str]) -> Path:
    """The folder in the cache that has, or shall have, these programs of a module."""
    whole = cache_dir() / "bin" / f"{module.folder}-{module.version}"
    if len(names) == len(module.packages) or whole.is_dir():
        return whole
    # A part is kept apart: nobody may take it for the whole.
    return whole.with_name("-".join((whole.name, "only", *names)))


def _need_go(absent: Sequence[str]) -> None:
    if absent and shutil.which("go") is None:
        raise DevError(
            f"{', '.join(absent)}: neither in $KUBEBUILDER_ASSETS nor in {cache_dir()}, and there"
            " is no Go to build them: install Go 1.26 and put it on PATH, or let"
            f" KUBEBUILDER_ASSETS name a folder that holds {', '.join(_PROGRAMS)} (the one that"
            " envtest downloads lacks two of them)"
        )


def _build(
    module: _Module, names: Sequence[str], draft: Path, *, say: Callable[[str], None]
) -> None:
    for name in names:
        say(f"building {name} {module.version} from Go modules")
        run(
            [
                *("go", "build", "-C", str(_SOURCES / module.folder)),
                *("-trimpath", "-buildvcs=false", "-ldflags", module.ldflags),
                *("-o", str(draft / name), module.packages[name]),
            ],
            env={"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
            timeout=3600.0,
        )
