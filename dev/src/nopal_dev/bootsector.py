# SPDX-License-Identifier: Apache-2.0
"""Guests of 512 bytes: they start at once and show every lost, stale or doubled write.

On the disk:

======  =================================================================================
sector  contents
======  =================================================================================
0       the boot sector: code, ends with 55 AA
1       the counter: 8 bytes ``NOPALCNT``, then little-endian u32 counter and u32 boots
2...    never touched
======  =================================================================================

Each tick the guest adds 1 to the counter, writes the sector through the BIOS (int 13h, which
SeaBIOS serves on virtio-blk), and then prints the counter on the first serial port as 8
hexadecimal digits and a new line. A guest that boots finds its old counter on the disk, adds 1 to
``boots`` and counts on; it prints ``nopal: boot`` first and ``nopal: off`` last.
"""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

from nopal_dev.assembler import Assembler
from nopal_dev.guest import GuestImage

SECTOR = 512
COUNTER_SECTOR = 1
MAGIC = b"NOPALCNT"

_BUFFER = 0x8000
_TICKS = 0x046C  # the BIOS data area counts 18.2 ticks a second here
_PM1_STATUS, _PM1_ENABLE, _PM1_CONTROL = 0x600, 0x602, 0x604  # SeaBIOS, i440fx and q35 alike
_JMP, _JB, _JC, _JZ, _JNZ, _JBE = 0xEB, 0x72, 0x72, 0x74, 0x75, 0x76


@dataclass(frozen=True, slots=True)
class Counter:
    """What the guest last wrote."""

    value: int
    boots: int

    @classmethod
    def parse(cls, sector: bytes) -> "Counter | None":
        """Read sector 1; None when no guest has written there yet."""
        if sector[:8] != MAGIC:
            return None
        return cls(*struct.unpack_from("<II", sector, 8))


@dataclass(frozen=True, slots=True)
class BootSector:
    """What a guest of 512 bytes does.

    Attributes:
        ticks: BIOS ticks (18.2 a second) between two writes.
        counts: Whether it counts at all; one that does not only prints ``nopal: boot`` and halts.
        power_off_after: After so many writes it powers itself off; 0 means never.
        obeys_power_button: Whether it powers off when it is asked to (ACPI shutdown).
    """

    ticks: int = 18
    counts: bool = True
    power_off_after: int = 0
    obeys_power_button: bool = True

    def code(self) -> bytes:
        """The boot sector."""
        asm = Assembler()
        _prologue(asm)
        if self.obeys_power_button:
            # The status bit is only set when the button is enabled: in ax; or ah, 1; out
            asm.emit(0xBA, _word(_PM1_ENABLE), 0xED, 0x80, 0xCC, 0x01, 0xEF)
        if self.counts:
            self._count(asm)
        else:
            asm.label("wait")
            asm.emit(0xF4)  # hlt
            self._button(asm)
            asm.jump(_JMP, "wait")
        _power_off(asm)
        _routines(asm)
        return asm.sector()

    def image(self, path: Path, *, size: int = 1 << 20) -> GuestImage:
        """Write a raw disk image of so many bytes that boots this guest."""
        content = self.code().ljust(size, b"\0")
        path.write_bytes(content)
        return GuestImage(path=path, sha256=hashlib.sha256(content).hexdigest(), format="raw")

    def _count(self, asm: Assembler) -> None:
        asm.emit(0xB4, 0x42)  # mov ah, 0x42: read
        asm.call("disk")
        for offset in (0, 4):  # cmp dword [buffer + offset], magic
            asm.emit(0x66, 0x81, 0x3E, _word(_BUFFER + offset), MAGIC[offset : offset + 4])
            asm.jump(_JNZ, "fresh")
        asm.jump(_JMP, "known")
        asm.label("fresh")
        # mov di, buffer; mov cx, 256; xor ax, ax; rep stosw
        asm.emit(0xBF, _word(_BUFFER), 0xB9, _word(256), b"\x31\xc0\xf3\xab")
        for offset in (0, 4):  # mov dword [buffer + offset], magic
            asm.emit(0x66, 0xC7, 0x06, _word(_BUFFER + offset), MAGIC[offset : offset + 4])
        asm.label("known")
        asm.emit(0x66, 0xFF, 0x06, _word(_BUFFER + 12))  # inc dword [boots]
        if self.power_off_after:
            asm.emit(0xBD, _word(self.power_off_after))  # mov bp, power_off_after
        asm.label("tick")
        asm.emit(0x66, 0xFF, 0x06, _word(_BUFFER + 8))  # inc dword [counter]
        asm.emit(0xB8, _word(0x4300))  # mov ax, 0x4300: write
        asm.call("disk")
        asm.jump(_JC, "failed")
        asm.call("number")
        if self.power_off_after:
            asm.emit(0x4D)  # dec bp
            asm.jump(_JZ, "off")
        asm.label("pause")
        asm.emit(0x8B, 0x1E, _word(_TICKS))  # mov bx, [ticks]
        asm.label("wait")
        asm.emit(0xF4)  # hlt
        self._button(asm)
        # mov ax, [ticks]; sub ax, bx; cmp ax, ticks
        asm.emit(0xA1, _word(_TICKS), b"\x29\xd8", 0x3D, _word(self.ticks))
        asm.jump(_JB, "wait")
        asm.jump(_JMP, "tick")
        asm.label("failed")
        asm.address(b"\xbe", "text-failed")  # mov si, text
        asm.call("text")
        asm.jump(_JMP, "pause")

    def _button(self, asm: Assembler) -> None:
        if self.obeys_power_button:
            asm.emit(0xBA, _word(_PM1_STATUS), 0xED, 0xF6, 0xC4, 0x01)  # in ax; test ah, 1
            asm.jump(_JNZ, "off")


def read_counter(sectors: bytes) -> Counter | None:
    """The counter in the first bytes of a disk (at least 1 KiB of them)."""
    return Counter.parse(sectors[COUNTER_SECTOR * SECTOR : (COUNTER_SECTOR + 1) * SECTOR])


def _prologue(asm: Assembler) -> None:
    # cli; xor ax, ax; mov ds, es, ss; mov sp, 0x7C00; sti; cld
    asm.emit(b"\xfa\x31\xc0\x8e\xd8\x8e\xc0\x8e\xd0\xbc\x00\x7c\xfb\xfc")
    asm.address(b"\x88\x16", "drive")  # mov [drive], dl
    asm.address(b"\xbe", "text-boot")  # mov si, text
    asm.call("text")


def _power_off(asm: Assembler) -> None:
    asm.label("off")
    asm.address(b"\xbe", "text-off")
    asm.call("text")
    # mov dx, PM1 control; mov ax, 0x2000 (sleep enable, type 0: soft off); out dx, ax
    asm.emit(0xBA, _word(_PM1_CONTROL), 0xB8, _word(0x2000), 0xEF)
    asm.emit(b"\xfa\xf4\xeb\xfd")  # cli; hlt; again


def _routines(asm: Assembler) -> None:
    asm.label("disk")  # ah: what to do; gives carry on error
    asm.address(b"\xbe", "packet")  # mov si, packet
    asm.address(b"\x8a\x16", "drive")  # mov dl, [drive]
    asm.emit(b"\xcd\x13\xc3")  # int 13h; ret

    asm.label("put")  # al: the character
    asm.emit(b"\x50\x52\x88\xc4\xba\xfd\x03")  # push ax, dx; mov ah, al; mov dx, line status
    asm.label("busy")
    asm.emit(b"\xec\xa8\x20")  # in al, dx; test al, 0x20
    asm.jump(_JZ, "busy")
    asm.emit(b"\xba\xf8\x03\x88\xe0\xee\x5a\x58\xc3")  # mov dx, data; mov al, ah; out; pop; ret

    asm.label("text")  # si: a text that ends with 0
    asm.emit(b"\xac\x08\xc0")  # lodsb; or al, al
    asm.jump(_JZ, "done")
    asm.call("put")
    asm.jump(_JMP, "text")
    asm.label("done")
    asm.emit(0xC3)

    asm.label("number")  # the counter in hexadecimal and a new line
    asm.emit(0x66, 0xA1, _word(_BUFFER + 8))  # mov eax, [counter]
    asm.emit(0xB9, _word(8))  # mov cx, 8
    asm.label("digit")
    asm.emit(b"\x66\xc1\xc0\x04\x66\x50\x24\x0f\x04\x30\x3c\x39")  # rol; push; and; add; cmp '9'
    asm.jump(_JBE, "plain")
    asm.emit(b"\x04\x27")  # add al, 'a' - '9' - 1
    asm.label("plain")
    asm.call("put")
    asm.emit(b"\x66\x58")  # pop eax
    asm.jump(0xE2, "digit")  # loop
    asm.address(b"\xbe", "text-line")
    asm.jump(_JMP, "text")

    asm.label("packet")  # int 13h: size, count, offset, segment, first sector
    asm.emit(struct.pack("<BBHHHQ", 16, 0, 1, _BUFFER, 0, COUNTER_SECTOR))
    asm.label("drive")
    asm.emit(0)
    for name, text in (("boot", "nopal: boot"), ("off", "nopal: off"), ("failed", "write failed")):
        asm.label(f"text-{name}")
        asm.emit(text.encode(), b"\r\n\0")
    asm.label("text-line")
    asm.emit(b"\r\n\0")


def _word(value: int) -> bytes:
    return struct.pack("<H", value)
