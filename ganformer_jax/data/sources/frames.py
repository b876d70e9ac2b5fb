"""Reading of TFRecord files without TensorFlow.

A record consists of the length of its data (8 bytes, little endian), the masked CRC-32C of these
bytes (4), the data, and the masked CRC-32C of the data (4).
"""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ganformer_jax.data.sources.source import MAX_BYTES, Unreadable, interrupted

try:
    import google_crc32c
except ImportError:
    google_crc32c: Any = None

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


@dataclasses.dataclass(frozen=True)
class Frames:
    """Positions of the records of a file."""

    path: Path
    offsets: np.ndarray  # int64 [records], position of the data of each
    lengths: np.ndarray  # int64 [records], bytes of data
    damage: str | None  # why the rest of the file cannot be read; None if nothing is wrong

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, index: int) -> bytes:
        """Read a record, checked if google_crc32c is installed; raise Unreadable if damaged."""
        length = int(self.lengths[index])
        if length > MAX_BYTES:
            raise Unreadable("too large")
        try:
            with self.path.open("rb") as file:
                file.seek(int(self.offsets[index]))
                contents = file.read(length + _FOOTER.size)
        except OSError as error:
            raise interrupted(self.path, error) from error
        if len(contents) != length + _FOOTER.size:
            raise Unreadable("cut short")
        data, (expected,) = contents[:length], _FOOTER.unpack_from(contents, length)
        if google_crc32c is not None and masked(google_crc32c.value(data)) != expected:
            raise Unreadable("wrong checksum")
        return data


class FramedRecords:
    """Ranges of the records of several files, concatenated."""

    def __init__(self, ranges: Sequence[tuple[Frames, int, int]]):
        self._ranges = ranges
        self._ends = np.cumsum([stop - start for _, start, stop in ranges])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> bytes:
        file = int(np.searchsorted(self._ends, index, side="right"))
        frames, _, stop = self._ranges[file]
        return frames.read(index - int(self._ends[file]) + stop)


def index_frames(path: str | os.PathLike[str]) -> Frames:
    """Find the records of a file by their lengths, up to the first damaged length."""
    offsets: list[int] = []
    lengths: list[int] = []
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        position, damage = 0, None
        while position < size and damage is None:
            length, damage = _length_at(file, position, size)
            if damage is None:
                offsets.append(position + _HEADER.size)
                lengths.append(length)
                position += _HEADER.size + length + _FOOTER.size
    return Frames(Path(path), np.array(offsets, np.int64), np.array(lengths, np.int64), damage)


def _length_at(file: BinaryIO, position: int, size: int) -> tuple[int, str | None]:
    """Read the length of the record at a position; the second value is the damage found, if any."""
    file.seek(position)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return 0, "the file is cut short"
    length, expected = _HEADER.unpack(header)
    if masked(crc32c(header[:8])) != expected:
        return 0, "a length has a wrong checksum, what follows is lost"
    if position + _HEADER.size + length + _FOOTER.size > size:
        return 0, "the file is cut short"
    return length, None


def masked(checksum: int) -> int:
    """Mask a checksum like TFRecord: rotate right by 15 bits and add a constant."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Compute CRC-32C (Castagnoli) byte by byte, fast enough for the few bytes of a length."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _table_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = tuple(map(_table_entry, range(256)))
