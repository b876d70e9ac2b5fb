"""Tensors pickled by PyTorch, rebuilt as views of the file's bytes without PyTorch."""

from __future__ import annotations

import dataclasses
import functools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from ganformer_jax.pickles.limits import Budget, PickleError
from ganformer_jax.pickles.numpy_pickles import MAX_DIMENSIONS, count_elements
from ganformer_jax.pickles.unpickle import Constructors, unpickle

MAX_STORAGE_KEY = 64  # characters
# The first values of a stream that torch.save wrote before PyTorch 1.6.
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
TORCH_VERSION = 1001


@dataclasses.dataclass(eq=False)
class Storage:
    """Elements of one or more tensors, flat."""

    size: int
    dtype: np.dtype
    values: np.ndarray | None = None  # None until they are read


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor or parameter: a strided part of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def array(self) -> np.ndarray:
        """Its elements, as a view of the file."""
        values = self.storage.values
        assert values is not None, "the reader fills every storage or raises"
        strides = [step * values.itemsize for step in self.strides]
        start = values[self.offset :]
        return np.lib.stride_tricks.as_strided(start, self.shape, strides, writeable=False)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Rebuild a tensor like `_rebuild_tensor_v2`; only autograd uses the other arguments."""
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without a storage")
    count = count_elements(shape)
    count_elements(strides)  # a tuple of sizes too
    if len(shape) != len(strides) or type(offset) is not int or offset < 0:
        raise ValueError("not strides and an offset")
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
    if count > storage.size or (count and last >= storage.size):
        raise ValueError(f"shape {shape} needs more than {storage.size} elements")
    return Tensor(storage, offset, shape, strides)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise TypeError("a parameter without a tensor")
    return tensor


class _StorageType:
    """A storage class in a persistent id, which is never called."""

    def __init__(self, dtype: str):
        self.dtype = np.dtype(dtype).newbyteorder("<")

    def __call__(self, *_: Any) -> Any:
        raise TypeError("a storage without a persistent id")


_DTYPES = {"Bool": "b1", "Byte": "u1", "Char": "i1", "Short": "i2", "Int": "i4", "Long": "i8"}
_DTYPES |= {"Half": "f2", "Float": "f4", "Double": "f8"}
STORAGE_TYPES: Constructors = {
    ("torch", f"{name}Storage"): _StorageType(dtype) for name, dtype in _DTYPES.items()
}


def read_torch_stream(data: memoryview, allowed: Constructors, budget: Budget) -> Any:
    """Read a file of torch.save before PyTorch 1.6: five pickles, then the storages.

    Besides storages, the object may use the constructors in `allowed`.
    """
    magic, position = unpickle(data, {}, budget)
    version, position = unpickle(data, {}, budget, start=position)
    system, position = unpickle(data, {}, budget, start=position)
    if magic != TORCH_MAGIC or version != TORCH_VERSION or not isinstance(system, dict):
        raise PickleError("not a stream of torch.save as before PyTorch 1.6")
    if system.get("little_endian") is not True:
        raise PickleError("a stream written on a big-endian machine is not supported")
    storages: dict[str, Storage] = {}
    constructors = {**STORAGE_TYPES, **allowed}
    value, position = unpickle(data, constructors, budget, storage_reader(storages), position)
    keys, position = unpickle(data, {}, budget, start=position)
    are_names = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not are_names or sorted(keys) != sorted(storages):
        raise PickleError("a stream whose storages are not those its object names")
    for key in keys:
        storage, begin = storages[key], position + 8
        end = begin + storage.size * storage.dtype.itemsize
        if end > len(data) or struct.unpack("<q", data[position:begin])[0] != storage.size:
            raise PickleError("cut short, or a storage of another size than its object says")
        storage.values, position = np.frombuffer(data[begin:end], storage.dtype), end
    return value


def storage_reader(storages: dict[str, Storage]) -> Callable[[Any], Storage]:
    """Return a function from persistent ids to storages, which it adds to `storages`."""

    def read(reference: Any) -> Storage:
        if not isinstance(reference, tuple) or len(reference) not in (5, 6):
            raise ValueError("not a storage")
        word, kind, key, _, size = reference[:5]
        dtype = getattr(getattr(kind, "construct", None), "dtype", None)
        is_named = isinstance(key, str) and len(key) <= MAX_STORAGE_KEY
        if dtype is None or not is_named or not isinstance(word, str) or word != "storage":
            raise ValueError("not a storage")
        if reference[5:] not in ((), (None,)):
            raise ValueError("a view of another storage")
        if type(size) is not int or size < 0:
            raise ValueError("a storage without a size")
        return storages.setdefault(key, Storage(size, dtype))

    return read


def _load_from_bytes(raw: Any, budget: Budget) -> Storage:
    """Read the stream of one storage, as `torch.storage._load_from_bytes` does."""
    if not isinstance(raw, memoryview):
        raise TypeError("not bytes")
    budget.copy(len(raw))  # every time, as a pickle can request it repeatedly
    storage = read_torch_stream(raw, {}, budget)
    if not isinstance(storage, Storage):
        raise TypeError("not a storage")
    return storage


def _size(sides: Any) -> tuple[int, ...]:
    """Rebuild a `torch.Size`."""
    if not isinstance(sides, list | tuple):
        raise TypeError("not a list of sides")
    count_elements(tuple(sides[: MAX_DIMENSIONS + 1]))
    return tuple(sides)


def torch_constructors(budget: Budget) -> Constructors:
    """Return the constructors that pickles of tensors may use."""
    return {
        ("torch", "Size"): _size,
        ("torch._utils", "_rebuild_tensor"): _tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch.storage", "_load_from_bytes"): functools.partial(_load_from_bytes, budget=budget),
    }
