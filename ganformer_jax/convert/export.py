"""Generators as safetensors files, with the config in the metadata."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ganformer_jax.config import Config, GeneratorConfig
from ganformer_jax.config.dicts import from_dict, to_dict
from ganformer_jax.convert.build import build_generator, flatten, new_discriminator, unflatten
from ganformer_jax.errors import UserError, one_line
from ganformer_jax.files import write_atomically
from ganformer_jax.models import Generator
from ganformer_jax.models.input_checks import refuse_network

KEY, VERSION = "ganformer_jax", 1  # a single key, as safetensors does not keep their order
_DTYPES = ("float16", "bfloat16", "float32", "float64")


def save_generator(
    path: str | pathlib.Path, config: GeneratorConfig, variables: Mapping[str, Any]
) -> None:
    """Write a generator's config and variables, in float32, as safetensors.

    An existing file is replaced.

    Raises:
        UserError: If the variables do not fit the config; then nothing is written.
        TypeError: If `config` is a network.
    """
    from safetensors import numpy as safetensors

    refuse_network(config)
    if differing := _differences(flatten(variables), flatten(build_generator(config)[1])):
        raise UserError(f"the variables do not fit the config of the generator: {differing}")
    flat = flatten(variables)
    leaves = {name: np.asarray(leaf, np.float32, order="C") for name, leaf in flat.items()}
    metadata = {KEY: json.dumps({"version": VERSION, "generator": to_dict(config)})}
    write_atomically(path, safetensors.save(leaves, metadata))


def read_generator(path: str | pathlib.Path) -> tuple[Generator, dict[str, Any]]:
    """Read a file of `save_generator`; return the module and its variables, float32, of NumPy.

    Raises:
        UserError: If the file is damaged, or was not written by `save_generator`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if KEY not in metadata:
                raise UserError(
                    f"{path} is a safetensors file, but not a generator that `export` wrote"
                )
            leaves = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
    if odd := [name for name, leaf in leaves.items() if leaf.dtype.name not in _DTYPES]:
        raise UserError(f"{path} has weights that are not floating-point numbers, such as {odd[0]}")
    leaves = {name: np.asarray(leaf, np.float32) for name, leaf in leaves.items()}
    try:
        about = json.loads(metadata[KEY])
        if not isinstance(about, dict) or about.get("version") != VERSION:
            raise UserError(f"its version is not {VERSION}")
        generator, template = build_generator(from_dict(GeneratorConfig, about["generator"]))
    except Exception as error:  # a damaged config can raise any
        raise UserError(f"{path} has no valid config of a generator: {one_line(error)}") from error
    if differing := _differences(leaves, flatten(template)):
        raise UserError(f"the weights in {path} do not fit its config: {differing}")
    return generator, unflatten(leaves)


def _differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Describe the first array that is missing, unexpected or of another shape; "" if all fit."""
    for name in sorted({*found, *expected}):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is unexpected"
        shapes = list(np.shape(found[name])), list(np.shape(expected[name]))
        if shapes[0] != shapes[1]:
            return f"{name} has shape {shapes[0]}, not {shapes[1]}"
    return ""


def exported_weights(path: str | pathlib.Path) -> tuple[dict[str, Any], Config]:
    """Return the weights that an export contributes to a checkpoint, and a config that fits them.

    An export contains only the averaged generator, which also replaces the trained one, and no
    discriminator; the config describes one as wide as the generator.
    """
    generator, variables = read_generator(path)
    weights = {
        "generator": variables["params"],
        "ema": variables["params"],
        "constants": variables.get("constants", {}),
        "w_average": variables["moments"]["w_average"],
        "batch_stats": dict.fromkeys(("generator", "ema"), variables.get("batch_stats", {})),
    }
    return weights, Config(generator.config, new_discriminator(generator.config))


def describe_export(path: str | pathlib.Path) -> list[str]:
    """Return lines of text: the number of parameters, and which networks are missing."""
    leaves = flatten(read_generator(path)[1])
    count = sum(leaf.size for leaf in leaves.values())
    return [
        "a generator that `export` wrote",
        f"average: {len(leaves)} arrays, {count:,} numbers",
        "no discriminator and no trained generator: a new one and the average are used",
    ]


def is_safetensors(path: str | pathlib.Path) -> bool:
    """Return whether a file starts like safetensors: the size of a JSON header, then "{"."""
    with pathlib.Path(path).open("rb") as file:
        return file.read(9)[8:] == b"{"
