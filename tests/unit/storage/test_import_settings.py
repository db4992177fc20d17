# SPDX-License-Identifier: Apache-2.0
"""The bounds of imports are the settings', on their way to the pool."""

from pathlib import Path

import pytest
import yaml

from nopal_node.__main__ import connect
from nopal_node.settings import Settings
from nopal_node.storage.base import PoolAccess
from nopal_node.storage.limits import ImportLimits
from nopal_runtime.errors import TerminalError
from nopal_runtime.settings import read

ACCESS = PoolAccess(
    fsid="f", monitors=("10.0.0.1:6789",), pool="vms", namespace="", user="nopal.n1", key="k"
)
VALUES = Path(__file__).parents[3] / "charts" / "nopal" / "values.yaml"


def limits(**environ: str) -> ImportLimits:
    return connect(read(Settings, {"NOPAL_NODE_NAME": "n1", **environ}), ACCESS).limits


def test_without_settings_they_are_the_defaults() -> None:
    assert limits() == ImportLimits()


def test_each_is_a_setting() -> None:
    found = limits(
        NOPAL_IMPORT_DOWNLOAD_GIB="1",
        NOPAL_IMPORT_VIRTUAL_GIB="2",
        NOPAL_IMPORT_DOWNLOAD_SECONDS="3",
        NOPAL_IMPORT_CONVERT_SECONDS="4",
    )
    assert (found.max_download, found.max_virtual_size) == (1 << 30, 2 << 30)
    assert (found.download_seconds, found.convert_seconds) == (3.0, 4.0)


def test_no_bound_can_be_nothing() -> None:
    with pytest.raises(TerminalError, match="NOPAL_IMPORT_CONVERT_SECONDS='0'"):
        limits(NOPAL_IMPORT_CONVERT_SECONDS="0")


def test_the_charts_are_the_programs() -> None:
    values = yaml.safe_load(VALUES.read_text())["node"]["imports"]
    default = ImportLimits()
    assert values == {
        "downloadGiB": default.max_download >> 30,
        "virtualSizeGiB": default.max_virtual_size >> 30,
        "downloadSeconds": default.download_seconds,
        "convertSeconds": default.convert_seconds,
    }
