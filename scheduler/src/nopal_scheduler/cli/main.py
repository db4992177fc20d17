# SPDX-License-Identifier: Apache-2.0
"""The verbs and their arguments: `python -m nopal_scheduler VERB CLUSTER.yaml [...]`."""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence

from . import failover, fit, moves, place, verify
from .inputs import load
from .outcome import BAD_INPUT, FAULT, InputError, Outcome
from .schema import print_schema

_EPILOG = """\
exit codes:
  0  done, or: it is so
  1  no: something does not fit, is not proven, or does not hold
  2  the file or the arguments are wrong
  3  a fault of the tool: please report it

The cluster file, and every verb by example: docs/scheduler-tool.md
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    except Exception:  # Python itself would exit with 1, which a script takes for a no
        traceback.print_exc()
        sys.stderr.write("a fault of the tool: please report it\n")
        return FAULT


def _run(options: argparse.Namespace) -> int:
    if options.verb == "schema":
        return print_schema(options)
    loaded = load(options)
    for note in loaded.notes:
        sys.stderr.write(f"note: {note}\n")
    outcome: Outcome = options.run(options, loaded)
    data = {**outcome.data, "notes": list(loaded.notes)}
    _print(outcome.text if options.output == "table" else json.dumps(data, indent=2))
    return outcome.code


def _print(text: str) -> None:
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` for example, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nopal_scheduler",
        description="Plan a cluster from a file: where virtual machines go, how many more fit,"
        " what to move, and what happens when hosts are lost.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for part in (place, fit, moves, verify, failover):
        part.add_verbs(verbs, epilog=_EPILOG)
    schema = verbs.add_parser("schema", help="print the JSON Schema of the cluster file")
    schema.add_argument("--check", metavar="FILE", help="say whether FILE has it; print nothing")
    return parser
