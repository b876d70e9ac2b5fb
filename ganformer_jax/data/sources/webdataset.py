"""WebDataset shards: tar archives in which files that differ only in suffix form a sample."""

from __future__ import annotations

import array
import dataclasses
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ganformer_jax.data.sources.source import (
    REPLACED,
    SUFFIXES,
    Labels,
    Source,
    checksum,
    file_facts,
    interrupted,
    labels_from,
    labels_of_words,
    refusal,
)
from ganformer_jax.data.sources.splits import common_folder
from ganformer_jax.data.sources.tar_scan import TarDamage, TarReader, open_tar, scan
from ganformer_jax.errors import UserError, os_reason

MAX_CLASS_BYTES = 256  # in a .cls file
MAX_NAMES_BYTES = 1 << 22  # in classnames.txt
CLASS_NAMES = "classnames.txt"
_CLASS = "cls"
_IMAGE_SUFFIXES = SUFFIXES - {""}
ANOTHER_IMAGE = "another image of the sample"


@dataclasses.dataclass
class _Sample:
    """The image of a sample, and its class as text."""

    suffix: str = ""
    offset: int = 0
    size: int = -1  # -1 if there is no image
    label: bytes | None = None


@dataclasses.dataclass
class _Index:
    """Positions of the images, stored compactly, as there may be millions."""

    names: list[str] = dataclasses.field(default_factory=list)
    shards: Any = dataclasses.field(default_factory=lambda: array.array("q"))
    offsets: Any = dataclasses.field(default_factory=lambda: array.array("q"))
    sizes: Any = dataclasses.field(default_factory=lambda: array.array("q"))
    labels: list[bytes | None] = dataclasses.field(default_factory=list)
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)


class WebDatasetSource(Source):
    """The image of every sample, with the class in its .cls file, of shards in order.

    Images have their names in the archive, prefixed by the name of the shard if there are several.

    The key of a sample is the path of its files up to the first dot of the name. If a sample has
    several images, the first one with a single suffix (a.jpg rather than a.mask.png) is used; of
    files with the same name, the last one is.
    Classes are numbers or words; the names of numbers are read from classnames.txt, one per line,
    in the folder of the shards or its parent.

    Args:
        paths: The shards, in order; each may be compressed.
        description: Description of the shards, for messages.
        has_splits: Whether they were chosen by `--split`.

    Raises:
        UserError: If a shard cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        description: str,
        has_splits: bool = False,
    ):
        self._paths = list(paths)
        self._root = common_folder(self._paths)
        self._prefixes = _prefixes(self._paths, self._root)
        index = _Index()
        for number in range(len(self._paths)):
            self._add_shard(index, number)
        self.names, self.skipped, self._index = index.names, index.skipped, index
        self.labels = self._find_labels()
        self._reader = TarReader(self._paths)
        self.options = frozenset({"split"} if has_splits else ())
        self.description, self.paths = f"WebDataset {description}", tuple(self._paths)

    def read(self, index: int) -> bytes:
        """Read an encoded image; raise Unreadable."""
        found = self._index
        return self._reader.read(found.shards[index], found.offsets[index], found.sizes[index])

    def fingerprint(self) -> str:
        """Return a checksum of names, sizes and times of the shards, and of the samples' names."""
        paths = [*self._paths, *(path for path in self._names_paths() if path.is_file())]
        facts = [(path.name, file_facts(path)) for path in paths]
        return checksum(["webdataset", *facts, *self.names])

    def close(self) -> None:
        """Close the shard that is open."""
        self._reader.close()

    def _add_shard(self, index: _Index, number: int) -> None:
        path = self._paths[number]
        prefix = self._prefixes[number]
        file, is_compressed = open_tar(path)
        self.sequential = self.sequential or is_compressed
        samples: dict[str, _Sample] = {}
        last = "the start"
        try:
            with file:
                for member in scan(file):
                    last = member.name
                    skipped = _add_member(samples, file, member)
                    if skipped:
                        index.skipped.append((f"{prefix}{skipped[0]}", skipped[1]))
        except TarDamage as damage:
            index.skipped.append((f"{prefix}after {last}", str(damage)))
        except OSError as error:
            raise UserError(f"cannot read {path}: {os_reason(error)}") from error
        for key, sample in samples.items():
            if sample.size < 0:
                index.skipped.append((f"{prefix}{key}", "no image in the sample"))
                continue
            index.names.append(f"{prefix}{key}.{sample.suffix}")
            index.shards.append(number)
            index.offsets.append(sample.offset)
            index.sizes.append(sample.size)
            index.labels.append(sample.label)

    def _find_labels(self) -> Labels | None:
        stored = self._index.labels
        if not any(label is not None for label in stored):
            return None
        texts = [label.decode("utf-8", "replace") if label else None for label in stored]
        origin = "the .cls files"
        if all(text is None or text.removeprefix("-").isdecimal() for text in texts):
            numbers = [-1 if text is None else min(int(text[:20]), 1 << 40) for text in texts]
            found = labels_from(np.array(numbers), len(numbers), origin, self._class_names())
            if found is None:
                self.label_error = f"{origin} hold numbers that are not classes"
            return found
        found = labels_of_words(texts, origin)
        if found is None:
            self.label_error = f"{origin} hold more words than there can be classes"
        return found

    def _names_paths(self) -> list[Path]:
        return [self._root / CLASS_NAMES, self._root.parent / CLASS_NAMES]

    def _class_names(self) -> list[str] | None:
        for path in self._names_paths():
            if path.is_file() and path.stat().st_size <= MAX_NAMES_BYTES:
                lines = path.read_text("utf-8", "replace").split("\n")
                return [line.strip() for line in lines if line.strip()]
        return None


def _prefixes(paths: Sequence[Path], root: Path) -> list[str]:
    """Return the prefix of the names of each shard's images: "" if there is only one shard."""
    if len(paths) == 1:
        return [""]
    names = [Path(os.path.abspath(path)).relative_to(root).as_posix() for path in paths]
    stems = [name.partition(".tar")[0] for name in names]
    unique = stems if len(set(stems)) == len(stems) else names
    return [f"{name}/" for name in unique]


def has_classes(path: Path) -> bool:
    """Return whether the first sample of a tar has an image and a .cls file."""
    suffixes, first = set(), None
    file, _ = open_tar(path)
    try:
        with file:
            for member in scan(file):
                if not member.isfile():
                    continue
                key, suffix = _split_name(member.name)
                if first not in (None, key):
                    break
                first = key
                suffixes.add(suffix)
                if len(suffixes) > 64:
                    break
    except OSError as error:
        raise interrupted(path, error) from error
    except TarDamage:
        pass  # reported when the archive is read
    return _CLASS in suffixes and any(_is_image(suffix) for suffix in suffixes)


def _add_member(
    samples: dict[str, _Sample], file: Any, member: tarfile.TarInfo
) -> tuple[str, str] | None:
    """Add a file to its sample; return (name, reason) if an image is skipped."""
    key, suffix = _split_name(member.name)
    if member.isdir() or not (suffix == _CLASS or _is_image(suffix)):
        return None
    reason = refusal(PurePosixPath(member.name).with_suffix(".png").as_posix())
    if reason:
        return member.name, reason
    if not member.isfile() or member.issparse():
        is_link = member.issym() or member.islnk()
        return member.name, "a link" if is_link else "not a regular file"
    sample = samples.setdefault(key, _Sample())
    if suffix == _CLASS:
        file.seek(member.offset_data)
        sample.label = file.read(member.size).strip() if member.size <= MAX_CLASS_BYTES else b""
        return None
    before = sample.suffix if sample.size >= 0 else None
    is_again = suffix == before
    if before is not None and not is_again and ("." not in before or "." in suffix):
        return member.name, ANOTHER_IMAGE
    sample.suffix, sample.offset, sample.size = suffix, member.offset_data, member.size
    reason = REPLACED if is_again else ANOTHER_IMAGE
    return None if before is None else (f"{key}.{before}", reason)


def _split_name(name: str) -> tuple[str, str]:
    """Return the key of a file's sample, and its extension without the first dot."""
    path = PurePosixPath(name)
    base, _, suffix = path.name.partition(".")
    return (path.parent / base).as_posix(), suffix


def _is_image(suffix: str) -> bool:
    return f".{suffix.lower().rpartition('.')[2]}" in _IMAGE_SUFFIXES
