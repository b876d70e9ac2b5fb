"""Tar archives of tar archives, one per class, as ImageNet is distributed."""

from __future__ import annotations

import array
import dataclasses
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ganformer_jax.data.sources.source import (
    MAX_CLASSES,
    REPLACED,
    Labels,
    Source,
    checksum,
    class_order,
    file_facts,
    refusal,
)
from ganformer_jax.data.sources.tar_scan import TarDamage, TarReader, is_compressed, open_tar, scan
from ganformer_jax.errors import UserError, os_reason

_INNER = ".tar"
NO_TAR = "not a tar archive inside the archive"


@dataclasses.dataclass
class _Index:
    """Positions of the images, stored compactly, as there may be millions."""

    names: list[str] = dataclasses.field(default_factory=list)
    offsets: Any = dataclasses.field(default_factory=lambda: array.array("q"))
    sizes: Any = dataclasses.field(default_factory=lambda: array.array("q"))
    classes: Any = dataclasses.field(default_factory=lambda: array.array("q"))
    class_names: dict[str, int] = dataclasses.field(default_factory=dict)
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)


class NestedTarSource(Source):
    """Images in the tars that a tar contains, read in place: nothing is extracted.

    The name of an inner tar, without folders and suffix, is the class of its images. Entries are in
    the archive's order, and named as if the inner tar were a folder.

    Args:
        path: Path of the outer archive, which may be compressed; inner ones must not be.

    Raises:
        UserError: If it cannot be read, or contains too many classes.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._path = Path(path)
        file, self.sequential = open_tar(self._path)
        try:
            with file:
                index = _index(file)
        except OSError as error:
            raise UserError(f"cannot read {path}: {os_reason(error)}") from error
        if len(index.class_names) > MAX_CLASSES:
            raise UserError(f"{path} holds more than {MAX_CLASSES} archives, too many for classes")
        self.names, self._index, self.skipped = index.names, index, index.skipped
        self._reader = TarReader([self._path])
        self.labels = _labels(index)
        self.description, self.paths = f"tar of tars {path}", (self._path,)

    def read(self, index: int) -> bytes:
        """Read an encoded image; raise Unreadable."""
        return self._reader.read(0, self._index.offsets[index], self._index.sizes[index])

    def fingerprint(self) -> str:
        """Return a checksum of the size and time of the archive and the names in it."""
        return checksum(["nested", file_facts(self._path), *self.names])

    def close(self) -> None:
        """Close the archive."""
        self._reader.close()


def _labels(index: _Index) -> Labels | None:
    """Return the classes, in the order of `class_order`."""
    names = sorted(index.class_names, key=class_order)
    if not names:
        return None
    new = np.zeros(len(names), np.int64)
    new[[index.class_names[name] for name in names]] = np.arange(len(names))
    return Labels(tuple(names), new[np.array(index.classes)], "the names of the inner tars")


def _index(file: Any) -> _Index:
    index, last = _Index(), "the start"
    try:
        for member in scan(file):
            last = member.name
            reason = _outer_reason(member, file)
            if reason:
                index.skipped.append((member.name, reason))
            elif member.isfile():
                _add_images(index, file, member)
    except TarDamage as damage:
        index.skipped.append((f"after {last}", str(damage)))
    _skip_repeated(index)
    return index


def _outer_reason(member: tarfile.TarInfo, file: Any) -> str | None:
    """Return why a member of the outer archive is skipped; None for tars and for folders."""
    if member.isdir():
        return None
    if member.issym() or member.islnk():
        return "a link"
    if not member.isfile() or member.issparse():
        return "not a regular file"
    reason = refusal(member.name)
    if reason and not reason.startswith("not an image"):
        return reason
    file.seek(member.offset_data)
    if is_compressed(file.read(6)):
        return "a compressed archive inside the archive"
    is_tar = member.name.lower().endswith(_INNER)
    return None if is_tar else NO_TAR


def _add_images(index: _Index, file: Any, outer: tarfile.TarInfo) -> None:
    """Add the images of one inner archive."""
    path = PurePosixPath(outer.name).as_posix()[: -len(_INNER)]
    number, last = None, path
    try:
        for member in scan(file, outer.offset_data, outer.offset_data + outer.size):
            if member.isdir():
                continue
            name = f"{path}/{member.name.removeprefix('./')}"
            last = name
            reason = refusal(member.name.removeprefix("./")) or _inner_reason(member)
            if reason:
                index.skipped.append((name, reason))
                continue
            if number is None:
                label = PurePosixPath(path).name
                number = index.class_names.setdefault(label, len(index.class_names))
            index.names.append(name)
            index.offsets.append(member.offset_data)
            index.sizes.append(member.size)
            index.classes.append(number)
    except TarDamage as damage:
        index.skipped.append((f"after {last}", str(damage)))


def _inner_reason(member: tarfile.TarInfo) -> str | None:
    if member.issym() or member.islnk():
        return "a link"
    return None if member.isfile() and not member.issparse() else "not a regular file"


def _skip_repeated(index: _Index) -> None:
    """Skip all but the last entry of each name, which extracting would overwrite."""
    last = {name: i for i, name in enumerate(index.names)}
    if len(last) == len(index.names):
        return
    kept = sorted(last.values())
    for i in sorted(set(range(len(index.names))) - set(kept)):
        index.skipped.append((index.names[i], REPLACED))
    index.names = [index.names[i] for i in kept]
    index.offsets = array.array("q", [index.offsets[i] for i in kept])
    index.sizes = array.array("q", [index.sizes[i] for i in kept])
    index.classes = array.array("q", [index.classes[i] for i in kept])
