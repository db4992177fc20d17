# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of the cluster file, made from its models."""

import argparse
import inspect
import json
import sys
from typing import Any

from ..files.cluster_file import ClusterFile
from .inputs import read_text
from .outcome import DONE, NO


def schema_text() -> str:
    """Return what docs/reference/cluster.schema.json has to be."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_plain(ClusterFile.model_json_schema(by_alias=True)),
    }
    return json.dumps(schema, indent=2) + "\n"


def print_schema(options: argparse.Namespace) -> int:
    """Print it; with --check say whether a file has it. Returns the exit code.

    Raises:
        InputError: the file cannot be read.
    """
    if options.check is None:
        sys.stdout.write(schema_text())
        return DONE
    path = options.check
    if read_text(path) == schema_text():
        return DONE
    sys.stderr.write(f"{path} differs from the models: run `make crds`\n")
    return NO


def _plain(node: Any) -> Any:
    """Return a schema without line breaks in its words and without titles made of names."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {}
    for key, value in node.items():
        if key == "description" and isinstance(value, str):
            found[key] = " ".join(inspect.cleandoc(value).split())
        elif not (key == "title" and isinstance(value, str)):
            found[key] = _plain(value)
    return found
