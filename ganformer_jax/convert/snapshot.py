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
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from ganformer_jax.convert.foreign_arrays import Ndarray, Tensor, tables
from ganformer_jax.convert.pickle_machine import Budget, Built, Constructors, PickleError
from ganformer_jax.convert.pytorch import load_discriminator, load_generator
from ganformer_jax.convert.tensorflow import load_tf_discriminator, load_tf_generator
from ganformer_jax.convert.unpickle import unpickle
from ganformer_jax.errors import UserError
from ganformer_jax.models import Discriminator, Generator

T = TypeVar("T")

PYTORCH, TENSORFLOW = "PyTorch", "TensorFlow"
ROLES = ("generator", "discriminator", "average")
MAX_DEPTH = 32
# What an integer among the arguments may be at most, by a word in its name; more could make a
# file of a few bytes ask for gigabytes.
LIMITS = {"layers": 128, "iters": 128, "heads": 128, "_dim": 8192, "latent_size": 8192, "": 1 << 20}


@dataclasses.dataclass(frozen=True)
class Network:
    """One network of a snapshot.

    Attributes:
        arguments: of its constructor, plain values.
        arrays: parameters and buffers by their published names.
    """

    arguments: dict[str, Any]
    arrays: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What is inside a file.

    Attributes:
        framework: "PyTorch" or "TensorFlow".
        networks: by role: "generator", "discriminator" and "average".
        dataset: arguments of the dataset that it was trained on, where the file has them.
    """

    framework: str
    networks: dict[str, Network]
    dataset: dict[str, Any]

    def generator(self, role: str = "average") -> tuple[Generator, dict[str, Any]]:
        """One of the two generators as a module of ours and its variables.

        Raises:
            ConversionError: names, shapes or arguments that have no counterpart.
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
    if not any(re.search(rf"(\b|b){side}\b|\b{side}x{side}\b", name) for name in network.arrays):
        raise PickleError(f"the arguments say resolution {side}, but no array is of that size")
    try:
        return load(network.arrays, network.arguments)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise PickleError(f"arguments that make no network: {error}") from error


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
        path: a file.

    Raises:
        UserError: when the file cannot be read, is no such snapshot, or holds anything else.
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
        return _pytorch(found)
    if isinstance(found, tuple) and len(found) == 3:
        return _tensorflow(found)
    raise PickleError("it holds neither a dict of networks nor a tuple of three")


def _tables(budget: Budget) -> Constructors:
    return {
        **tables(budget),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
        ("torch.nn.modules.dropout", "Dropout"): Module,
        ("dnnlib.util", "EasyDict"): dict,
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


def _pytorch(found: dict[Any, Any]) -> Snapshot:
    names = {"generator": "G", "discriminator": "D", "average": "Gs" if "Gs" in found else "G_ema"}
    missing = [name for name in names.values() if not isinstance(found.get(name), Module)]
    if missing:
        raise PickleError(f"it has no network {' and no '.join(missing)}")
    networks = {}
    for role, name in names.items():
        state = found[name].state
        if state.get("_init_args"):
            raise PickleError(f"{name} was constructed with arguments that have no names")
        arrays = _once(_arrays(found[name], "", 0))
        networks[role] = Network(_arguments(state.get("_init_kwargs"), name), arrays)
    dataset = found.get("dataset_args") or found.get("training_set_kwargs") or {}
    return Snapshot(PYTORCH, networks, _arguments(dataset, "the dataset"))


def _arrays(module: Module, prefix: str, depth: int) -> Iterator[tuple[str, np.ndarray]]:
    """Parameters and persistent buffers of a module and those inside it, with their names."""
    if depth > MAX_DEPTH:
        raise PickleError(f"modules nested more than {MAX_DEPTH} deep")
    transient = module.state.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _named(module, kind):
            if tensor is None or name in transient:
                continue
            if not isinstance(tensor, Tensor):
                raise PickleError(f"{prefix}{name} is no tensor")
            yield prefix + name, tensor.array
    for name, inner in _named(module, "_modules"):
        if isinstance(inner, Module):
            yield from _arrays(inner, f"{prefix}{name}.", depth + 1)
        elif inner is not None:
            raise PickleError(f"{prefix}{name} is no module")


def _named(module: Module, kind: str) -> Iterator[tuple[str, Any]]:
    held = module.state.get(kind, {})
    if not isinstance(held, dict) or not all(isinstance(name, str) for name in held):
        raise PickleError(f"a module whose {kind} have no names")
    yield from held.items()


# TensorFlow


def _tensorflow(found: tuple[Any, ...]) -> Snapshot:
    networks = {}
    for role, network in zip(ROLES, found, strict=True):
        if not isinstance(network, Module):
            raise PickleError(f"where the {role} should be, there is no network")
        arguments = _arguments(network.state.get("static_kwargs"), f"the {role}")
        networks[role] = Network(arguments, _once(_variables(network, "", 0)))
    return Snapshot(TENSORFLOW, networks, {})


def _variables(network: Module, prefix: str, depth: int) -> Iterator[tuple[str, np.ndarray]]:
    """Variables of a network and its components, with their names."""
    if depth > MAX_DEPTH:
        raise PickleError(f"networks nested more than {MAX_DEPTH} deep")
    variables = network.state.get("variables")
    if not isinstance(variables, list):
        raise PickleError("a network without a list of variables")
    for pair in variables:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise PickleError("a variable without a name")
        if not isinstance(pair[1], Ndarray):
            raise PickleError(f"{prefix}{pair[0]} is no array")
        yield prefix + pair[0], pair[1].array
    components = network.state.get("components") or {}
    if not isinstance(components, dict):
        raise PickleError("a network whose components have no names")
    for name, inner in components.items():
        if not isinstance(inner, Module) or not isinstance(name, str):
            raise PickleError(f"component {name} is no network")
        yield from _variables(inner, f"{prefix}{name}/", depth + 1)


def _once(arrays: Iterator[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays by name, none of which may come twice."""
    found: dict[str, np.ndarray] = {}
    for name, array in arrays:
        if name in found:
            raise PickleError(f"two arrays are called {name}")
        found[name] = array
    return found


# Arguments


def _arguments(values: Any, owner: str) -> dict[str, Any]:
    """Arguments as plain values.

    Raises:
        PickleError: there are none, or some are not plain or larger than any network's.
    """
    if not isinstance(values, dict):
        raise PickleError(f"{owner} has no arguments")
    return {name: _plain(value, f"argument {name} of {owner}", 0) for name, value in values.items()}


def _plain(value: Any, where: str, depth: int) -> Any:
    if depth > 4:
        raise PickleError(f"{where} is nested too deep")
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        if abs(value) > next(limit for word, limit in LIMITS.items() if word in where):
            raise PickleError(f"{where} is larger than any network's")
        return value
    if isinstance(value, list | tuple) and len(value) < 1000:
        return type(value)(_plain(item, where, depth + 1) for item in value)
    if isinstance(value, Mapping):
        return {k: _plain(v, f"{where}, {k}", depth + 1) for k, v in value.items()}
    raise PickleError(f"{where} is no plain value")
