"""Zip and tar archives, read in place without extracting anything to the disk."""

from __future__ import annotations

import abc
import contextlib
import lzma
import os
import pathlib
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ganformer_jax.data.sources.source import (
    MAX_BYTES,
    REPLACED,
    Source,
    Unreadable,
    checksum,
    file_facts,
    interrupted,
    raise_if_interrupted,
    refusal,
)
from ganformer_jax.data.sources.tar_scan import TarDamage, open_tar, scan
from ganformer_jax.errors import UserError

MAX_COMPANION = 1 << 30  # bytes; dataset.json may list millions of images
_ZIP_END = b"PK\5\6"  # signature of the end record
_ZIP64 = 0xFFFF  # number of files in the end record if the true number is in the ZIP64 record
_ZIP_TAIL = 22 + 0xFFFF  # size of the longest end record, with its comment
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, struct.error, ValueError)


class _ArchiveSource(Source):
    """Base of zip and tar archives."""

    of_files = True
    _file: Any
    _members: Sequence[Any]  # the images
    _by_name: dict[str, Any]  # all files

    def __init__(self, path: str | os.PathLike[str], kind: str):
        self.path, self.description = pathlib.Path(path), f"{kind} archive {path}"
        self.paths = (self.path,)

    def read(self, index: int) -> bytes:
        return self._read(self._members[index], MAX_BYTES)

    def fingerprint(self) -> str:
        return checksum([file_facts(self.path), *self.names])

    def companion(self, name: str) -> bytes | None:
        member = self._by_name.get(name) or self._by_name.get(f"./{name}")
        try:
            return self._read(member, MAX_COMPANION) if member else None
        except Unreadable:
            return None

    def close(self) -> None:
        self._file.close()

    @abc.abstractmethod
    def _read(self, member: Any, limit: int) -> bytes:
        """Read a member of at most `limit` bytes; raise Unreadable."""

    @contextlib.contextmanager
    def _damage_reported(self) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, RuntimeError, *_DAMAGED) as error:
            raise_if_interrupted(self.path, error)
            raise Unreadable("damaged in the archive") from error


class ZipSource(_ArchiveSource):
    """Images in a zip archive, ordered by name.

    Args:
        path: Path of the archive.
        under: Folder inside the archive, such as "images/"; nothing outside it is read.

    Raises:
        UserError: If it is not a zip archive, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str], under: str = ""):
        super().__init__(path, "zip")
        try:
            self._file = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, NotImplementedError, *_DAMAGED) as error:
            raise_if_interrupted(self.path, error)
            raise UserError(f"{path} is damaged, or not a zip archive") from error
        members = [m for m in self._file.infolist() if not m.is_dir()]
        members = [m for m in members if m.filename.startswith(under)]
        chosen, self.skipped = _choose(members, lambda m: m.filename, _zip_reason)
        self.skipped += _missing(self.path, len(self._file.infolist()))
        self._members = sorted(chosen, key=lambda member: member.filename)
        self._by_name = {member.filename.replace("\\", "/"): member for member in members}
        self.names = [member.filename for member in self._members]

    def start(self, index: int, size: int) -> bytes:
        """Read the first `size` bytes of a member; raise Unreadable."""
        return self._read(self._members[index], MAX_BYTES, size)

    def _read(self, member: zipfile.ZipInfo, limit: int, size: int | None = None) -> bytes:
        if member.flag_bits & 1:
            raise Unreadable("encrypted")
        _check_size(member.file_size, limit)
        with self._damage_reported(), self._file.open(member) as file:
            contents = file.read(size or limit + 1)  # as the declared size may be wrong
        _check_size(len(contents), limit)
        return contents


class TarSource(_ArchiveSource):
    """Images in a tar archive, plain or compressed, in the archive's order.

    Raises:
        UserError: If it is not a tar archive, or damaged before its first member.
    """

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__(path, "tar")
        members, damage = self._list()
        self._lock, (self._file, self.sequential) = threading.Lock(), open_tar(self.path)
        self._by_name = {member.name: member for member in members if member.isfile()}
        entries = [member for member in members if not member.isdir()]
        self._members, skipped = _choose(entries, lambda m: m.name, _tar_reason)
        self.skipped = [*skipped, *damage]
        self.names = [member.name for member in self._members]

    def _list(self) -> tuple[list[tarfile.TarInfo], list[tuple[str, str]]]:
        """Return the members, and (name, reason) of an entry for damage at the end, if any."""
        members: list[tarfile.TarInfo] = []
        file, _ = open_tar(self.path)
        try:
            with file:
                for member in scan(file):
                    members.append(member)
        except OSError as error:
            raise interrupted(self.path, error) from error
        except TarDamage as damage:
            if not members:
                raise UserError(f"{self.path} is damaged, or not a tar archive") from damage
            return members, [(f"after {members[-1].name}", str(damage))]
        return members, []

    def _read(self, member: tarfile.TarInfo, limit: int) -> bytes:
        _check_size(member.size, limit)
        with self._damage_reported(), self._lock:
            self._file.seek(member.offset_data)
            contents = self._file.read(member.size)
        if len(contents) != member.size:
            raise Unreadable("cut short in the archive")
        return contents


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise Unreadable(f"larger than {limit >> 20} MiB")


def _choose(
    members: Sequence[Any], name_of: Callable[[Any], str], reason_of: Callable[[Any], str | None]
) -> tuple[list[Any], list[tuple[str, str]]]:
    """Return members to read, and (name, reason) of the others; of equal names the last wins."""
    last = {name_of(member): i for i, member in enumerate(members)}
    chosen, skipped = [], []
    for i, member in enumerate(members):
        name = name_of(member)
        reason = refusal(name.removeprefix("./")) or reason_of(member)
        if not reason and last[name] != i:
            reason = REPLACED
        if reason:
            skipped.append((name, reason))
        else:
            chosen.append(member)
    return chosen, skipped


def _missing(path: pathlib.Path, found: int) -> list[tuple[str, str]]:
    """Return (name, reason) of an entry for files that the list of a zip archive lacks, if any."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _ZIP_TAIL))
        tail = file.read()
    at = tail.rfind(_ZIP_END)
    counts = struct.unpack_from("<H", tail, at + 10) if 0 <= at <= len(tail) - 12 else (found,)
    if counts[0] == _ZIP64 or counts[0] <= found:
        return []
    return [("the list of files", f"damaged: {counts[0] - found} of {counts[0]} files are lost")]


def _zip_reason(member: zipfile.ZipInfo) -> str | None:
    return "a link" if stat.S_ISLNK(member.external_attr >> 16) else None


def _tar_reason(member: tarfile.TarInfo) -> str | None:
    if member.issym() or member.islnk():
        return "a link"
    return None if member.isfile() and not member.issparse() else "not a regular file"
