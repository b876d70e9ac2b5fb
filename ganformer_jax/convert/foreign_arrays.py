"""Arrays as NumPy and PyTorch pickle them, rebuilt as views of the file's bytes.

The tables at the end say which names of a pickle construct what; `read_torch_stream` reads the
format in which PyTorch keeps a tensor's numbers. Nothing here needs PyTorch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from ganformer_jax.convert.pickle_machine import (
    COPIED,
    Budget,
    Built,
    Constructors,
    Name,
    PickleError,
)
from ganformer_jax.convert.unpickle import unpickle

MAX_DIMENSIONS = 8
DTYPES = ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")

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


# NumPy


class Dtype(Built):
    """`numpy.dtype` of plain numbers."""

    def __init__(self, code: str, align: Any = False, copy: Any = True) -> None:
        code = code.lstrip("<>=|") if isinstance(code, str) else ""
        if code not in DTYPES:
            raise ValueError(f"dtype {code[:20]!r} is not one of plain numbers")
        self.dtype = np.dtype(code)

    def build(self, state: Any) -> None:
        """Takes the byte order, the only part of the state that plain numbers use."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|"):
            raise ValueError("no byte order")
        self.dtype = self.dtype.newbyteorder(order)


class Ndarray(Built):
    """`numpy.ndarray`, empty until its state is set."""

    def __init__(self, *_: Any) -> None:
        self.array = np.zeros(0, np.float32)

    def build(self, state: Any) -> None:
        """Takes (version, shape, dtype, Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array has five parts")
        _, shape, dtype, fortran, raw = state
        self.array = _from_bytes(raw, dtype, shape, "F" if fortran else "C")


def _from_bytes(raw: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
    if not isinstance(dtype, Dtype) or not isinstance(raw, memoryview):
        raise ValueError("no bytes of a known dtype")
    if _count(shape) * dtype.dtype.itemsize != len(raw):
        raise ValueError(f"shape {shape} does not fit {len(raw)} bytes")
    return np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any) -> Ndarray:
    made = Ndarray()
    made.array = _from_bytes(raw, dtype, shape, str(order))
    return made


def _scalar(dtype: Any, raw: Any) -> int | float | bool:
    return _from_bytes(raw, dtype, ()).item()


def _count(shape: Any) -> int:
    """Elements of a shape, which must be a tuple of a few numbers that are not negative."""
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
        raise ValueError("no shape")
    if not all(type(side) is int and 0 <= side < 2**48 for side in shape):
        raise ValueError(f"sides of a shape that are no sizes: {str(shape)[:60]}")
    return math.prod(shape)


# PyTorch


@dataclasses.dataclass(eq=False)
class Storage:
    """Numbers of one or more tensors, flat.

    Attributes:
        size: how many.
        dtype: of each.
        values: the numbers, once the stream has come to them.
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
    count = _count(shape)
    _count(strides)  # sizes as well
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
        data: the stream, from its first byte to its last.
        allowed: what its object may be made of, besides storages.
        budget: of the file that it is part of.

    Returns:
        the object, and its storages by key.

    Raises:
        PickleError: on anything that is not such a stream.
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
        data, {**STORAGE_TYPES, **allowed}, budget, _storage_maker(storages), position
    )
    keys, position = unpickle(data, {}, budget, start=position)
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or sorted(keys) != sorted(storages):
        raise PickleError("a stream whose storages are not those its object names")
    for key in keys:
        position = _fill(storages[key], data, position)
    return found, storages


def _storage_maker(storages: dict[str, Storage]) -> Callable[[Any], Storage]:
    """Makes the storages that persistent ids name; their numbers come later in the stream."""

    def make(reference: Any) -> Storage:
        if not isinstance(reference, tuple) or len(reference) not in (5, 6):
            raise ValueError("not a storage")
        word, kind, key, _, size = reference[:5]
        dtype = getattr(getattr(kind, "construct", None), "dtype", None)
        if word != "storage" or dtype is None or not isinstance(key, str):
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
    storage, _ = read_torch_stream(raw, {}, budget)
    if not isinstance(storage, Storage):
        raise TypeError("no storage")
    return storage


# Tables


def _no_instance(*_: Any) -> Any:
    raise TypeError("this name may only be passed on")


def _ordered(items: Any = ()) -> dict[Any, Any]:
    if not isinstance(items, list | tuple) or not all(
        isinstance(i, list | tuple) and len(i) == 2 and isinstance(i[0], str) for i in items
    ):
        raise TypeError("no pairs of a name and a value")
    return dict(items)


def _encode(text: Any, encoding: Any, budget: Budget) -> memoryview:
    """How protocol 2 writes a byte string."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TypeError("no text of bytes")
    budget.spend(len(text) // COPIED)
    return memoryview(text.encode("latin-1"))


def _no_bytes() -> memoryview:
    """What protocol 2 writes for an empty byte string."""
    return memoryview(b"")


def _set(items: Any = ()) -> set[str]:
    if not isinstance(items, list | tuple) or not all(isinstance(i, str) for i in items):
        raise TypeError("no set of names")
    return set(items)


STORAGE_TYPES: Constructors = {
    ("torch", name): _StorageType(dtype) for name, dtype in STORAGE_DTYPES.items()
}

PLAIN: Constructors = {
    ("collections", "OrderedDict"): _ordered,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("__builtin__", "bytes"): _no_bytes,
}

NUMPY: Constructors = {
    ("numpy", "dtype"): Dtype,
    ("numpy", "ndarray"): _no_instance,
    **{
        (f"numpy.{core}.{module}", name): construct
        for core in ("core", "_core")  # NumPy 1 and 2
        for module, name, construct in (
            ("multiarray", "_reconstruct", Ndarray),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}

TENSORS: Constructors = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
}


def tables(budget: Budget) -> dict[Name, Callable[..., Any]]:
    """What pickles of NumPy and PyTorch may construct; `budget` is that of the file."""
    return {
        **PLAIN,
        **NUMPY,
        **TENSORS,
        ("_codecs", "encode"): functools.partial(_encode, budget=budget),
        ("torch.storage", "_load_from_bytes"): functools.partial(_load_from_bytes, budget=budget),
    }
