"""Weights by name from files of `torch.save`, safetensors or NumPy, read without PyTorch."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from ganformer_jax.convert.export import is_safetensors
from ganformer_jax.convert.torch_pickles import (
    STORAGE_TYPES,
    Storage,
    Tensor,
    read_torch_stream,
    storage_reader,
    torch_constructors,
)
from ganformer_jax.errors import UserError, one_line, os_reason
from ganformer_jax.files import DAMAGED_NPZ, map_file
from ganformer_jax.pickles.limits import Budget, PickleError, named_items, unique_arrays
from ganformer_jax.pickles.unpickle import Constructors, Stateful, unpickle

ZIP_MAGIC = b"PK\x03\x04"


class _StateDict(dict, Stateful):
    """An ordered dict, whose attributes (versions of modules) only PyTorch uses."""

    def set_state(self, state: Any) -> None:
        """Discard the attributes."""
        if not isinstance(state, dict) or not set(state) <= {"_metadata"}:
            raise TypeError("unknown attributes of a dict")


def read_state_dict(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Read arrays by name; the format is recognized by the file's contents.

    Nothing that a file names is imported or called.

    Args:
        path: A dict of tensors that `torch.save` wrote (in either of its formats), a safetensors
            file, or an npz file.

    Returns:
        Arrays with their stored types; those of tensors are views of the file.

    Raises:
        UserError: If the file cannot be read, or does not contain only arrays.
    """
    path = pathlib.Path(path)
    data = map_file(path)
    try:
        if is_safetensors(path):
            return _read_safetensors(path)
        if bytes(data[:4]) == ZIP_MAGIC:
            return _read_zip(path, data)
        budget = Budget(len(data))
        return _tensors(read_torch_stream(data, _constructors(budget), budget), budget)
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    except UserError as error:
        raise UserError(f"no weights can be read from {path}: {error}") from error


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    try:
        return dict(safetensors.load_file(path))
    except (SafetensorError, AttributeError, KeyError, TypeError) as error:
        raise UserError(one_line(error)) from error  # the last three for types NumPy does not have


def _read_zip(path: pathlib.Path, data: memoryview) -> dict[str, np.ndarray]:
    """Read an npz file or an archive of torch.save; both are zip archives."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            pickles = [name for name in entries if name.endswith("/data.pkl")]
            if len(pickles) == 1:
                return _read_archive(entries, pickles[0], data)
            if entries and all(name.endswith(".npy") for name in entries):
                return _read_npz(path)
    except DAMAGED_NPZ as error:
        raise UserError(f"a damaged zip archive: {error}") from error
    raise UserError("a zip archive of neither torch.save nor NumPy")


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy returns the bytes of other files
            raise UserError(f"{name} is not an array")
    return arrays


def _constructors(budget: Budget) -> Constructors:
    return {**torch_constructors(budget), ("collections", "OrderedDict"): _StateDict}


def _read_archive(
    entries: dict[str, zipfile.ZipInfo], pickle: str, data: memoryview
) -> dict[str, np.ndarray]:
    """Read an archive of torch.save since PyTorch 1.6: a pickle, and a file for each storage."""
    root, budget = pickle.removesuffix("data.pkl"), Budget(len(data))
    order = entries.get(f"{root}byteorder")
    if order is not None and bytes(_stored_bytes(data, order)[:8]) != b"little":
        raise PickleError("it was written on a big-endian machine, which is not supported")
    storages: dict[str, Storage] = {}
    constructors = {**STORAGE_TYPES, **_constructors(budget)}
    content = _stored_bytes(data, entries[pickle])
    value, _ = unpickle(content, constructors, budget, storage_reader(storages))
    for key, storage in storages.items():
        entry = entries.get(f"{root}data/{key}")
        if entry is None:
            raise PickleError(f"no data for the storage {key!a}")
        storage.values = np.frombuffer(_stored_bytes(data, entry), storage.dtype)
        if storage.values.size < storage.size:
            raise PickleError(f"cut short: the storage {key!a} has too few elements")
    return _tensors(value, budget)


def _stored_bytes(data: memoryview, entry: zipfile.ZipInfo) -> memoryview:
    """Return an entry's bytes as a view of the file; torch.save does not compress."""
    header = data[entry.header_offset : entry.header_offset + 30]
    is_stored = entry.compress_type == zipfile.ZIP_STORED
    if not is_stored or bytes(header[:4]) != ZIP_MAGIC or len(header) < 30:
        raise PickleError("an entry that is compressed, or not where the archive says")
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = entry.header_offset + len(header) + lengths
    if start + entry.file_size > len(data):
        raise PickleError("cut short")
    return data[start : start + entry.file_size]


def _tensors(value: Any, budget: Budget) -> dict[str, np.ndarray]:
    """Return the tensors of a dict that contains nothing else."""

    def arrays() -> Iterator[tuple[str, np.ndarray]]:
        for name, tensor in named_items(value, "", budget):
            if not isinstance(tensor, Tensor):
                raise PickleError(f"{name} is not a tensor")
            yield name, tensor.array

    return unique_arrays(arrays(), budget)
