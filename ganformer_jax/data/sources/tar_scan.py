"""Positions of the members of tar archives, including archives inside another archive."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import struct
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ganformer_jax.data.sources.source import (
    MAX_BYTES,
    Unreadable,
    is_of_the_system,
    raise_if_interrupted,
)
from ganformer_jax.errors import UserError, os_reason

DAMAGED = (
    tarfile.TarError,
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    ValueError,
)
_COMPRESSED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open))


class TarDamage(Exception):
    """The archive is damaged or truncated; the message is a short reason."""


def open_tar(path: Path) -> tuple[Any, bool]:
    """Open an archive for decompressed reading; return the file and whether it is compressed."""
    try:
        with path.open("rb") as file:
            start = file.read(6)
        opener = _opener(start)
        return opener(path, "rb"), opener is not open
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error


def is_compressed(start: bytes) -> bool:
    """Return whether an archive is compressed, given its first bytes."""
    return _opener(start) is not open


def scan(file: Any, start: int = 0, end: int | None = None) -> Iterator[tarfile.TarInfo]:
    """Yield the members of the archive between two positions of a file.

    `offset_data` of a member is its position in the file. The caller may seek in the file between
    two members.

    Raises:
        TarDamage: If the archive is damaged, truncated or followed by other data, or if there is no
            archive.
        OSError: If the file cannot be read.
    """
    if end is not None and end <= start:
        raise TarDamage("the archive is empty")
    try:
        file.seek(start)
        opened: Any = tarfile.open(fileobj=file, mode="r:")  # its lists are not in the type
        with opened as archive:
            while member := _next(archive, end):
                archive.members.clear()  # tarfile would keep every member in memory
                if end is not None and member.offset_data + member.size > end:
                    raise TarDamage("the archive is cut short")
                yield member
            damage = _odd_end(file, archive.offset, end)
    except DAMAGED as error:
        if is_of_the_system(error):
            raise
        raise TarDamage("the archive is damaged from here on") from error
    if damage:
        raise TarDamage(damage)


def _next(archive: Any, end: int | None) -> tarfile.TarInfo | None:
    is_at_end = end is not None and archive.firstmember is None and archive.offset >= end
    return None if is_at_end else archive.next()


def _odd_end(file: Any, offset: int, end: int | None) -> str | None:
    """Return why an archive may contain more than tarfile lists, as tarfile ignores the rest."""
    file.seek(offset)

    def read(most: int) -> bytes:
        return file.read(most if end is None else min(most, max(0, end - file.tell())))

    mark = read(tarfile.BLOCKSIZE)
    if not mark:
        return "the archive ends without an end mark: it may be cut short"
    if mark.strip(b"\0"):
        return "the archive is damaged from here on"
    while rest := read(1 << 20):
        if rest.strip(b"\0"):
            return "what follows the end mark of the archive is not read"
    return None


class TarReader:
    """Reads from several archives, one of which stays open; safe to share between threads."""

    def __init__(self, paths: Sequence[Path]):
        self._paths, self._lock = paths, threading.Lock()
        self._number, self._file = -1, None

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Read bytes of one archive, at most MAX_BYTES; raise Unreadable."""
        if size > MAX_BYTES:
            raise Unreadable(f"larger than {MAX_BYTES >> 20} MiB")
        with self._lock, _damage_reported(self._paths[number]):
            if self._number != number:
                self.close()
                self._file, self._number = open_tar(self._paths[number])[0], number
            file: Any = self._file
            file.seek(offset)
            contents = file.read(size)
        if len(contents) != size:
            raise Unreadable("cut short in the archive")
        return contents

    def close(self) -> None:
        """Close the archive that is open."""
        if self._file is not None:
            self._file.close()
        self._number, self._file = -1, None


@contextlib.contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        raise_if_interrupted(path, error)
        raise Unreadable("damaged in the archive") from error


def _opener(start: bytes) -> Callable[..., Any]:
    return next((opener for magic, opener in _COMPRESSED if start.startswith(magic)), open)
