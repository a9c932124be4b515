"""A reader of MATLAB 5 files that stays within the file whatever it says.

Annotation files come from mirrors, and `scipy.io.loadmat` can crash the process on a damaged one.
Only what annotations need is read: structure and cell arrays of texts and numbers. The format is
described in *MAT-File Format*, The MathWorks, chapter 1 (level 5).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MAX_ENTRIES = 10**6
MAX_UNPACKED = 256 * 2**20
HEADER = 128

INT32, UINT32, MATRIX, COMPRESSED = 5, 6, 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"} | {
    12: "i8",
    13: "u8",
}
CELL, STRUCT, CHAR = 1, 2, 4
NUMERIC_CLASSES = frozenset(range(6, 16))

Value = str | npt.NDArray[np.generic] | None


class Mat5Error(ValueError):
    """The file is damaged, or holds what is not read here."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of bytes with its data type."""

    kind: int
    start: int
    stop: int
    following: int


@dataclass(frozen=True, slots=True)
class _Matrix:
    """An array whose content, from `start` on, is not read yet."""

    kind: int
    count: int
    name: str
    start: int
    stop: int


class Mat5Reader:
    """Reads variables of one file.

    Args:
        data: The content of the file.

    Raises:
        Mat5Error: If it is no MATLAB 5 file.
    """

    def __init__(self, data: bytes) -> None:
        if data[:8] == b"\x89HDF\r\n\x1a\n" or data[:10] == b"MATLAB 7.3":
            raise Mat5Error("a MATLAB 7.3 file; save it as version 7")
        order = {b"IM": "<", b"MI": ">"}.get(data[126:HEADER])
        if order is None:
            raise Mat5Error("no MATLAB 5 file")
        self.order = order
        self.data = data

    def variable(self, name: str) -> tuple[bytes, _Matrix] | None:
        """Return a variable's bytes and its array, or None if there is none of that name."""
        place = HEADER
        while place < len(self.data):
            part = self._part(self.data, place, len(self.data))
            data, start, stop = self.data, place, part.following
            if part.kind == COMPRESSED:
                unpacker = zlib.decompressobj()
                try:
                    data = unpacker.decompress(self.data[part.start : part.stop], MAX_UNPACKED)
                except zlib.error as error:
                    raise Mat5Error(f"damaged compression, {error}") from error
                if not unpacker.eof:
                    raise Mat5Error("compressed data are cut short or too large")
                start, stop = 0, len(data)
            matrix, _ = self._matrix(data, start, stop)
            if matrix.name == name:
                return data, matrix
            place = part.following
        return None

    def struct(self, name: str, wanted: Collection[str]) -> list[dict[str, Value]]:
        """Return the elements of a structure array, with the wanted fields that it has.

        Raises:
            Mat5Error: If there is no such structure array, or it is damaged.
        """
        data, matrix = self._expect(name, STRUCT, "structure")
        part = self._part(data, matrix.start, matrix.stop)
        width = self._integers(data, part)
        if len(width) != 1 or not 1 <= width[0] <= 64:
            raise Mat5Error("damaged field names")
        part = self._part(data, part.following, matrix.stop)
        text = data[part.start : part.stop]
        names = [
            text[i : i + width[0]].split(b"\0")[0].decode("latin-1")
            for i in range(0, len(text), width[0])
        ]
        place, elements = part.following, []
        for _ in range(matrix.count if names else 0):
            element: dict[str, Value] = {}
            for field in names:
                inner = self._part(data, place, matrix.stop)
                if field in wanted:
                    element[field] = self._value(data, place, matrix.stop)
                place = inner.following
            elements.append(element)
        return elements

    def cells(self, name: str) -> list[Value]:
        """Return the elements of a cell array.

        Raises:
            Mat5Error: If there is no such cell array, or it is damaged.
        """
        data, matrix = self._expect(name, CELL, "cell")
        return list(self._cells(data, matrix))

    def _cells(self, data: bytes, matrix: _Matrix) -> Iterator[Value]:
        place = matrix.start
        for _ in range(matrix.count):
            part = self._part(data, place, matrix.stop)
            yield self._value(data, place, matrix.stop)
            place = part.following

    def _expect(self, name: str, kind: int, what: str) -> tuple[bytes, _Matrix]:
        found = self.variable(name)
        if found is None:
            raise Mat5Error(f"has no variable {name}")
        if found[1].kind != kind:
            raise Mat5Error(f"variable {name} is no {what} array")
        return found

    def _part(self, data: bytes, place: int, end: int) -> _Part:
        """Return the data element that begins at `place`."""
        if place + 8 > end:
            raise Mat5Error("cut short")
        first, size = struct.unpack_from(f"{self.order}II", data, place)
        if first >> 16:  # a small element: size and type in one word, up to four bytes after it
            if first >> 16 > 4:
                raise Mat5Error("damaged element")
            return _Part(first & 0xFFFF, place + 4, place + 4 + (first >> 16), place + 8)
        start = place + 8
        if start + size > end:
            raise Mat5Error("cut short")
        padded = size if first == COMPRESSED else size + -size % 8
        return _Part(first, start, start + size, min(start + padded, end))

    def _integers(self, data: bytes, part: _Part) -> list[int]:
        if part.kind not in (INT32, UINT32) or (part.stop - part.start) % 4:
            raise Mat5Error("damaged array")
        letter = "i" if part.kind == INT32 else "I"
        count = (part.stop - part.start) // 4
        if count > 32:
            raise Mat5Error("damaged array")
        return list(struct.unpack_from(f"{self.order}{count}{letter}", data, part.start))

    def _matrix(self, data: bytes, place: int, end: int) -> tuple[_Matrix, int]:
        """Return the array that begins at `place`, and where the next element begins."""
        part = self._part(data, place, end)
        if part.kind != MATRIX:
            raise Mat5Error("an array is expected")
        if part.start == part.stop:  # MATLAB's way to write an empty array
            return _Matrix(6, 0, "", part.start, part.stop), part.following
        flags = self._part(data, part.start, part.stop)
        words = self._integers(data, flags)
        shape = self._part(data, flags.following, part.stop)
        sides = self._integers(data, shape)
        count = math.prod(sides) if sides and min(sides) >= 0 else -1
        if len(words) != 2 or not 0 <= count <= MAX_ENTRIES:
            raise Mat5Error("damaged array, or too large for annotations")
        title = self._part(data, shape.following, part.stop)
        name = data[title.start : title.stop].decode("latin-1")
        return _Matrix(words[0] & 0xFF, count, name, title.following, part.stop), part.following

    def _value(self, data: bytes, place: int, end: int) -> Value:
        """Return a text, the numbers of an array, or None for anything else."""
        matrix, _ = self._matrix(data, place, end)
        if matrix.kind == CELL and matrix.count == 1:  # a text in a cell in a cell
            inner, _ = self._matrix(data, matrix.start, matrix.stop)
            return self._plain(data, inner)
        return self._plain(data, matrix)

    def _plain(self, data: bytes, matrix: _Matrix) -> Value:
        if matrix.kind != CHAR and matrix.kind not in NUMERIC_CLASSES:
            return None
        if matrix.count == 0:
            return "" if matrix.kind == CHAR else np.zeros(0)
        part = self._part(data, matrix.start, matrix.stop)
        raw = data[part.start : part.stop]
        if matrix.kind == CHAR:
            wide = "le" if self.order == "<" else "be"
            codecs = {1: "latin-1", 2: "latin-1", 4: f"utf-16-{wide}", 16: "utf-8"}
            codecs |= {17: f"utf-16-{wide}", 18: f"utf-32-{wide}"}
            try:
                return raw.decode(codecs[part.kind])
            except (KeyError, UnicodeDecodeError) as error:
                raise Mat5Error("damaged text") from error
        dtype = np.dtype(self.order + NUMBERS[part.kind]) if part.kind in NUMBERS else None
        if dtype is None or len(raw) != matrix.count * dtype.itemsize:
            raise Mat5Error("damaged numbers")
        return np.frombuffer(raw, dtype)
