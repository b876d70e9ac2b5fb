"""Files of named arrays: .npy, .npz and HDF5, of which one image is read at a time."""

from __future__ import annotations

import abc
import dataclasses
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ganformer_jax.data.sources.source import (
    MAX_CLASSES,
    import_format,
    interrupted,
    is_hidden,
    is_of_the_system,
)
from ganformer_jax.errors import UserError, one_line
from ganformer_jax.files import DAMAGED_NPZ

HDF5_SUFFIXES = (".h5", ".hdf5")
_DAMAGED = (OSError, *DAMAGED_NPZ)
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclasses.dataclass(frozen=True)
class ArrayFacts:
    """Shape and dtype of an array, known before its values are read."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


class ArrayFile(abc.ABC):
    """A file of named arrays."""

    def __init__(self, path: Path):
        self.path = path
        self.arrays: dict[str, ArrayFacts] = {}
        self.refused: dict[str, str] = {}  # names of arrays that cannot be opened, and why

    @abc.abstractmethod
    def open(self, name: str) -> Any:
        """Return an array that can be indexed by entry, loaded only if the format requires it."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close the file."""

    def strings(self, name: str, most: int = MAX_CLASSES) -> list[str]:
        """Read an array of at most `most` strings; return an empty list for other arrays."""
        facts = self.arrays[name]
        if facts.dtype.kind not in "SUO" or math.prod(facts.shape) > most:
            return []
        values = np.asarray(self.open(name)[...]).reshape(-1).tolist()
        texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
        return texts if all(isinstance(text, str) for text in texts) else []


def open_array_file(path: Path) -> ArrayFile:
    """Open a file by its suffix; raise UserError if it cannot be read or has another suffix."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    kinds = {".npy": _NpyFile, ".npz": _NpzFile} | dict.fromkeys(HDF5_SUFFIXES, _Hdf5File)
    if path.suffix.lower() in kinds:
        return kinds[path.suffix.lower()](path)
    raise UserError(f"{path} is not an array file: its name must end in .npy, .npz, .h5 or .hdf5")


def load_npy(path: Path) -> np.ndarray:
    """Map a .npy file of numbers into memory; raise UserError if it is damaged or holds objects."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise UserError(f"{path} holds several arrays: rename it to end in .npz")
    return array


class _NpyFile(ArrayFile):
    """One array, named as the file without its suffix."""

    def __init__(self, path: Path):
        super().__init__(path)
        array = load_npy(path)
        self.arrays[path.stem] = ArrayFacts(array.shape, array.dtype)
        self._array: np.ndarray | None = array

    def open(self, name: str) -> Any:
        return self._array

    def close(self) -> None:
        self._array = None


class _NpzFile(ArrayFile):
    """Arrays in a zip file: mapped into memory if uncompressed, otherwise loaded."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._mapped: dict[str, tuple[Any, int]] = {}  # memory order, length of the header
        try:
            self._zip = zipfile.ZipFile(path)
            for member in self._zip.infolist():
                if member.filename.endswith(".npy") and not is_hidden(member.filename):
                    self._read_header(member)
        except _DAMAGED as error:
            raise _damaged(path, error) from error

    def _read_header(self, member: zipfile.ZipInfo) -> None:
        name = member.filename.removesuffix(".npy")
        with self._zip.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version not in _HEADER_READERS:
                self.refused[name] = f"is of version {version}"
                return
            shape, is_fortran, dtype = _HEADER_READERS[version](file)
            start = file.tell()
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            self.refused[name] = "holds Python objects"
        elif member.file_size - start < size:
            self.refused[name] = "is cut short"
        else:
            self.arrays[name] = ArrayFacts(shape, dtype)
            if member.compress_type == zipfile.ZIP_STORED and size:
                self._mapped[name] = "F" if is_fortran else "C", start

    def open(self, name: str) -> Any:
        member, facts = self._zip.getinfo(name + ".npy"), self.arrays[name]
        try:
            if name in self._mapped:
                order, start = self._mapped[name]
                offset = self._contents_start(member) + start
                return np.memmap(self.path, facts.dtype, "r", offset, facts.shape, order)
            with self._zip.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except MemoryError as error:
            raise UserError(
                f"{name!r} in {self.path} is {facts}, too large to load: save it as .npy"
            ) from error
        except _DAMAGED as error:
            raise _damaged(self.path, error) from error

    def _contents_start(self, member: zipfile.ZipInfo) -> int:
        """Return the position of a member's contents, after its header, name and extra field."""
        with self.path.open("rb") as file:
            file.seek(member.header_offset + 26)
            name_length, extra_length = np.frombuffer(file.read(4), "<u2").tolist()
        return member.header_offset + 30 + name_length + extra_length

    def close(self) -> None:
        self._zip.close()


class _Hdf5File(ArrayFile):
    """Datasets stored in the file itself: links and external storage are never followed."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._h5py = import_format("h5py", f"reading {path.name}")
        self._file: Any = None
        try:
            self._file = self._h5py.File(path, "r", locking=False)
            self._file.visititems(self._visit)  # hard links only, every object once
            self._file.visititems_links(self._visit_link)
        except _DAMAGED as error:
            self.close()
            raise _damaged(path, error) from error

    def _visit(self, name: str, item: Any) -> None:
        if not isinstance(item, self._h5py.Dataset):
            return
        if item.is_virtual or item.external:
            self.refused[name] = (
                "is stored in other files, which are not read: copy it into one file"
            )
        elif item.shape is not None:
            self.arrays[name] = ArrayFacts(item.shape, item.dtype)

    def _visit_link(self, name: str, link: Any) -> None:
        if isinstance(link, (self._h5py.ExternalLink, self._h5py.SoftLink)):
            self.refused[name] = "is a link, which is not followed"

    def open(self, name: str) -> Any:
        return self._file[name]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _damaged(path: Path, error: BaseException) -> UserError:
    if is_of_the_system(error):
        return interrupted(path, error)
    return UserError(f"{path} cannot be read, it may be damaged or hold objects: {one_line(error)}")
