"""Training snapshots of the published code, PyTorch and TensorFlow, read without either.

A PyTorch snapshot is a dict of the networks `G`, `D` and `Gs` (the averaged generator) as nested
modules, each with the source text of its class, which is passed over. A TensorFlow snapshot is the
tuple (G, D, Gs) of networks with their arguments, variables and components. The content decides
which of the two a file is.
"""

from __future__ import annotations

import dataclasses
import mmap
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from ganformer_jax.convert.numpy_pickles import Ndarray, empty_dict, numpy_names
from ganformer_jax.convert.pickle_machine import (
    Budget,
    Built,
    Constructors,
    PickleError,
    plain_key,
)
from ganformer_jax.convert.pytorch import load_discriminator, load_generator
from ganformer_jax.convert.tensorflow import load_tf_discriminator, load_tf_generator
from ganformer_jax.convert.torch_pickles import Tensor, torch_names
from ganformer_jax.convert.unpickle import unpickle
from ganformer_jax.convert.untrusted import MAX_INTEGER, MAX_TEXT, named, once, plain_arguments
from ganformer_jax.errors import UserError
from ganformer_jax.models import Discriminator, Generator

T = TypeVar("T")

PYTORCH, TENSORFLOW = "PyTorch", "TensorFlow"
ROLES = ("generator", "discriminator", "average")
MAX_DEPTH = 32


@dataclasses.dataclass(frozen=True)
class Network:
    """One network of a snapshot.

    Attributes:
        arguments: Of its constructor, plain values.
        arrays: Parameters and buffers by their published names.
    """

    arguments: dict[str, Any]
    arrays: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What is inside a file.

    Attributes:
        framework: "PyTorch" or "TensorFlow".
        networks: By role: "generator", "discriminator" and "average".
        dataset: Arguments of the dataset that it was trained on, where the file has them.
    """

    framework: str
    networks: dict[str, Network]
    dataset: dict[str, Any]

    def generator(self, role: str = "average") -> tuple[Generator, dict[str, Any]]:
        """One of the two generators as a module of ours and its variables.

        Raises:
            UserError: Names, shapes or arguments that have no counterpart.
        """
        network = self.networks[role]
        if self.framework == PYTORCH:
            return _convert(load_generator, network)
        generator, variables = _convert(load_tf_generator, network)
        # The published reader of such snapshots scales the components' z together; the
        # TensorFlow functions scale one by one (docs/published-code.md).
        mapping = dataclasses.replace(generator.config.mapping, normalize="joint")
        config = dataclasses.replace(generator.config, mapping=mapping)
        return Generator(config), variables

    def discriminator(self) -> tuple[Discriminator, dict[str, Any]]:
        """The discriminator as a module of ours and its variables; raises like `generator`."""
        load = load_discriminator if self.framework == PYTORCH else load_tf_discriminator
        return _convert(load, self.networks["discriminator"])


def _convert(load: Callable[..., T], network: Network) -> T:
    """Runs one of the readers on arguments that nobody vouches for."""
    side = network.arguments.get("img_resolution", network.arguments.get("resolution"))
    names = " ".join(network.arrays)
    if type(side) is not int or not re.search(rf"\bb{side}\.|\b{side}x{side}/", names):
        raise PickleError("there are no arrays for the resolution that its arguments say")
    try:
        return load(network.arrays, network.arguments)
    except UserError:
        raise
    except Exception as error:  # whatever strange arguments run into
        reason = " ".join(str(error).split())[:MAX_TEXT]
        raise PickleError(f"arguments that make no network: {reason}") from error


class Module(Built):
    """A module of PyTorch, a persistent object, or a network of TensorFlow: only its state."""

    def __init__(self, *arguments: Any) -> None:
        if arguments:
            raise TypeError("a module that is constructed with arguments")
        self.state: dict[str, Any] = {}

    def build(self, state: Any) -> None:
        """Takes the attributes by name."""
        if not isinstance(state, dict):
            raise TypeError("a module whose state is no dict")
        self.state = state


def read_snapshot(path: str | pathlib.Path) -> Snapshot:
    """Reads a training snapshot of the published code.

    Nothing that the file names is imported and none of its text is run. Arrays are views of the
    mapped file where that is possible.

    Args:
        path: A file.

    Raises:
        UserError: When the file cannot be read, is no such snapshot, or holds anything else.
    """
    try:
        with pathlib.Path(path).open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # mmap of nothing
        raise UserError(f"{path} is empty") from error
    try:
        return _parse(data)
    except UserError as error:
        raise UserError(f"{path} is not a snapshot that can be read: {error}") from error


def _parse(data: memoryview) -> Snapshot:
    if bytes(data[:4]) == b"PK\x03\x04":
        raise PickleError("it is a zip archive, as torch.save writes since 1.6, not a pickle")
    if data[0] not in b"\x80(}":
        raise PickleError("it does not begin like a pickle")
    budget = Budget(len(data))
    found, end = unpickle(data, _tables(budget), budget)
    if end != len(data):
        raise PickleError(f"{len(data) - end} bytes follow its end")
    if isinstance(found, dict):
        return _pytorch(found, budget)
    if isinstance(found, tuple) and len(found) == 3:
        return _tensorflow(found, budget)
    raise PickleError("it holds neither a dict of networks nor a tuple of three")


def _tables(budget: Budget) -> Constructors:
    return {
        **numpy_names(budget),
        **torch_names(budget),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
        ("torch.nn.modules.dropout", "Dropout"): Module,
        ("dnnlib.util", "EasyDict"): empty_dict,
        ("dnnlib.tflib.network", "Network"): Module,
    }


def _persistent(meta: Any) -> Module:
    """A persistent object of NVIDIA's code: its attributes, without the source of its class."""
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise TypeError("a persistent object that is no class")
    made = Module()
    made.build(meta.get("state"))
    return made


# PyTorch


def _pytorch(found: dict[Any, Any], budget: Budget) -> Snapshot:
    names = {"generator": "G", "discriminator": "D", "average": "Gs" if "Gs" in found else "G_ema"}
    missing = [name for name in names.values() if not isinstance(found.get(name), Module)]
    if missing:
        raise PickleError(f"it has no network {' and no '.join(missing)}")
    networks = {}
    for role, name in names.items():
        state = found[name].state
        if state.get("_init_args"):
            raise PickleError(f"{name} was constructed with arguments that have no names")
        arguments = plain_arguments(state.get("_init_kwargs"), name, budget, MAX_INTEGER)
        networks[role] = Network(arguments, once(_arrays(found[name], "", 0, budget), budget))
    dataset = found.get("dataset_args") or found.get("training_set_kwargs") or {}
    return Snapshot(PYTORCH, networks, plain_arguments(dataset, "the dataset", budget))


def _arrays(
    module: Module, prefix: str, depth: int, budget: Budget
) -> Iterator[tuple[str, np.ndarray]]:
    """Parameters and persistent buffers of a module and those inside it, with their names."""
    _check_depth(depth)
    transient = module.state.get("_non_persistent_buffers_set", set())
    if not isinstance(transient, set):
        raise PickleError("buffers to leave out that are no set of names")
    for kind in ("_parameters", "_buffers"):
        for name, tensor in named(module.state.get(kind, {}), prefix, budget):
            if isinstance(tensor, Tensor) and name not in transient:
                yield prefix + name, tensor.array
            elif tensor is not None and name not in transient:
                raise PickleError(f"{prefix}{name} is no tensor")
    for name, inner in named(module.state.get("_modules", {}), prefix, budget):
        if isinstance(inner, Module):
            yield from _arrays(inner, f"{prefix}{name}.", depth + 1, budget)
        elif inner is not None:
            raise PickleError(f"{prefix}{name} is no module")


# TensorFlow


def _tensorflow(found: tuple[Any, ...], budget: Budget) -> Snapshot:
    networks = {}
    for role, network in zip(ROLES, found, strict=True):
        if not isinstance(network, Module):
            raise PickleError(f"where the {role} should be, there is no network")
        values = network.state.get("static_kwargs")
        arguments = plain_arguments(values, f"the {role}", budget, MAX_INTEGER)
        networks[role] = Network(arguments, once(_variables(network, "", 0, budget), budget))
    return Snapshot(TENSORFLOW, networks, {})


def _variables(
    network: Module, prefix: str, depth: int, budget: Budget
) -> Iterator[tuple[str, np.ndarray]]:
    """Variables of a network and its components, with their names."""
    _check_depth(depth)
    variables = network.state.get("variables")
    if not isinstance(variables, list):
        raise PickleError("a network without a list of variables")
    for pair in variables:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise PickleError("a variable that is no pair of a name and a value")
        for name, value in named({plain_key(pair[0]): pair[1]}, prefix, budget):
            yield prefix + name, _variable(value, prefix + name)
    for name, inner in named(network.state.get("components") or {}, prefix, budget):
        if not isinstance(inner, Module):
            raise PickleError(f"{prefix}{name} is no network")
        yield from _variables(inner, f"{prefix}{name}/", depth + 1, budget)


def _variable(value: Any, name: str) -> np.ndarray:
    if isinstance(value, Ndarray):
        return value.array
    if isinstance(value, int | float):  # TensorFlow gives NumPy's scalars for single numbers
        return np.asarray(value, np.float32)
    raise PickleError(f"{name} is no array")


# What both have


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise PickleError(f"networks nested more than {MAX_DEPTH} deep")
