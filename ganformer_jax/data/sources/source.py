"""What every source of pictures offers, whatever it is stored in."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

MAX_BYTES = 1 << 28
"""Largest encoded picture that is read, 256 MiB: more is a mistake, or an attack."""


class Unreadable(Exception):
    """One entry cannot be had; the message says why, in a few words, for the report."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """Classes that come with a source.

    Attributes:
        names: Of the classes; class i is called names[i].
        classes: Int [entries], the class of every entry, -1 where it has none.
        origin: Where they were found, for the report.
        unused: Rows of a table of labels that name no entry.
    """

    names: tuple[str, ...]
    classes: np.ndarray
    origin: str
    unused: int = 0


class Source(abc.ABC):
    """Entries that may be pictures, by number. Threads may read at once.

    Attributes:
        description: For people, such as "folder /data/photos".
        names: Unique names of the entries, in an order that only the source's contents decide; in
            folders and archives the path below the root, with forward slashes.
        skipped: (name, reason) of what is in the source but known to be no picture.
        sequential: Reading in order is much faster than any other way.
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
        """One entry.

        Returns:
            An encoded picture of at most MAX_BYTES; or pixels, [H, W] or [H, W, C], of any dtype.

        Raises:
            Unreadable: If it is damaged, forbidden, or larger: it is left out, and counted.
            UserError: If the source itself is in trouble, such as a disk that is gone.
        """

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Hexadecimal checksum that changes when the entries do: of names, sizes and times."""

    def companion(self, name: str) -> bytes | None:
        """Contents of a file beside the pictures, such as dataset.json; None if there is none."""
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Gives files back."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def checksum(parts: Iterable[object]) -> str:
    """Sha256 of a sequence of values that print the same on every machine."""
    found = hashlib.sha256()
    for part in parts:
        found.update(repr(part).encode("utf-8", "surrogateescape") + b"\n")
    return found.hexdigest()


def file_facts(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds, for fingerprints."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns
