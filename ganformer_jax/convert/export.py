"""One averaged generator in one file: weights as safetensors, its config in the metadata."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.config_files import from_dict, to_dict
from ganformer_jax.convert.check import checked_generator
from ganformer_jax.convert.match import flatten, generator_template, unflatten
from ganformer_jax.errors import UserError
from ganformer_jax.models import Generator

KEY, VERSION = "ganformer_jax", 1  # one key, since their order in the file is not fixed


def save_generator(
    path: str | pathlib.Path, config: GeneratorConfig, variables: Mapping[str, Any]
) -> None:
    """Writes a generator as safetensors.

    Args:
        path: The file, replaced if it exists.
        config: Of the generator.
        variables: What `Generator.apply` takes: "params", "constants" and "moments".

    Raises:
        UserError: When the file cannot be written.
    """
    from safetensors import numpy as safetensors

    leaves = {name: np.asarray(leaf, order="C") for name, leaf in flatten(variables).items()}
    metadata = {KEY: json.dumps({"version": VERSION, "generator": to_dict(config)})}
    data = safetensors.save(leaves, metadata)
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def read_generator(path: str | pathlib.Path) -> tuple[Generator, dict[str, Any]]:
    """Reads what `save_generator` wrote.

    Returns:
        The module and its variables, as numpy arrays.

    Raises:
        UserError: When the file is damaged, or of something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            leaves = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if KEY not in metadata:
        raise UserError(f"{path} holds safetensors, but not a generator of this package")
    try:
        about = json.loads(metadata[KEY])
        if not isinstance(about, dict) or about.get("version") != VERSION:
            raise UserError("it is of another version")
        config = from_dict(GeneratorConfig, about["generator"])
        generator = Generator(checked_generator(config))
    except (UserError, ValueError, KeyError) as error:
        raise UserError(f"{path} has no config of a generator: {error}") from error
    expected = {name: leaf.shape for name, leaf in flatten(generator_template(generator)).items()}
    if {name: leaf.shape for name, leaf in leaves.items()} != expected:
        raise UserError(f"the weights in {path} do not fit its config")
    return generator, unflatten(leaves)


def is_safetensors(path: str | pathlib.Path) -> bool:
    """Tells by the beginning: the size of a JSON header, and its brace."""
    with pathlib.Path(path).open("rb") as file:
        return file.read(9)[8:] == b"{"
