# SPDX-License-Identifier: Apache-2.0
"""Write what is made from the models: `python -m nopal_api {crds,reference} [--check]`.

To be run from the root of the repository, as `make crds` does.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from .crd_manifest import chart_template, crd_yaml
from .crd_reference import index_page, kind_page
from .kinds import HOST, KINDS

CRDS = Path("crds")
CHART = Path("charts/nopal/templates/crds")
REFERENCE = Path("docs/reference")
EXAMPLES = Path("examples")
_HOST = """\
# A Host is made by its daemon. To keep further virtual machines off it:
#   kubectl patch host node-1 --type merge -p '{"spec":{"scheduling":"Disabled"}}'
apiVersion: nopal.dev/v1alpha1
kind: Host
metadata:
  name: node-1
spec:
  scheduling: Disabled
"""


def generated_crds() -> Iterator[tuple[Path, str]]:
    """Yield path and text of each CRD, plain and as the chart's template."""
    for kind in KINDS:
        yield CRDS / f"{kind.plural}.yaml", crd_yaml(kind)
        yield CHART / f"{kind.plural}.yaml", chart_template(kind)


def generated_reference() -> Iterator[tuple[Path, str]]:
    """Yield path and text of each page of the reference."""
    yield REFERENCE / "README.md", index_page()
    examples = _examples()
    for kind in KINDS:
        yield REFERENCE / f"{kind.singular}.md", kind_page(kind, example=examples[kind.kind])


def _examples() -> dict[str, str]:
    """Return for each kind its first manifest in examples/, with the comments above it."""
    found = {HOST.kind: _HOST}
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for text in path.read_text().split("---\n"):
            found.setdefault(yaml.safe_load(text)["kind"], text)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with --check say which ones differ. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nopal_api", description=__doc__)
    parser.add_argument("what", choices=("crds", "reference"))
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    options = parser.parse_args(arguments)
    files = dict(generated_crds() if options.what == "crds" else generated_reference())
    # Of each kind of file: docs/reference/ has a schema that is made elsewhere.
    kinds = {(path.parent, path.suffix) for path in files}
    stale = [p for folder, end in kinds for p in folder.glob(f"*{end}") if p not in files]
    changed = [p for p, text in files.items() if not p.exists() or p.read_text() != text]
    if not options.check:
        for path in changed:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
        for path in stale:
            path.unlink()
    for path in sorted(changed + stale):
        sys.stdout.write(f"{path}\n")
    if options.check and (changed or stale):
        sys.stderr.write("these files differ from the models: run `make crds`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
