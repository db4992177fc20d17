# SPDX-License-Identifier: Apache-2.0
"""Just enough of an assembler for a boot sector: bytes, labels and short jumps."""

import struct

from nopal_dev.errors import DevError

ORIGIN = 0x7C00
"""Where the BIOS loads a boot sector."""


class Assembler:
    """Collects 16-bit code; labels may be used before they are set."""

    def __init__(self) -> None:
        self._code = bytearray()
        self._labels: dict[str, int] = {}
        self._relative: list[tuple[int, str, int]] = []
        self._absolute: list[tuple[int, str]] = []

    def emit(self, *parts: int | bytes) -> None:
        """Add bytes: numbers are single bytes."""
        for part in parts:
            self._code += bytes([part]) if isinstance(part, int) else part

    def label(self, name: str) -> None:
        """Name this place."""
        self._labels[name] = len(self._code)

    def jump(self, opcode: int, label: str) -> None:
        """A short jump, conditional or not (``jmp`` is 0xEB, ``jb`` 0x72, ``jz`` 0x74...)."""
        self.emit(opcode, 0)
        self._relative.append((len(self._code) - 1, label, 1))

    def call(self, label: str) -> None:
        """A near call."""
        self.emit(0xE8, b"\0\0")
        self._relative.append((len(self._code) - 2, label, 2))

    def address(self, opcode: bytes, label: str) -> None:
        """An instruction that ends with a label's 16-bit address."""
        self.emit(opcode, b"\0\0")
        self._absolute.append((len(self._code) - 2, label))

    def sector(self) -> bytes:
        """The finished boot sector: 512 bytes with the signature."""
        code = bytearray(self._code)
        for place, label, width in self._relative:
            distance = self._labels[label] - (place + width)
            code[place : place + width] = struct.pack("<b" if width == 1 else "<h", distance)
        for place, label in self._absolute:
            code[place : place + 2] = struct.pack("<H", ORIGIN + self._labels[label])
        if len(code) > 510:
            raise DevError(f"a boot sector has 510 bytes for code, not {len(code)}")
        return bytes(code).ljust(510, b"\0") + b"\x55\xaa"
