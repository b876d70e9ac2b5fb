"""Weights by name from a file: what `torch.save` writes, safetensors or npz, without PyTorch."""

from __future__ import annotations

import mmap
import pathlib
import zipfile
import zlib
from typing import Any

import numpy as np

from ganformer_jax.convert.export import is_safetensors
from ganformer_jax.convert.pickle_machine import Budget, Built, Constructors, PickleError
from ganformer_jax.convert.torch_pickles import (
    STORAGE_TYPES,
    Storage,
    Tensor,
    read_torch_stream,
    storage_maker,
    torch_names,
)
from ganformer_jax.convert.unpickle import unpickle
from ganformer_jax.convert.untrusted import named, once
from ganformer_jax.errors import UserError

_ZIP = b"PK\x03\x04"


class _StateDict(dict, Built):
    """An ordered dict, whose attributes (versions of modules) matter to PyTorch only."""

    def build(self, state: Any) -> None:
        """Takes the attributes and drops them."""
        if not isinstance(state, dict) or not set(state) <= {"_metadata"}:
            raise TypeError("attributes of a dict that are not known")


def read_state_dict(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads arrays by name; the content decides the format.

    Nothing that a file names is imported or called.

    Args:
        path: A dict of tensors that `torch.save` wrote (a zip archive, or the format of before
            PyTorch 1.6), a safetensors file, or NumPy's npz.

    Returns:
        Arrays as they are stored, those of tensors as views of the file.

    Raises:
        UserError: When the file cannot be read, or holds anything else.
    """
    path = pathlib.Path(path)
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if is_safetensors(path):
            return _read_safetensors(path)
        if bytes(data[:4]) == _ZIP:
            return _read_zip(path, data)
        return _tensors(*_read_legacy(data))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # mmap of nothing
        raise UserError(f"{path} is empty or damaged: {error}") from error
    except UserError as error:
        raise UserError(f"{path} holds no weights that can be read: {error}") from error


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    try:
        return dict(safetensors.load_file(path))
    except SafetensorError as error:
        raise UserError(" ".join(str(error).split())) from error


def _read_zip(path: pathlib.Path, data: memoryview) -> dict[str, np.ndarray]:
    """An npz or an archive of torch.save: both are zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            pickles = [name for name in entries if name.endswith("/data.pkl")]
            if len(pickles) == 1:
                return _tensors(*_read_archive(entries, pickles[0], data))
            if entries and all(name.endswith(".npy") for name in entries):
                return _read_npz(path)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise UserError(f"a damaged zip archive: {error}") from error
    raise UserError("a zip archive of neither torch.save nor NumPy")


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _names(budget: Budget) -> Constructors:
    return {**torch_names(budget), ("collections", "OrderedDict"): _StateDict}


def _read_legacy(data: memoryview) -> tuple[Any, Budget]:
    budget = Budget(len(data))
    found, _ = read_torch_stream(data, _names(budget), budget)
    return found, budget


def _read_archive(
    entries: dict[str, zipfile.ZipInfo], pickle: str, data: memoryview
) -> tuple[Any, Budget]:
    """What `torch.save` writes since PyTorch 1.6: a pickle, and a file for each storage."""
    root, budget = pickle.removesuffix("data.pkl"), Budget(len(data))
    order = entries.get(f"{root}byteorder")
    if order is not None and bytes(_stored_bytes(data, order)[:8]) != b"little":
        raise PickleError("it was written on a big-endian machine, which is not supported")
    storages: dict[str, Storage] = {}
    types = {**STORAGE_TYPES, **_names(budget)}
    content = _stored_bytes(data, entries[pickle])
    found, _ = unpickle(content, types, budget, storage_maker(storages))
    for key, storage in storages.items():
        entry = entries.get(f"{root}data/{key}")
        if entry is None:
            raise PickleError(f"it has no numbers for the storage {key!a}")
        storage.values = np.frombuffer(_stored_bytes(data, entry), storage.dtype)
        if storage.values.size < storage.size:
            raise PickleError(f"cut short: the storage {key!a} has too few numbers")
    return found, budget


def _stored_bytes(data: memoryview, entry: zipfile.ZipInfo) -> memoryview:
    """An entry's bytes where they lie in the file: torch.save does not compress."""
    header = data[entry.header_offset : entry.header_offset + 30]
    if entry.compress_type != zipfile.ZIP_STORED or bytes(header[:4]) != _ZIP or len(header) < 30:
        raise PickleError("a part that is compressed, or not where the archive says")
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = entry.header_offset + len(header) + lengths
    if start + entry.file_size > len(data):
        raise PickleError("cut short")
    return data[start : start + entry.file_size]


def _tensors(found: Any, budget: Budget) -> dict[str, np.ndarray]:
    """Tensors of a dict of them; anything else in it is refused."""

    def arrays():
        for name, tensor in named(found, "", budget):
            if not isinstance(tensor, Tensor):
                raise PickleError(f"{name} is no tensor")
            yield name, tensor.array

    return once(arrays(), budget)
