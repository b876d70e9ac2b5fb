"""Pickles of data are read; pickles that call functions are refused, and nothing runs."""

import collections
import os
import pickle
import sys

import numpy as np
import pytest

from ganformer_jax.pickles.limits import Budget, PickleError
from ganformer_jax.pickles.numpy_pickles import Ndarray, numpy_constructors
from ganformer_jax.pickles.unpickle import unpickle


def read(data, **limit):
    budget = Budget(len(data), **limit)
    value, end = unpickle(memoryview(data), numpy_constructors(budget), budget)
    assert end == len(data)
    return value


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_is_read(protocol):
    value = {
        "text": "é\n\\ud800",
        "numbers": [0, 1, 255, 256, -1, 65535, 65536, 2**31, -(2**31), 2**70, 0.5, -1e300],
        "nested": ({"a": (), "b": (1,), "c": (1, 2), "d": (1, 2, 3), "e": (1, 2, 3, 4)}, [[]]),
        "constants": [None, True, False],
        3: {"x", "y"},
        "ordered": collections.OrderedDict(a=1, b=2),
    }
    value["shared"] = value["nested"]
    found = read(pickle.dumps(value, protocol))
    assert found == value
    assert found["shared"] is found["nested"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "|u1", "|b1", "<i8"])
def test_arrays_are_read(protocol, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    moved = array.transpose(1, 0, 2)  # neither in C nor in Fortran order
    for value in (array, np.asfortranarray(array), moved, array[:, 0, 0], array[0, 0, 0, None][:0]):
        found = read(pickle.dumps(value, protocol))
        assert isinstance(found, Ndarray)
        assert found.array.dtype == value.dtype
        np.testing.assert_array_equal(found.array, value)


def test_bytes_are_views_of_the_file():
    data = bytearray(pickle.dumps({"raw": b"x" * 1000}))
    found = read(data)["raw"]
    data[data.index(b"xxx")] = ord("y")
    assert found[0] == ord("y")


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def forbidden_call(name, tmp_path):
    """A call that would leave a file behind."""
    marker = tmp_path / "ran"
    return {
        "os.system": Call(os.system, f"touch {marker}"),
        "builtins.eval": Call(eval, f"open({str(marker)!r}, 'w')"),
        "builtins.open": Call(open, str(marker), "w"),
        "os.mkdir": Call(os.mkdir, str(marker)),
        "builtins.getattr": Call(getattr, "", "join"),
    }[name]


@pytest.mark.parametrize("protocol", [1, 2, 4])
@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "builtins.open", "os.mkdir", "builtins.getattr"]
)
def test_other_functions_are_named_in_the_error_and_not_called(name, protocol, tmp_path):
    data = pickle.dumps({"fine": [1], "not": forbidden_call(name, tmp_path)}, protocol)
    with pytest.raises(PickleError, match="not allowed") as error:
        read(data)
    assert f".{name.split('.')[1]}: not allowed" in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy.core.multiarray ", "scalar"),
        (" numpy", "dtype"),
        ("Numpy", "dtype"),
        ("numpy", "dtype.type"),
        ("numpy", "ndarray.tofile"),
        ("numpy.dtype", "numpy"),
        ("collections.OrderedDict", "__init__"),
        ("collections", "OrderedDict.update"),
        ("collections", "OrderedDict\u200b"),
        ("collections", "\u041erderedDict"),  # a Cyrillic O
        ("", "numpy.dtype"),
        ("builtins", "set.__class__"),
        ("ganformer_jax.pickles.unpickle", "Global"),
    ],
)
def test_names_similar_to_allowed_ones_are_refused(module, name):
    data = b"\x80\x04"
    for text in (module, name):
        raw = text.encode()
        data += b"\x8c" + bytes([len(raw)]) + raw
    with pytest.raises(PickleError, match="not allowed"):
        read(data + b"\x93)R.")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut short"),
        (b"\x80\x04", "cut short"),
        (b"\x80\x04\x95" + b"\xff" * 8, "cut short"),
        (b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.", "cut short"),
        (b"\x80\x04\x8d" + b"\xff" * 8 + b"x.", "cut short"),
        (b"\x80\x02T" + b"\xff" * 4 + b"x.", "cut short"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "cut short"),
        (b"\x80\x02\x8a\xff" + b"\x01" * 255 + b".", "integer of 255 bytes"),
        (b"\x80\x02I" + b"9" * 100 + b"\n.", "integer of 100 digits"),
        (b"\x80\x02Ix\n.", "damaged"),
        (b"\x80\x09.", "protocol 9"),
        (b"\x80\x02.", "damaged"),
        (b"\x80\x02e.", "damaged"),
        (b"\x80\x02K\x01a.", "damaged"),
        (b"\x80\x02K\x01K\x02a.", "not a list"),
        (b"\x80\x02}(K\x01u.", "a key without a value"),
        (b"\x80\x02j\xff\xff\xff\xff.", "damaged"),
        (b"\x80\x02}]N s.", "not allowed"),
        (b"\x80\x02}]Ns.", "element of type list"),
        (b"\x80\x02})Ns.", "element of type tuple"),
        (b"\x80\x02K\x01K\x02R.", "other than an allowed name"),
        (b"\x80\x02ccollections\nOrderedDict\n}b.", "not a Stateful"),
        (b"\x80\x02]}b.", "not a Stateful"),
        (b"\x80\x02U\x01x0U\x01xQ.", "outside of it"),
        (b"\x80\x02X\x01\x00\x00\x00\xff.", "damaged"),
        (b"(ios\nsystem\n.", "instruction 0x69 is not allowed"),
        (b"(cos\nsystem\no.", "os.system: not allowed"),
        (b"Pid\n.", "instruction 0x50 is not allowed"),
        (b"\x80\x02\x82\x01.", "instruction 0x82 is not allowed"),
    ],
)
def test_damaged_pickles_raise_one_line(data, message):
    with pytest.raises(PickleError, match=message) as error:
        read(data)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02" + b"(" * 200 + b".", "more work"),
        (b"\x80\x02" + b"]" * 200 + b"a" * 199 + b".", "more work"),
    ],
)
def test_the_number_of_instructions_is_limited(data, message):
    with pytest.raises(PickleError, match=message):
        read(data, instructions=100)


def test_copies_are_limited():
    """A pickle may convert the same text to bytes, which copies it, many times."""
    text = b"X" + (64_000).to_bytes(4, "little") + b"x" * 64_000
    encode = b"c_codecs\nencode\nq\x00" + text + b"q\x01X\x06\0\0\0latin1\x86q\x02R"
    assert len(read(b"\x80\x02]" + encode + b"a.")[0]) == 64_000
    again = b"\x80\x02](" + encode + b"h\x00h\x02R" * 100 + b"e."
    with pytest.raises(PickleError, match="more work"):
        read(again, instructions=5000)


def test_deep_nesting_is_read_without_recursion():
    depth = 20 * sys.getrecursionlimit()
    found = read(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")
    for _ in range(depth - 1):
        (found,) = found
    assert found == []


def test_shapes_that_do_not_fit_the_bytes_are_refused():
    data = pickle.dumps(np.zeros((2, 3), np.float32), 4)
    for wrong in ((2, 4), (2**40, 2**40), (6, 1)):
        shape = pickle.dumps(wrong, 4)[2:-1]
        shape = shape[9:] if shape[:1] == b"\x95" else shape
        broken = data.replace(b"K\x02K\x03\x86\x94", shape, 1)
        if wrong == (6, 1):
            assert read(broken).array.shape == wrong
            continue
        with pytest.raises(PickleError, match="wrong state of Ndarray"):
            read(broken)
    objects = pickle.dumps(np.array([None, 1], object), 4)
    with pytest.raises(PickleError, match="not one of plain numbers"):
        read(objects)
