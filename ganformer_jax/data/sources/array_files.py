"""Files of named arrays: .npy, .npz and HDF5, opened so that one image is read at a time."""

from __future__ import annotations

import dataclasses
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ganformer_jax.data.sources.labels import MAX_CLASSES
from ganformer_jax.data.sources.source import import_format
from ganformer_jax.errors import UserError, one_line

HDF5_SUFFIXES = (".h5", ".hdf5")


@dataclasses.dataclass(frozen=True)
class ArrayFacts:
    """Shape and dtype of an array that is not read yet."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


class ArrayFile(Protocol):
    """A file of named arrays.

    Attributes:
        arrays: Facts about the arrays by name.
        refused: Why other arrays cannot be opened, by name.
    """

    arrays: dict[str, ArrayFacts]
    refused: dict[str, str]

    def open(self, name: str) -> Any:
        """Open an array, to be indexed by entry; in memory only if the format needs it."""
        ...

    def strings(self, name: str) -> list[str]:
        """Read an array of texts; empty if it is something else."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def open_array_file(path: Path) -> ArrayFile:
    """Open a file by its suffix.

    Raises:
        UserError: If it cannot be read, or has another suffix.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix in HDF5_SUFFIXES:
        return _Hdf5File(path)
    if suffix == ".npz":
        return _NpzFile(path)
    if suffix == ".npy":
        return _NpyFile(path)
    raise UserError(f"{path} is not an array file: its name must end in .npy, .npz, .h5 or .hdf5")


def load_npy(path: Path) -> np.ndarray:
    """Map a .npy file of numbers into memory.

    Raises:
        UserError: If it is damaged, empty, or holds Python objects.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise UserError(f"{path} holds several arrays: rename it to end in .npz")
    return array


class _NpyFile:
    """One array, named as the file without its suffix."""

    def __init__(self, path: Path):
        self._array: np.ndarray | None = load_npy(path)
        self.arrays = {path.stem: ArrayFacts(self._array.shape, self._array.dtype)}
        self.refused: dict[str, str] = {}

    def open(self, name: str) -> Any:
        return self._array

    def strings(self, name: str) -> list[str]:
        return []

    def close(self) -> None:
        self._array = None


class _NpzFile:
    """Arrays in a zip file. Those stored without compression are mapped, others are loaded."""

    def __init__(self, path: Path):
        self._path = path
        self.refused: dict[str, str] = {}
        self.arrays: dict[str, ArrayFacts] = {}
        self._layout: dict[str, tuple[Any, int]] = {}  # order of the axes, length of the header
        try:
            self._zip = zipfile.ZipFile(path)
            for member in self._zip.infolist():
                if member.filename.endswith(".npy"):
                    self._read_header(member)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
            raise _damaged(path, error) from error

    def _read_header(self, member: zipfile.ZipInfo) -> None:
        name = member.filename.removesuffix(".npy")
        with self._zip.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
            elif version == (2, 0):
                shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
            else:
                self.refused[name] = f"is of version {version}"
                return
            start = file.tell()
        facts = ArrayFacts(shape, dtype)
        if dtype.hasobject:
            self.refused[name] = "holds Python objects"
        elif member.file_size - start < facts.nbytes:
            self.refused[name] = "is cut short"
        else:
            self.arrays[name] = facts
            self._layout[name] = "F" if is_fortran else "C", start

    def open(self, name: str) -> Any:
        member, facts = self._zip.getinfo(name + ".npy"), self.arrays[name]
        try:
            if member.compress_type == zipfile.ZIP_STORED and facts.nbytes:
                order, start = self._layout[name]
                offset = self._contents_start(member) + start
                return np.memmap(self._path, facts.dtype, "r", offset, facts.shape, order)
            with self._zip.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except MemoryError as error:
            raise UserError(
                f"{name!r} in {self._path} is {facts}, too large to load: save it as .npy"
            ) from error
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise _damaged(self._path, error) from error

    def _contents_start(self, member: zipfile.ZipInfo) -> int:
        """Return where in the file a member begins: behind its header, name and extra field."""
        with self._path.open("rb") as file:
            file.seek(member.header_offset + 26)
            name_length, extra_length = np.frombuffer(file.read(4), "<u2").tolist()
        return member.header_offset + 30 + name_length + extra_length

    def strings(self, name: str) -> list[str]:
        if self.arrays[name].dtype.kind not in "SU":
            return []
        return _texts(self.open(name))

    def close(self) -> None:
        self._zip.close()


class _Hdf5File:
    """Datasets of the file itself: links and storage elsewhere are never followed."""

    def __init__(self, path: Path):
        self._h5py = import_format("h5py", f"reading {path.name}")
        self.arrays: dict[str, ArrayFacts] = {}
        self.refused: dict[str, str] = {}
        try:
            self._file = self._h5py.File(path, "r", locking=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise _damaged(path, error) from error
        try:
            self._file.visititems(self._visit)  # hard links only, every object once
            self._file.visititems_links(self._visit_link)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            self._file.close()
            raise _damaged(path, error) from error

    def _visit(self, name: str, item: Any) -> None:
        if not isinstance(item, self._h5py.Dataset):
            return
        if item.is_virtual or item.external:
            self.refused[name] = "lies in other files, which are not read: copy it into one"
        elif item.shape is not None:
            self.arrays[name] = ArrayFacts(item.shape, item.dtype)

    def _visit_link(self, name: str, link: Any) -> None:
        if isinstance(link, (self._h5py.ExternalLink, self._h5py.SoftLink)):
            self.refused[name] = "is a link, which is not followed"

    def open(self, name: str) -> Any:
        return self._file[name]

    def strings(self, name: str) -> list[str]:
        facts = self.arrays[name]
        if self._h5py.check_string_dtype(facts.dtype) is None or facts.size > MAX_CLASSES:
            return []
        return _texts(self._file[name][...])

    def close(self) -> None:
        self._file.close()


def _damaged(path: Path, error: BaseException) -> UserError:
    return UserError(f"{path} cannot be read, it may be damaged or hold objects: {one_line(error)}")


def _texts(values: np.ndarray) -> list[str]:
    texts = np.asarray(values).reshape(-1).tolist()
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in texts]
