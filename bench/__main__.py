# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: measure, and print each figure beside its limit and its goal."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench.figures import Figures
from support.cluster import installed_cluster
from support.site import Site


def main() -> None:
    """Measure on a cluster of its own, or on one that is named and kept."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--cluster", help="measure on this cluster and keep it")
    parser.add_argument("--samples", type=int, default=20, help="VMs started one after another")
    parser.add_argument("--burst", type=int, default=20, help="VMs started at once")
    parser.add_argument("--objects", type=int, default=1000, help="VM objects for memory")
    parser.add_argument("--json", type=Path, help="write the raw samples here too")
    arguments = parser.parse_args()
    own = f"bench-{os.getpid()}"
    with installed_cluster(arguments.cluster, own=own, say=print) as cluster:
        site = Site(cluster)
        # The defaults of a production site: no short time limits.
        site.start({})
        figures = Figures(site)
        figures.prepare()
        try:
            figures.latency(arguments.samples)
            figures.burst(arguments.burst)
            figures.steady()
            figures.memory(arguments.objects)
        finally:
            figures.close()
        if arguments.json:
            arguments.json.write_text(json.dumps(figures.raw, indent=1) + "\n")


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"measured in {time.monotonic() - started:.0f} s")
