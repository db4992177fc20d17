# SPDX-License-Identifier: Apache-2.0
"""The boot-sector guests as bytes; tests/contract/dev boots them."""

import hashlib
from pathlib import Path

import pytest

from nopal_dev.assembler import Assembler
from nopal_dev.bootsector import MAGIC, BootSector, Counter, read_counter
from nopal_dev.errors import DevError


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("button", [True, False])
@pytest.mark.parametrize("power_off_after", [0, 3, 0xFFFF])
def test_every_guest_fits_its_sector(counts: bool, button: bool, power_off_after: int) -> None:
    guest = BootSector(counts=counts, obeys_power_button=button, power_off_after=power_off_after)
    code = guest.code()
    assert len(code) == 512
    assert code[510:] == b"\x55\xaa"


def test_image_is_padded_and_described(tmp_path: Path) -> None:
    image = BootSector().image(tmp_path / "disk.raw", size=1 << 20)
    content = image.path.read_bytes()
    assert len(content) == 1 << 20
    assert content[:512] == BootSector().code()
    assert image.sha256 == hashlib.sha256(content).hexdigest()
    assert image.format == "raw"
    assert read_counter(content) is None


def test_counter_is_read_from_sector_1() -> None:
    sector = MAGIC + (7).to_bytes(4, "little") + (2).to_bytes(4, "little")
    assert read_counter(b"\0" * 512 + sector.ljust(512, b"\0")) == Counter(value=7, boots=2)


def test_jumps_go_both_ways() -> None:
    asm = Assembler()
    asm.label("start")
    asm.jump(0xEB, "end")
    asm.jump(0xEB, "start")
    asm.label("end")
    asm.address(b"\xbe", "end")
    assert asm.sector()[:7] == b"\xeb\x02\xeb\xfc\xbe\x04\x7c"


def test_code_that_is_too_long_is_refused() -> None:
    asm = Assembler()
    asm.emit(b"\x90" * 511)
    with pytest.raises(DevError, match="510 bytes"):
        asm.sector()
