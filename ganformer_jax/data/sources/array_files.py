"""Files of named arrays: .npy, .npz and HDF5, opened so that one picture is read at a time."""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ganformer_jax.data.sources.shared import MAX_CLASSES, brief, import_format
from ganformer_jax.errors import UserError

HDF5_ENDINGS = (".h5", ".hdf5")


@dataclasses.dataclass(frozen=True)
class ArrayFacts:
    """Shape and dtype of an array that was not read yet."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


class ArrayFile(Protocol):
    """A file of named arrays; `refused` says why some of its names are not offered."""

    arrays: dict[str, ArrayFacts]
    refused: dict[str, str]

    def open(self, name: str) -> Any:
        """The array, to be indexed by entry; in memory only where there is no other way."""
        ...

    def strings(self, name: str) -> list[str]:
        """An array of texts."""
        ...

    def close(self) -> None:
        """Gives the file back."""
        ...


def open_array_file(path: Path) -> ArrayFile:
    """Opens a file by its ending.

    Raises:
        UserError: If it cannot be read, or has another ending.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    ending = path.suffix.lower()
    if ending in HDF5_ENDINGS:
        return _Hdf5File(path)
    if ending == ".npz":
        return _NpzFile(path)
    if ending == ".npy":
        return _NpyFile(path)
    raise UserError(f"{path} is no array file: its name must end in .npy, .npz, .h5 or .hdf5")


def damaged(path: Path, error: BaseException) -> UserError:
    """What to say of a file that the library cannot read."""
    return UserError(f"{path} cannot be read, it may be damaged or hold objects: {brief(error)}")


def load_npy(path: Path) -> np.ndarray:
    """Maps a .npy file of numbers into memory.

    Raises:
        UserError: If it is damaged, empty, or holds Python objects.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise UserError(f"{path} holds several arrays: rename it to end in .npz")
    return found


class _NpyFile:
    """One array; its name is that of the file without the ending."""

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
        self._order: dict[str, bool] = {}
        self._start: dict[str, int] = {}
        try:
            self._zip = zipfile.ZipFile(path)
            for member in self._zip.infolist():
                if member.filename.endswith(".npy"):
                    self._read_header(member)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
            raise damaged(path, error) from error

    def _read_header(self, member: zipfile.ZipInfo) -> None:
        name = member.filename.removesuffix(".npy")
        with self._zip.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                self.refused[name] = f"is of version {version}"
                return
            old = version == (1, 0)
            read: Any = (
                np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
            )
            shape, fortran_order, dtype = read(file)
            start = file.tell()
        facts = ArrayFacts(shape, dtype)
        if dtype.hasobject:
            self.refused[name] = "holds Python objects"
        elif member.file_size - start < _bytes(facts):
            self.refused[name] = "is cut short"
        else:
            self.arrays[name] = facts
            self._order[name], self._start[name] = fortran_order, start

    def open(self, name: str) -> Any:
        member = self._zip.getinfo(name + ".npy")
        facts = self.arrays[name]
        if member.compress_type == zipfile.ZIP_STORED and _bytes(facts):
            order = "F" if self._order[name] else "C"
            offset = self._contents_start(member) + self._start[name]
            try:
                return np.memmap(self._path, facts.dtype, "r", offset, facts.shape, order)
            except (OSError, ValueError) as error:
                raise damaged(self._path, error) from error
        try:
            with self._zip.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except MemoryError as error:
            raise UserError(
                f"{name!r} in {self._path} is {facts}, too large to load: save it as .npy"
            ) from error
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise damaged(self._path, error) from error

    def _contents_start(self, member: zipfile.ZipInfo) -> int:
        """Where in the file a stored member begins: behind its header, name and extra field."""
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
    """Datasets that lie in the file itself: links and storage elsewhere are never followed."""

    def __init__(self, path: Path):
        self._path = path
        self._h5py = import_format("h5py", f"reading {path.name}")
        self.arrays: dict[str, ArrayFacts] = {}
        self.refused: dict[str, str] = {}
        try:
            self._file = self._h5py.File(path, "r", locking=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise damaged(path, error) from error
        try:
            self._file.visititems(self._visit)  # hard links only, every object once
            self._file.visititems_links(self._visit_link)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            self._file.close()
            raise damaged(path, error) from error

    def _visit(self, name: str, found: Any) -> None:
        if not isinstance(found, self._h5py.Dataset):
            return
        if found.is_virtual or found.external:
            self.refused[name] = "lies in other files, which are not read: copy it into one"
        elif found.shape is not None:
            self.arrays[name] = ArrayFacts(found.shape, found.dtype)

    def _visit_link(self, name: str, link: Any) -> None:
        if isinstance(link, (self._h5py.ExternalLink, self._h5py.SoftLink)):
            self.refused[name] = "is a link, which is not followed"

    def open(self, name: str) -> Any:
        return self._file[name]

    def strings(self, name: str) -> list[str]:
        dataset = self._file[name]
        facts = self.arrays[name]
        if self._h5py.check_string_dtype(facts.dtype) is None or _count(facts) > MAX_CLASSES:
            return []
        return _texts(dataset[...])

    def close(self) -> None:
        self._file.close()


def _texts(values: np.ndarray) -> list[str]:
    found = np.asarray(values).reshape(-1).tolist()
    return [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in found]


def _count(facts: ArrayFacts) -> int:
    count = 1
    for length in facts.shape:
        count *= length
    return count


def _bytes(facts: ArrayFacts) -> int:
    return _count(facts) * facts.dtype.itemsize
