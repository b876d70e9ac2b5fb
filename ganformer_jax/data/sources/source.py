"""The interface of sources of images, the classes of their entries, and shared helpers."""

from __future__ import annotations

import abc
import collections
import dataclasses
import errno
import hashlib
import importlib
import itertools
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ganformer_jax.data.sources.conditions import Conditions
from ganformer_jax.errors import UserError, one_line, os_reason
from ganformer_jax.storage import is_transient

MAX_BYTES = 1 << 28  # in an encoded image, 256 MiB; more is a mistake, or an attack
MAX_CLASSES = 1 << 16  # larger numbers are not class numbers
HIDDEN = "hidden file"
REPLACED = "the archive has a later file of this name"
# Folders and files that operating systems and programs leave beside images, in lowercase. Names
# that begin with a dot are hidden too.
_FOREIGN = frozenset(
    ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "lost+found")
    + ("@eadir", "#recycle", "$recycle.bin", "system volume information")
)
# Suffixes of files that are decoded; a file without a suffix may be an image.
SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .webp .tif .tiff .bmp .gif .ppm .pgm .pbm .pnm".split() + [""]
)


class Unreadable(Exception):
    """An entry cannot be used; the message is a short reason for the report."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """Classes of the entries of a source; names[i] is the name of class i."""

    names: tuple[str, ...]
    classes: np.ndarray  # int [entries], -1 for an entry without a class
    origin: str  # where they were read from, for the report
    unused: int = 0  # number of rows in a table of labels that name no entry

    @property
    def known(self) -> np.ndarray:
        """Return which entries have a class, bool [entries]."""
        return self.classes >= 0


class Source(abc.ABC):
    """Entries that may be images, by index; safe to read from several threads.

    Attributes:
        description: Kind and path, for messages, such as "folder /data/photos".
        names: Unique names of the entries, in an order that depends on the source's contents alone;
            in folders and archives the path below the root, with forward slashes.
        skipped: (name, reason) of what the source contains but `read` does not return.
        of_files: Whether entries are files, whose suffixes tell which of them should be images.
        sequential: Whether reading in order is much faster than random access.
        labels: Classes or conditions that the source stores for its entries; None if it has none.
        label_error: Why stored labels cannot be used; None if they can.
        label_columns: Columns that hold classes, if it is not clear which one to use.
        paths: Files and folders that it reads.
        channels: Number of channels if all entries are arrays of 2, or of 5 or more; None
            otherwise.
        options: Options of `prepare`, among array, follow_links, split and tfds_dir, that affect
            this source.
    """

    description: str
    names: Sequence[str]
    skipped: Sequence[tuple[str, str]] = ()
    of_files: bool = False
    sequential: bool = False
    labels: Labels | Conditions | None = None
    label_error: str | None = None
    label_columns: Sequence[str] = ()
    paths: Sequence[pathlib.Path] = ()
    channels: int | None = None
    options: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.names)

    @abc.abstractmethod
    def read(self, index: int) -> bytes | np.ndarray:
        """Read one entry.

        Returns:
            An encoded image of at most MAX_BYTES; or an array [H, W] or [H, W, C] of any dtype.

        Raises:
            Unreadable: If the entry is damaged, forbidden or too large; `prepare` skips it.
            UserError: If the source cannot be read, for example because a disk is gone.
        """

    def start(self, index: int, size: int) -> bytes | np.ndarray:
        """Read at least the first `size` bytes of an entry, for the header of an image.

        Raises:
            Unreadable: As `read` does.
            UserError: As `read` does.
        """
        return self.read(index)

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Return a checksum, of names, sizes and times, that changes if the entries change."""

    def companion(self, name: str) -> bytes | None:
        """Read a file beside the images, such as dataset.json; None if there is none."""
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close files."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def is_hidden(name: str) -> bool:
    """Return whether a path below the root is hidden or a system file: .x, Thumbs.db, __MACOSX."""
    parts = name.replace("\\", "/").removeprefix("./").split("/")
    return any(part.startswith(".") or part.lower() in _FOREIGN for part in parts if part != ".")


def refusal(name: str) -> str | None:
    """Return why an entry is not an image, by its path below the root; None if it may be one."""
    path = pathlib.PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or path.parts[:1] and path.parts[0].endswith(":"):
        return "its name leads out of the archive"
    if is_hidden(name):
        return HIDDEN
    suffix = path.suffix.lower()
    return None if suffix in SUFFIXES else f"not an image ({suffix})"


def checksum(values: Iterable[object]) -> str:
    """Return the SHA-256 of a sequence of values, by their `repr`."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(repr(value).encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def file_facts(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return the size in bytes and the modification time in nanoseconds, for fingerprints."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def numbered(count: int) -> tuple[str, ...]:
    """Return the names 0 to count - 1, padded with zeros so that they sort."""
    width = len(str(max(count - 1, 0)))
    return tuple(f"{index:0{width}d}" for index in range(count))


def listed(names: Sequence[str], most: int = 12) -> str:
    """Join names for a message: at most `most` of them, and the number of others."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def no_images(source: Source, reasons: Iterable[str] = ()) -> UserError:
    """Return the error for a source without a readable image, with the reasons."""
    skipped = collections.Counter(reason for _, reason in source.skipped)
    why = [*sorted(set(reasons)), *(f"{n} of: {reason}" for reason, n in skipped.most_common())]
    return UserError(
        f"no image in {source.description} can be read: {'; '.join(why[:3]) or 'it is empty'}"
    )


def raise_if_interrupted(path: str | os.PathLike[str], error: BaseException) -> None:
    """Raise `interrupted` for an error of the system; return if an error is due to damaged data."""
    if is_of_the_system(error):
        raise interrupted(path, error) from error


def is_of_the_system(error: BaseException) -> bool:
    """Return whether the system failed to read a file, as opposed to reading damaged data."""
    if isinstance(error, OSError) and error.errno:  # errors about damage have no number
        return error.errno != errno.EINVAL  # except an invalid offset, from damaged data
    # Libraries in C++ give the reason in words.
    return is_transient(error) or os.strerror(errno.EMFILE) in str(error)


def interrupted(path: str | os.PathLike[str], error: BaseException) -> UserError:
    """Return the error for a failing disk, whose images must not be counted as damaged."""
    reason = one_line(error)
    if isinstance(error, OSError) and "\n" not in os_reason(error):
        reason = os_reason(error)
    elif isinstance(error, OSError) and error.errno:  # HDF5's reason has several lines
        reason = os.strerror(error.errno)
    return UserError(
        f"cannot read {path}: {reason}; once it can be read, run the same command to resume"
    )


def import_format(module: str, wanted_for: str) -> Any:
    """Import a package that only some formats need; raise UserError if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f'{wanted_for} needs {module}, which is missing: pip install "ganformer-jax[formats]"'
        ) from error


def check_class_names(names: Sequence[str]) -> None:
    """Raise UserError unless TFDS, which stores one name per line, would read the names back."""
    for name in names:
        is_utf8 = name == name.encode("utf-8", "replace").decode()  # names of files may not be
        if not name.strip() or len(name.splitlines()) != 1 or not is_utf8:
            raise UserError(f"{name!r} cannot be the name of a class")
    stripped = sorted(name.strip() for name in names)
    for name, following in itertools.pairwise(stripped):
        if name == following:
            raise UserError(f"two classes have the same name, {name}")


def labels_from(
    values: np.ndarray, count: int, origin: str, names: Sequence[str] | None = None
) -> Labels | None:
    """Read classes from an array [count] or [count, 1] of integers or strings, or one-hot rows.

    A row of zeros, the number -1 and a blank string mean "no class". If there are enough names, all
    different, names[i] is the name of class i. Otherwise columns are named by their numbers, and
    integers become classes by `classes_of_numbers`.

    Returns:
        None if the array is not a list of classes: another shape, fractions, rows with several
        ones, or numbers below -1 or not below MAX_CLASSES.
    """
    values = np.asarray(values)
    if values.dtype.kind in "US" and values.shape in ((count,), (count, 1)):
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8", "replace")
        return labels_of_words(values.reshape(count).tolist(), origin)
    if values.dtype.kind not in "buif" or values.shape[:1] != (count,) or values.ndim > 2:
        return None
    if values.ndim == 2 and values.shape[1] != 1:
        classes, number = _from_one_hot(values), values.shape[1]
    else:
        classes, number = _from_numbers(values.reshape(count)), 0
    if classes is None:
        return None
    needed = max(number, int(classes.max(initial=-1)) + 1)
    if not 0 < needed <= MAX_CLASSES:
        return None
    if names is not None and len(names) >= needed and len(set(names)) == len(names):
        return Labels(tuple(names), classes, origin)
    used = range(number) if number else classes_of_numbers(classes[classes >= 0])
    places = np.searchsorted(np.asarray(used), classes)
    return Labels(tuple(map(str, used)), np.where(classes < 0, -1, places), origin)


def classes_of_numbers(numbers: np.ndarray) -> Sequence[int]:
    """Return the class numbers, in order, given the numbers of images, int [entries], 0 or more.

    If numbers start at 0 and at least half of those up to the largest occur, they are class
    numbers, and those that do not occur are classes without images. Otherwise, as for years, only
    the numbers that occur are classes.
    """
    used = np.unique(numbers).tolist()
    counts_up = used[0] == 0 and used[-1] < 2 * len(used)
    return range(used[-1] + 1) if counts_up else used


def labels_of_words(words: Sequence[str | None], origin: str) -> Labels | None:
    """Return the classes named by words, in the order of `class_order`.

    Returns:
        Labels, with -1 for None and blank words; None if all words are blank, or there are too many
        classes.
    """
    stripped = [(word or "").strip() for word in words]
    names = sorted(set(stripped) - {""}, key=class_order)
    if not 0 < len(names) <= MAX_CLASSES:
        return None
    numbers = {name: number for number, name in enumerate(names)}
    classes = np.array([numbers.get(word, -1) for word in stripped], np.int64)
    return Labels(tuple(names), classes, origin)


def class_order(name: object) -> tuple[int, int, str]:
    """Return a key that sorts names of classes: numbers by value, then other names by alphabet."""
    text = str(name)
    return (0, int(text), text) if text.isdecimal() and len(text) < 19 else (1, 0, text)


def _from_one_hot(values: np.ndarray) -> np.ndarray | None:
    if not 0 < values.shape[1] <= MAX_CLASSES or not np.isin(values, (0, 1)).all():
        return None
    ones = values.sum(axis=1)
    if (ones > 1).any():
        return None
    return np.where(ones == 1, values.argmax(axis=1), -1).astype(np.int64)


def _from_numbers(values: np.ndarray) -> np.ndarray | None:
    if not np.isfinite(values).all() or not ((values >= -1) & (values < MAX_CLASSES)).all():
        return None
    classes = values.astype(np.int64)
    return classes if (classes == values).all() else None
