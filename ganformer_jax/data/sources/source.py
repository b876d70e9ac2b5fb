"""What every source of images offers, whatever it is stored in, and what sources share."""

from __future__ import annotations

import abc
import collections
import hashlib
import importlib
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ganformer_jax.data.sources.labels import Labels
from ganformer_jax.errors import UserError

MAX_BYTES = 1 << 28
"""Size of the largest encoded image that is read, 256 MiB: more is a mistake, or an attack."""
SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .webp .tif .tiff .bmp .gif .ppm .pgm .pbm .pnm".split() + [""]
)
"""Suffixes of files that are decoded; a file without a suffix may be an image."""


class Unreadable(Exception):
    """One entry cannot be used; the message says why, in a few words, for the report."""


class Source(abc.ABC):
    """Entries that may be images, by number. Threads may read at once.

    Attributes:
        description: For people, such as "folder /data/photos".
        names: Unique names of the entries, in an order that only the source's contents decide; in
            folders and archives the path below the root, with forward slashes.
        skipped: (name, reason) of what is in the source but known not to be an image.
        sequential: Whether reading in order is much faster than any other way.
        labels: Classes that the source itself stores for its entries; None if it has none.
        complaint: Why what looks like its classes cannot be used; None if nothing is wrong.
        places: Files and folders that it is read from.
    """

    description: str
    names: Sequence[str]
    skipped: Sequence[tuple[str, str]] = ()
    sequential: bool = False
    labels: Labels | None = None
    complaint: str | None = None
    places: Sequence[pathlib.Path] = ()

    def __len__(self) -> int:
        return len(self.names)

    @abc.abstractmethod
    def read(self, index: int) -> bytes | np.ndarray:
        """Read one entry.

        Returns:
            An encoded image of at most MAX_BYTES; or pixels, [H, W] or [H, W, C], of any dtype.

        Raises:
            Unreadable: If it is damaged, forbidden, or larger: it is left out, and counted.
            UserError: If the source itself is in trouble, such as a disk that is gone.
        """

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Return a checksum of names, sizes and times: it changes when the entries change."""

    def companion(self, name: str) -> bytes | None:
        """Read a file beside the images, such as dataset.json; None if there is none."""
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close files."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def refusal(name: str) -> str | None:
    """Return why an entry of a folder or archive is not an image, by its name; None if it may be.

    Args:
        name: Path below the root, as the archive or the file system gives it.
    """
    path = pathlib.PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or path.parts[:1] and path.parts[0].endswith(":"):
        return "its name leads out of the archive"
    if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return "hidden file"
    suffix = path.suffix.lower()
    return None if suffix in SUFFIXES else f"not an image ({suffix})"


def checksum(values: Iterable[object]) -> str:
    """Return the sha256 of a sequence of values that print the same on every machine."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(repr(value).encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def file_facts(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return size in bytes and time of the last change in nanoseconds, for fingerprints."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def numbered(count: int) -> tuple[str, ...]:
    """Return names 0 to count - 1, padded with zeros so that they sort."""
    width = len(str(max(count - 1, 0)))
    return tuple(f"{index:0{width}d}" for index in range(count))


def listed(names: Sequence[str], most: int = 12) -> str:
    """Join names for a message, the first few of them."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def no_images(source: Source, reasons: Iterable[str] = ()) -> UserError:
    """Return the error of a source without one readable image.

    Args:
        source: The source.
        reasons: Why entries that may be images cannot be read.
    """
    skipped = collections.Counter(reason for _, reason in source.skipped)
    why = [*sorted(set(reasons)), *(f"{n} of: {reason}" for reason, n in skipped.most_common())]
    return UserError(
        f"no image in {source.description} can be read: {'; '.join(why[:3]) or 'it is empty'}"
    )


def import_format(module: str, wanted_for: str) -> Any:
    """Import a package that only some formats need.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f'{wanted_for} needs {module}, which is missing: pip install "ganformer-jax[formats]"'
        ) from error
