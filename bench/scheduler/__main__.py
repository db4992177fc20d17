# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.scheduler`: measure, and print each figure beside its peer or its bound."""

import argparse
import sys
from pathlib import Path

# The killer, a second opinion by brute force, lives with the tests.
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from bench.scheduler import balancing, density, fitting, growing, placing, proving
from bench.scheduler.report import PATIENCE, Report

FIGURES = {
    "placing": placing.measure,
    "proving": proving.measure,
    "density": density.measure,
    "balancing": balancing.measure,
    "fitting": fitting.measure,
    "growing": growing.measure,
}


def main() -> None:
    """Measure all figures, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m bench.scheduler", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes and few samples")
    parser.add_argument("--json", type=Path, help="write the rows and the raw samples here too")
    parser.add_argument("--no-peer", action="store_true", help="leave htools out")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help="seconds for one answer of htools"
    )
    parser.add_argument("figures", nargs="*", help=f"of {', '.join(FIGURES)}; all of them if none")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.figures) - set(FIGURES))
    if unknown:
        parser.error(f"no figure {unknown[0]}: there are {', '.join(FIGURES)}")
    report = Report(quick=arguments.quick, peer=not arguments.no_peer, patience=arguments.patience)
    try:
        for name in arguments.figures or FIGURES:
            FIGURES[name](report)
    finally:
        # What was measured before an error or Ctrl-C is not lost.
        print(report.table())
        if arguments.json:
            report.write(arguments.json)


if __name__ == "__main__":
    main()
