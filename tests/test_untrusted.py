"""Hostile snapshots are refused quickly, in one line."""

import dataclasses
import io
import pickle
import time

import numpy as np
import pytest
from reference import DATA

from ganformer_jax.convert.snapshot import Network, read_snapshot
from ganformer_jax.errors import UserError

SNAPSHOTS = {
    "pytorch": DATA / "official-snapshot.pkl",
    "tensorflow": DATA / "official-tf-snapshot.pkl",
}
SOON = 20  # seconds of processor time, on a busy machine


class Named:
    """Pickles as a reference to a function."""

    def __init__(self, module, name):
        self.line = f"{module}\n{name}\n".encode()

    def __call__(self, *_):
        raise AssertionError("called")


class Pickler(pickle._Pickler):
    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Named):
            self.write(b"c" + obj.line)
        else:
            super().save(obj, save_persistent_id)


class Call:
    """Pickles as a call of a function."""

    def __init__(self, module, name, *arguments):
        self.reduced = Named(module, name), arguments

    def __reduce__(self):
        return self.reduced


def module(**state):
    """A persistent module with these attributes."""
    meta = {"type": "class", "module_src": "", "class_name": "Generator", "state": state}
    return Call("torch_utils.persistence", "_reconstruct_persistent_obj", meta)


@pytest.fixture
def refused(tmp_path):
    """A function that reads what an object pickles to and returns why it was refused."""

    def read(value):
        path, buffer = tmp_path / "snapshot.pkl", io.BytesIO()
        Pickler(buffer, 4).dump(value)
        path.write_bytes(buffer.getvalue())
        began = time.process_time()
        with pytest.raises(UserError) as error:
            read_snapshot(path)
        assert time.process_time() - began < SOON
        said = str(error.value).removeprefix(str(path))
        assert "\n" not in said and len(said) < 1000 and said.isascii()
        return said

    return read


def with_generator(**state):
    state = {"_init_kwargs": {}, **state}
    networks = {name: module(_init_kwargs={}) for name in ("D", "Gs")}
    return {"G": module(**state), **networks}


def test_modules_that_share_modules(refused):
    inner = module()
    for _ in range(30):  # two to the thirtieth names
        inner = module(_modules={"a": inner, "b": inner})
    assert "more work" in refused(with_generator(_modules={"a": inner}))


def test_modules_nested_deep(refused):
    inner = module()
    for _ in range(40):
        inner = module(_modules={"a": inner})
    assert "nested" in refused(with_generator(_modules={"a": inner}))


def test_a_module_inside_itself(refused):
    modules = {}
    modules["a"] = module(_modules=modules)
    assert "nested" in refused(with_generator(_modules=modules))


def test_lists_that_share_lists(refused):
    shared = [0] * 30
    for _ in range(3):
        shared = [shared] * 30
    assert "more work" in refused(with_generator(_init_kwargs={"x": shared}))


def nested_tuple(depth=40):
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


def test_tuples_that_are_slow_to_hash_or_print_are_refused(refused):
    bomb = nested_tuple()
    easy = Call("dnnlib.util", "EasyDict", [(bomb, 1)])
    assert "wrong values for dnnlib.util.EasyDict" in refused([easy])
    shape = Call("torch._utils", "_rebuild_tensor_v2", None, 0, bomb, bomb)
    assert "wrong values" in refused([shape])
    array = np.zeros(2, np.float32)
    for arguments in ((bomb, "C"), ((2,), bomb), ((2,), "K", bomb)):
        raw = [array.tobytes(), np.dtype(np.float32), *arguments]
        made = Call("numpy._core.numeric", "_frombuffer", *raw)
        assert "wrong values" in refused([made])
    assert "wrong values" in refused([Call("torch", "Size", bomb)])
    assert "element of type tuple" in refused([Call("builtins", "set", [bomb])])


def test_malformed_arguments_and_names_are_refused(refused):
    def said(**state):
        return refused(with_generator(**state))

    assert "no arguments" in said(_init_kwargs=None)
    assert "not plain" in said(_init_kwargs={"x": {1, 2}})
    assert "too large" in said(_init_kwargs={"x": 2**20})
    assert "too large" in said(_init_kwargs={"x": "y" * 5000})
    assert "not text" in said(_init_kwargs={1: 2})
    assert "not printable: a??b" in said(_init_kwargs={"a\n\ud800b": 2})
    assert "too long" in said(_parameters={"x" * 1000: None})
    assert "not printable: ?[0m" in said(_modules={"\x1b[0m": None})
    assert "are not a set" in said(_non_persistent_buffers_set=5)
    assert "not a dict of names" in said(_modules=[1])
    assert ": x is not a module" in said(_modules={"x": 5})
    assert "x is not a tensor" in said(_buffers={"x": 5})
    assert "not a dict of names" in said(_init_args=(), _parameters=3)
    assert "constructor arguments without names" in said(_init_args=(1,))


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"])
@pytest.mark.parametrize(
    "values",
    [
        {"resolution": "("},
        {"resolution": "(x+x+)+y"},
        {"resolution": True},
        {"resolution": 2**17},
        {"resolution": 4},
        {"k": 2**17},
        {"k": -3},
        {"z": 2**17},
        {"w": 2**15},
        {"w": [8] * 30},
        {"pos_dim": 2**17},
        {"pos_directions_num": 2**17},
        {"pos_directions_num": 0},
        {"pos_type": "linear", "pos_directions_num": 2**10},
        {"layers": 2**17},
        {"kmeans_iters": 2**17},
        {"num_heads": 2**17},
        {"num_heads": 0},
        {"channels": 2**17},
        {"classes": 2**17},
        {"classes": -1},
        {"start_res": -3.5},
        {"start_res": "x"},
        {"end_res": 2**17},
        {"resample_kernel": []},
        {"resample_kernel": [0, 0]},
        {"resample_kernel": "1331"},
        {"norm": [1]},
        {"integration": 5},
        {"attention_dropout": "x"},
        {"component_dropout": "x"},
        {"architecture": ["resnet"]},
        {"surprise": 1},
    ],
    ids=str,
)
def test_impossible_arguments_are_refused(framework, values):
    """The weights are those of a real snapshot; one argument is changed."""
    spelled = {
        "pytorch": {"resolution": "img_resolution", "k": "k", "z": "z_dim", "w": "w_dim"}
        | {"layers": "num_layers", "channels": "img_channels", "classes": "c_dim"},
        "tensorflow": {"k": "components_num", "z": "latent_size", "w": "dlatent_size"}
        | {"layers": "mapping_layersnum", "channels": "num_channels", "classes": "label_size"},
    }[framework]
    snapshot = read_snapshot(SNAPSHOTS[framework])
    network = snapshot.networks["average"]
    arguments = dict(network.arguments)
    synthesis = dict(arguments.get("synthesis_kwargs", {}))
    mapping = dict(arguments.get("mapping_kwargs", {}))
    for name, value in values.items():
        name = str(spelled.get(name, name))
        place = next((part for part in (synthesis, mapping) if name in part), arguments)
        if framework == "pytorch" and name.startswith(("pos_", "resample", "attention")):
            place = synthesis
        place[name] = value
    if framework == "pytorch":
        arguments |= {"synthesis_kwargs": synthesis, "mapping_kwargs": mapping}
    changed = dataclasses.replace(
        snapshot, networks={"average": Network(arguments, network.arrays)}
    )
    began = time.process_time()
    with pytest.raises(UserError) as error:
        changed.generator()
    assert time.process_time() - began < SOON
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["synthesis/noise99999999999", "synthesis/pos_emb9999999999/emb"])
def test_large_numbers_in_names_are_refused(name):
    snapshot = read_snapshot(SNAPSHOTS["tensorflow"])
    network = snapshot.networks["average"]
    arrays = network.arrays | {name: np.zeros(1, np.float32)}
    changed = dataclasses.replace(
        snapshot, networks={"average": Network(network.arguments, arrays)}
    )
    with pytest.raises(UserError, match=name):
        changed.generator()


def test_single_numbers_may_be_scalars():
    """TensorFlow returns variables without axes as NumPy's scalars, and pickles them so."""
    from ganformer_jax.convert.snapshot import _variable

    assert _variable(0.5, "strength").shape == ()
    with pytest.raises(UserError, match="strength is not an array"):
        _variable("0.5", "strength")
