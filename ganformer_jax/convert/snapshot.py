"""Training snapshots of the published PyTorch and TensorFlow code, read without either framework.

A PyTorch snapshot, of GANformer or of NVIDIA, is a dict of the networks `G`, `D` and `Gs` or
`G_ema` (the averaged generator) as nested modules, each with the source text of its class, which is
ignored. A TensorFlow snapshot is a tuple (G, D, Gs) of networks with their arguments, variables and
components. The kind is recognized by the contents.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from ganformer_jax.convert.nvidia import (
    is_nvidia,
    load_nvidia_discriminator,
    load_nvidia_generator,
    refuse_alias_free,
)
from ganformer_jax.convert.program_file import refuse_programs
from ganformer_jax.convert.pytorch import load_discriminator, load_generator
from ganformer_jax.convert.rules import PYTORCH, TENSORFLOW
from ganformer_jax.convert.tensorflow import load_tf_discriminator, load_tf_generator
from ganformer_jax.convert.torch_pickles import Tensor, torch_constructors
from ganformer_jax.errors import UserError, one_line
from ganformer_jax.files import map_file
from ganformer_jax.models import Discriminator, Generator
from ganformer_jax.pickles.limits import (
    MAX_INTEGER,
    MAX_TEXT,
    Budget,
    PickleError,
    named_items,
    plain_arguments,
    plain_key,
    unique_arrays,
)
from ganformer_jax.pickles.numpy_pickles import Ndarray, empty_dict, numpy_constructors
from ganformer_jax.pickles.unpickle import Stateful, unpickle

T = TypeVar("T")

ROLES = ("generator", "discriminator", "average")
DATASET_NAMES = ("dataset_args", "training_set_kwargs")
MAX_DEPTH = 32


@dataclasses.dataclass(frozen=True)
class Network:
    """Constructor arguments of a network, plain values, and its arrays by published name."""

    arguments: dict[str, Any]
    arrays: dict[str, np.ndarray]
    version: str | None = None  # "stylegan2-ada" or "stylegan3" for NVIDIA's networks


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Networks of a training snapshot by role: "generator", "discriminator" and "average"."""

    framework: str  # "PyTorch" or "TensorFlow"
    networks: dict[str, Network]  # "average" is always present
    dataset: dict[str, Any]  # arguments of the training dataset, if the file contains them
    ignored: tuple[str, ...] = ()  # names of other contents of the file

    def generator(self, role: str = "average") -> tuple[Generator, dict[str, Any]]:
        """Return our module and its variables for the role "average" or "generator"."""
        network = self.networks[role]
        if network.version:
            load = functools.partial(load_nvidia_generator, version=network.version)
            return _convert(load, network)
        if self.framework == PYTORCH:
            return _convert(load_generator, network)
        generator, variables = _convert(load_tf_generator, network)
        # The published reader of such snapshots normalizes the z of all components together; the
        # TensorFlow functions normalize each by itself (docs/published-code.md).
        mapping = dataclasses.replace(generator.config.mapping, normalize="joint")
        config = dataclasses.replace(generator.config, mapping=mapping)
        return Generator(config), variables

    def discriminator(self) -> tuple[Discriminator, dict[str, Any]]:
        """Return our module and its variables for the discriminator."""
        network = self.networks["discriminator"]
        if network.version:
            load = functools.partial(load_nvidia_discriminator, version=network.version)
            return _convert(load, network)
        load = load_discriminator if self.framework == PYTORCH else load_tf_discriminator
        return _convert(load, network)


def _convert(load: Callable[..., T], network: Network) -> T:
    """Convert a network with untrusted arguments."""
    side = network.arguments.get("img_resolution", network.arguments.get("resolution"))
    names = " ".join(network.arrays)
    if type(side) is not int or not re.search(rf"\bb{side}\.|\b{side}x{side}/", names):
        raise PickleError("there are no arrays for the resolution in its arguments")
    try:
        return load(network.arrays, network.arguments)
    except UserError:
        raise
    except Exception as error:  # wrong types of arguments can raise any
        reason = one_line(error, MAX_TEXT)
        raise PickleError(f"no network can have these arguments: {reason}") from error


class Module(Stateful):
    """The state of a PyTorch module, a persistent object or a TensorFlow network."""

    def __init__(self, *arguments: Any) -> None:
        if arguments:
            raise TypeError("a module that is constructed with arguments")
        self.state: dict[str, Any] = {}

    def set_state(self, state: Any) -> None:
        """Set the attributes, a dict by name."""
        if not isinstance(state, dict):
            raise TypeError("a module whose state is not a dict")
        self.state = state


def read_snapshot(path: str | pathlib.Path) -> Snapshot:
    """Read a training snapshot of the published code.

    Nothing that the file names is imported, and no source text in it is executed. Arrays are views
    of the memory-mapped file if possible.

    Raises:
        UserError: If the file cannot be read or is not such a snapshot.
    """
    refuse_programs(path)
    data = map_file(path)
    try:
        return _parse(data)
    except UserError as error:
        raise UserError(f"{path} is not a snapshot that can be read: {error}") from error


def _parse(data: memoryview) -> Snapshot:
    if bytes(data[:4]) == b"PK\x03\x04":
        raise PickleError(
            "it is a zip archive, as torch.save writes since PyTorch 1.6, not a pickle"
        )
    if data[0] not in b"\x80(}":
        raise PickleError("it does not start like a pickle")
    budget = Budget(len(data))
    constructors = {
        **numpy_constructors(budget),
        **torch_constructors(budget),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
        ("torch.nn.modules.dropout", "Dropout"): Module,
        ("dnnlib.util", "EasyDict"): empty_dict,
        ("dnnlib.tflib.network", "Network"): Module,
    }
    value, end = unpickle(data, constructors, budget)
    if end != len(data):
        raise PickleError(f"{len(data) - end} bytes follow its end")
    if isinstance(value, dict):
        return _pytorch(value, budget)
    if isinstance(value, tuple) and len(value) == 3:
        return _tensorflow(value, budget)
    raise PickleError("it contains neither a dict of networks nor a tuple of three")


def _persistent(meta: Any) -> Module:
    """Rebuild a persistent object of NVIDIA's code; the source of its class is ignored."""
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise TypeError("a persistent object that is not of a class")
    module = Module()
    module.set_state(meta.get("state"))
    return module


# PyTorch


def _pytorch(networks_by_name: dict[Any, Any], budget: Budget) -> Snapshot:
    average = "Gs" if "Gs" in networks_by_name else "G_ema"
    names = ("G", "D", average)
    missing = [name for name in names if not isinstance(networks_by_name.get(name), Module)]
    absent = [name for name in missing if networks_by_name.get(name) is None]
    if average in missing or average == "Gs" and missing or absent != missing:
        raise PickleError(f"it has no network {' and no '.join(missing)}")
    networks = {
        role: _network(networks_by_name[name], name, budget)
        for role, name in zip(ROLES, names, strict=True)
        if name not in missing
    }
    dataset = next((networks_by_name[n] for n in DATASET_NAMES if networks_by_name.get(n)), {})
    items = named_items(networks_by_name, "", budget)
    known = (*names, *DATASET_NAMES)
    ignored = tuple(name for name, value in items if name not in known and value is not None)
    return Snapshot(PYTORCH, networks, plain_arguments(dataset, "the dataset", budget), ignored)


def _network(module: Module, name: str, budget: Budget) -> Network:
    if module.state.get("_init_args"):
        raise PickleError(f"{name} has constructor arguments without names")
    arguments = plain_arguments(module.state.get("_init_kwargs"), name, budget, MAX_INTEGER)
    arrays = unique_arrays(_arrays(module, "", 0, budget), budget)
    refuse_alias_free(arrays)
    version = None
    if is_nvidia(arrays):
        # Only stylegan3 stores the widths of dense layers as attributes.
        layer = _inner(module, "mapping", "fc0") or _inner(module, "b4", "fc")
        version = "stylegan3" if layer and "in_features" in layer.state else "stylegan2-ada"
    return Network(arguments, arrays, version)


def _inner(module: Module, *names: str) -> Module | None:
    """Return the submodule at a path of names; None if there is none."""
    inner: Any = module
    for name in names:
        modules = inner.state.get("_modules")
        inner = modules.get(name) if isinstance(modules, dict) else None
        if not isinstance(inner, Module):
            return None
    return inner


def _arrays(
    module: Module, prefix: str, depth: int, budget: Budget
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names, parameters and persistent buffers of a module and its submodules."""
    _check_depth(depth)
    transient = module.state.get("_non_persistent_buffers_set", set())
    if not isinstance(transient, set):
        raise PickleError("the names of buffers that are not persistent are not a set")
    for kind in ("_parameters", "_buffers"):
        for name, tensor in named_items(module.state.get(kind, {}), prefix, budget):
            if isinstance(tensor, Tensor) and name not in transient:
                yield prefix + name, tensor.array
            elif tensor is not None and name not in transient:
                raise PickleError(f"{prefix}{name} is not a tensor")
    for name, inner in named_items(module.state.get("_modules", {}), prefix, budget):
        if isinstance(inner, Module):
            yield from _arrays(inner, f"{prefix}{name}.", depth + 1, budget)
        elif inner is not None:
            raise PickleError(f"{prefix}{name} is not a module")


# TensorFlow


def _tensorflow(modules: tuple[Any, ...], budget: Budget) -> Snapshot:
    networks = {}
    for role, module in zip(ROLES, modules, strict=True):
        if not isinstance(module, Module):
            raise PickleError(f"the {role} is not a network")
        values = module.state.get("static_kwargs")
        arguments = plain_arguments(values, f"the {role}", budget, MAX_INTEGER)
        arrays = unique_arrays(_variables(module, "", 0, budget), budget)
        networks[role] = Network(arguments, arrays)
    return Snapshot(TENSORFLOW, networks, {})


def _variables(
    module: Module, prefix: str, depth: int, budget: Budget
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield variables of a network and its components, with names."""
    _check_depth(depth)
    variables = module.state.get("variables")
    if not isinstance(variables, list):
        raise PickleError("a network without a list of variables")
    for pair in variables:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise PickleError("a variable that is not a pair of a name and a value")
        for name, value in named_items({plain_key(pair[0]): pair[1]}, prefix, budget):
            yield prefix + name, _variable(value, prefix + name)
    for name, inner in named_items(module.state.get("components") or {}, prefix, budget):
        if not isinstance(inner, Module):
            raise PickleError(f"{prefix}{name} is not a network")
        yield from _variables(inner, f"{prefix}{name}/", depth + 1, budget)


def _variable(value: Any, name: str) -> np.ndarray:
    if isinstance(value, Ndarray):
        return value.array
    if isinstance(value, int | float):  # single numbers are stored as NumPy scalars
        return np.asarray(value, np.float32)
    raise PickleError(f"{name} is not an array")


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise PickleError(f"networks nested more than {MAX_DEPTH} deep")
