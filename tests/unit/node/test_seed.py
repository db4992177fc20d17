# SPDX-License-Identifier: Apache-2.0
"""The cloud-init seed as a guest reads it."""

import io
import json
import time

import pycdlib
import pytest

from nopal_node.storage.nocloud import NoCloudSeed

SEED = NoCloudSeed(
    instance_id="uid-1", hostname="vm1", user_data=b"#cloud-config\n", network_data="version: 2\n"
)


def read(iso: bytes, name: str) -> bytes:
    image = pycdlib.PyCdlib()
    image.open_fp(io.BytesIO(iso))
    out = io.BytesIO()
    image.get_file_from_iso_fp(out, rr_path=f"/{name}")
    image.close()
    return out.getvalue()


def test_cloud_init_finds_it_by_its_label() -> None:
    assert b"cidata" in SEED.iso()[0x8000:0x8800]


def test_what_it_holds() -> None:
    iso = SEED.iso()
    meta = json.loads(read(iso, "meta-data"))
    assert meta == {"instance-id": "uid-1", "local-hostname": "vm1"}
    assert read(iso, "user-data") == SEED.user_data
    assert read(iso, "network-config") == b"version: 2\n"


def test_no_string_of_a_tenant_breaks_out() -> None:
    name = 'vm1", "instance-id": "other\n---\n'
    seed = NoCloudSeed(instance_id="uid-1", hostname=name, user_data=b"")
    assert json.loads(read(seed.iso(), "meta-data"))["instance-id"] == "uid-1"


def test_the_same_content_is_the_same_bytes_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed that differs is written anew: at every start of a guest, then."""
    first = SEED.iso()
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    assert SEED.iso() == first
