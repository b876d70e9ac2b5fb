"""Tensors as PyTorch pickles them, rebuilt as views of the file's bytes, without PyTorch."""

from __future__ import annotations

import dataclasses
import functools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from ganformer_jax.convert.numpy_pickles import MAX_DIMENSIONS, count_elements
from ganformer_jax.convert.pickle_machine import COPIED, Budget, Constructors, PickleError
from ganformer_jax.convert.unpickle import unpickle

MAX_KEY_LENGTH = 64  # of a storage in a stream

STORAGE_DTYPES: dict[str, str] = {
    "BoolStorage": "b1",
    "ByteStorage": "u1",
    "CharStorage": "i1",
    "ShortStorage": "i2",
    "IntStorage": "i4",
    "LongStorage": "i8",
    "HalfStorage": "f2",
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
}

# What begins a stream that torch.save wrote in the format of before PyTorch 1.6.
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
TORCH_VERSION = 1001


@dataclasses.dataclass(eq=False)
class Storage:
    """Numbers of one or more tensors, flat.

    Attributes:
        size: How many.
        dtype: Of each.
        values: The numbers, once the stream has come to them.
    """

    size: int
    dtype: np.dtype
    values: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor or parameter: which numbers of a storage it has."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def array(self) -> np.ndarray:
        """Its numbers, as a view of the file."""
        values = self.storage.values
        assert values is not None, "a stream is read whole or refused"
        strides = [step * values.itemsize for step in self.strides]
        start = values[self.offset :]
        return np.lib.stride_tricks.as_strided(start, self.shape, strides, writeable=False)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """`torch._utils._rebuild_tensor_v2`: what follows the strides matters to autograd only."""
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without numbers")
    count = count_elements(shape)
    count_elements(strides)  # sizes as well
    if len(shape) != len(strides) or type(offset) is not int or offset < 0:
        raise ValueError("no strides or offset")
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
    if count > storage.size or (count and last >= storage.size):
        raise ValueError(f"shape {shape} needs more than {storage.size} numbers")
    return Tensor(storage, offset, shape, strides)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise TypeError("a parameter without a tensor")
    return tensor


class _StorageType:
    """A storage class named in a stream; it is never called."""

    def __init__(self, dtype: str):
        self.dtype = np.dtype(dtype).newbyteorder("<")

    def __call__(self, *_: Any) -> Any:
        raise TypeError("a storage outside of a stream")


def read_torch_stream(
    data: memoryview, allowed: Constructors, budget: Budget
) -> tuple[Any, dict[str, Storage]]:
    """Reads what `torch.save` wrote in the format of before PyTorch 1.6.

    Args:
        data: The stream, from its first byte to its last.
        allowed: What its object may be made of, besides storages.
        budget: Of the file that it is part of.

    Returns:
        The object, and its storages by key.

    Raises:
        PickleError: On anything that is not such a stream.
    """
    magic, position = unpickle(data, {}, budget)
    version, position = unpickle(data, {}, budget, start=position)
    system, position = unpickle(data, {}, budget, start=position)
    if magic != TORCH_MAGIC or version != TORCH_VERSION or not isinstance(system, dict):
        raise PickleError("no stream of torch.save of the format before PyTorch 1.6")
    if system.get("little_endian") is not True:
        raise PickleError("a stream written on a big-endian machine is not supported")
    storages: dict[str, Storage] = {}
    found, position = unpickle(
        data, {**STORAGE_TYPES, **allowed}, budget, storage_maker(storages), position
    )
    keys, position = unpickle(data, {}, budget, start=position)
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or sorted(keys) != sorted(storages):
        raise PickleError("a stream whose storages are not those its object names")
    for key in keys:
        position = _fill(storages[key], data, position)
    return found, storages


def storage_maker(storages: dict[str, Storage]) -> Callable[[Any], Storage]:
    """Makes the storages that persistent ids name; their numbers come later in the stream."""

    def make(reference: Any) -> Storage:
        if not isinstance(reference, tuple) or len(reference) not in (5, 6):
            raise ValueError("not a storage")
        word, kind, key, _, size = reference[:5]
        dtype = getattr(getattr(kind, "construct", None), "dtype", None)
        if dtype is None or not (isinstance(word, str) and word == "storage"):
            raise ValueError("not a storage")
        if not isinstance(key, str) or len(key) > MAX_KEY_LENGTH:
            raise ValueError("not a storage")
        if len(reference) == 6 and reference[5] is not None:
            raise ValueError("a storage that is part of another")
        if type(size) is not int or size < 0:
            raise ValueError("a storage without a size")
        if key not in storages:
            storages[key] = Storage(size, dtype)
        return storages[key]

    return make


def _fill(storage: Storage, data: memoryview, position: int) -> int:
    """Finds a storage's numbers at their place in the stream; returns where they end."""
    begin, end = position + 8, position + 8 + storage.size * storage.dtype.itemsize
    if end > len(data) or struct.unpack("<q", data[position:begin])[0] != storage.size:
        raise PickleError("cut short, or a storage of another size than its object says")
    storage.values = np.frombuffer(data[begin:end], storage.dtype)
    return end


def _load_from_bytes(raw: Any, budget: Budget) -> Storage:
    """`torch.storage._load_from_bytes`: a stream that holds one storage."""
    if not isinstance(raw, memoryview):
        raise TypeError("no bytes")
    budget.spend(len(raw) // COPIED)  # as often as it is read
    storage, _ = read_torch_stream(raw, {}, budget)
    if not isinstance(storage, Storage):
        raise TypeError("no storage")
    return storage


def _size(sides: Any) -> tuple[int, ...]:
    """`torch.Size`."""
    if not isinstance(sides, list | tuple):
        raise TypeError("no sides")
    count_elements(tuple(sides[: MAX_DIMENSIONS + 1]))
    return tuple(sides)


STORAGE_TYPES: Constructors = {
    ("torch", name): _StorageType(dtype) for name, dtype in STORAGE_DTYPES.items()
}


def torch_names(budget: Budget) -> Constructors:
    """What pickles of tensors may construct; `budget` is that of the file."""
    return {
        ("torch", "Size"): _size,
        ("torch._utils", "_rebuild_tensor"): _tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch.storage", "_load_from_bytes"): functools.partial(_load_from_bytes, budget=budget),
    }
