# SPDX-License-Identifier: Apache-2.0
"""The control plane's programs: no Debian suite ships them, so they are built from Go modules.

Order: ``$KUBEBUILDER_ASSETS`` (what envtest uses), an earlier build in the cache, a build from the
pinned modules in ``dev/go`` (about 6 minutes on 2 cores, once per version).
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
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
    programs: dict[str, str]
    ldflags: str = "-s -w"


_KUBERNETES = "v1.36.3"
_MODULES = (
    _Module(
        folder="kubernetes",
        version=_KUBERNETES,
        programs={
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
            DevError: Go is absent, or a build failed.
        """
        found = {name: path for module in _MODULES for name, path in _programs(module, say).items()}
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


def _programs(module: _Module, say: Callable[[str], None]) -> dict[str, Path]:
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        given = {name: Path(assets) / name for name in module.programs}
        if all(os.access(path, os.X_OK) for path in given.values()):
            return given
    # The folder of envtest has neither kube-controller-manager nor helm: a part that is not
    # complete there is built, so that all programs of one module have one version.
    folder = cached(
        cache_dir() / "bin" / f"{module.folder}-{module.version}",
        lambda draft: _build(module, draft, say),
    )
    return {name: folder / name for name in module.programs}


def _build(module: _Module, draft: Path, say: Callable[[str], None]) -> None:
    if shutil.which("go") is None:
        raise DevError(
            f"{', '.join(module.programs)}: neither in $KUBEBUILDER_ASSETS nor in {cache_dir()},"
            " and there is no Go to build them: install Go 1.26 and put it on PATH"
        )
    for name, package in module.programs.items():
        say(f"building {name} {module.version} from Go modules")
        run(
            [
                *("go", "build", "-C", str(_SOURCES / module.folder)),
                *("-trimpath", "-buildvcs=false", "-ldflags", module.ldflags),
                *("-o", str(draft / name), package),
            ],
            env={"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
            timeout=3600.0,
        )
