"""Arrays pickled by NumPy, rebuilt as views of the file's bytes, and plain containers."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ganformer_jax.pickles.limits import Budget, plain_key
from ganformer_jax.pickles.unpickle import Constructors, Stateful

MAX_DIMENSIONS = 8
MAX_ELEMENTS = 1 << 48
DTYPES = ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")


class Dtype(Stateful):
    """`numpy.dtype` of numbers or booleans."""

    def __init__(self, code: str, align: Any = False, copy: Any = True) -> None:
        code = code.lstrip("<>=|") if isinstance(code, str) else ""
        if code not in DTYPES:
            raise ValueError(f"dtype {code[:20]!r} is not one of plain numbers")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        """Set the byte order, the only part of the state that plain numbers use."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|"):
            raise ValueError("no byte order")
        self.dtype = self.dtype.newbyteorder(order)


class Ndarray(Stateful):
    """`numpy.ndarray`, which is empty until its state is set."""

    def __init__(self, *_: Any) -> None:
        self.array = np.zeros(0, np.float32)

    def set_state(self, state: Any) -> None:
        """Set the array from (version, shape, dtype, Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("the state of an array has five items")
        _, shape, dtype, fortran, raw = state
        self.array = _from_bytes(raw, dtype, shape, "F" if fortran else "C")


def _from_bytes(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if not isinstance(dtype, Dtype) or not isinstance(raw, memoryview):
        raise ValueError("not bytes of a known dtype")
    if not isinstance(order, str) or order not in ("C", "F"):
        raise ValueError("not a memory order")
    if count_elements(shape) * dtype.dtype.itemsize != len(raw):
        raise ValueError(f"a shape that does not fit its {len(raw)} bytes")
    return np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Ndarray:
    """Rebuild an array of protocol 5; order "K" is C order with transposed axes."""
    made = Ndarray()
    if axes is None:
        made.array = _from_bytes(raw, dtype, shape, order)
        return made
    array = _from_bytes(raw, dtype, shape)
    are_axes = isinstance(axes, tuple | list) and all(type(axis) is int for axis in axes)
    if not are_axes or len(axes) != array.ndim:
        raise ValueError("not an order of axes")
    made.array = array.transpose(axes)
    return made


def _scalar(dtype: Any, raw: Any) -> int | float | bool:
    return _from_bytes(raw, dtype, ()).item()


def count_elements(shape: Any) -> int:
    """Return the number of elements of a shape, a tuple of at most `MAX_DIMENSIONS` sizes."""
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
        raise ValueError("not a shape")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError("a shape of something other than sizes")
    if math.prod(max(side, 1) for side in shape) >= MAX_ELEMENTS:
        raise ValueError("a shape that is too large")
    return math.prod(shape)


def _no_instance(*_: Any) -> Any:
    raise TypeError("this name may only be an argument")


def _encode(text: Any, encoding: Any, budget: Budget) -> memoryview:
    """Rebuild a byte string of protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TypeError("not the text of a byte string")
    budget.copy(len(text))
    return memoryview(text.encode("latin-1"))


def _set(items: Any, budget: Budget) -> set[Any]:
    """Rebuild a set of protocols before 4."""
    if not isinstance(items, list | tuple):
        raise TypeError("not a list of items")
    budget.spend(len(items))
    return {plain_key(item) for item in items}


def empty_dict() -> dict[Any, Any]:
    """Return an empty dict, for any type of dict; later instructions fill it."""
    return {}


def numpy_constructors(budget: Budget) -> Constructors:
    """Return the constructors that pickles of plain values and arrays may use."""
    make_set = functools.partial(_set, budget=budget)
    return {
        ("collections", "OrderedDict"): empty_dict,
        ("builtins", "set"): make_set,
        ("__builtin__", "set"): make_set,
        ("__builtin__", "bytes"): lambda: memoryview(b""),  # an empty one of protocol 2
        ("_codecs", "encode"): functools.partial(_encode, budget=budget),
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
