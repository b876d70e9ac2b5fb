"""Files of directions (npz), and records of directions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.directions.direction import ALL, COMPONENTS, GLOBAL, Direction, component_name
from ganformer_jax.errors import UserError, one_line, os_reason
from ganformer_jax.files import DAMAGED_NPZ, atomic_path, plain

VERSION = 1


def direction_record(direction: Direction) -> dict[str, Any]:
    """Return all of a direction except its vector, as JSON values."""
    names = "name", "latent", "layers", "method", "scale"
    return plain({name: getattr(direction, name) for name in names} | dict(direction.facts))


def save_directions(
    path: str | os.PathLike[str], directions: Sequence[Direction], weights: str = ""
) -> None:
    """Write directions to an npz file: `about` (JSON) and `vector/0`, `vector/1` and so on.

    Args:
        path: The file; it is replaced if it exists.
        directions: The directions.
        weights: Checksum of their generator.

    Raises:
        UserError: If the file cannot be written.
        ValueError: If two directions have one name, by which they are read.
    """
    names = [direction.name for direction in directions]
    if len(set(names)) < len(names):
        raise ValueError(f"directions have one name: {', '.join(sorted(names))}")
    records = [{**direction_record(d), "facts": sorted(d.facts)} for d in directions]
    about = {"version": VERSION, "weights": weights, "directions": records}
    arrays: dict[str, Any] = {f"vector/{i}": d.vector_KxD for i, d in enumerate(directions)}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.array(json.dumps(about, ensure_ascii=False)), **arrays)


def read_directions(
    path: str | os.PathLike[str],
    config: GeneratorConfig,
    *,
    weights: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Direction]:
    """Read the file of `save_directions`; return the directions by name.

    Args:
        path: The file.
        config: The generator whose latents they are to change.
        weights: Its checksum.
        say: Receives a line if the directions were computed for other weights.

    Raises:
        UserError: If the file is missing or damaged, or belongs to a generator of another shape.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as loaded:
            about = json.loads(str(loaded["about"]))
            if about["version"] != VERSION:
                raise UserError(
                    f"{path} is of another version of ganformer_jax: run `directions` again"
                )
            vectors = [loaded[f"vector/{i}"] for i in range(len(about["directions"]))]
            pairs = zip(about["directions"], vectors, strict=True)
            found = [_direction(*pair) for pair in pairs]
    except FileNotFoundError as error:
        raise UserError(f"no file {path}: run `directions` first") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error
    except DAMAGED_NPZ as error:
        raise UserError(f"{path} is not a file of directions: {one_line(error)}") from error
    for direction in found:
        if direction.latent not in _latents(config):
            raise UserError(f"{path} is of another generator: it has no {direction.latent}")
        latents = config.num_latents if direction.latent == ALL else 1
        if direction.vector_KxD.shape != (latents, config.w_size):
            raise UserError(f"{path} is of another generator: run `directions` for this one")
    if weights and about.get("weights") not in (weights, ""):
        say(
            f"{path} was computed for other weights: its directions may not have the effect that "
            "their names say"
        )
    return {direction.name: direction for direction in found}


def _latents(config: GeneratorConfig) -> set[str]:
    """Return the names of latents that directions of a generator can change."""
    components = {component_name(component) for component in range(config.components)}
    return {GLOBAL, ALL, *components, *((COMPONENTS,) if components else ())}


def _direction(record: dict[str, Any], vector_KxD: np.ndarray) -> Direction:
    layers = record["layers"]
    if layers is not None and len(layers) != 2:
        raise ValueError(f"layers of {record['name']} must be a first and a last one")
    if not np.isfinite(vector_KxD).all() or not np.isfinite(float(record["scale"])):
        raise ValueError(f"{record['name']} is not finite")
    if record["latent"] not in (GLOBAL, COMPONENTS, ALL):  # of a component's region
        missing = {"property", "per_unit", "products", "r2"} - set(record["facts"])
        if missing:
            raise ValueError(f"{record['name']} lacks {', '.join(sorted(missing))}")
    return Direction(
        str(record["name"]),
        str(record["latent"]),
        vector_KxD.astype(np.float32),
        float(record["scale"]),
        record["method"],
        None if layers is None else (int(layers[0]), int(layers[1])),
        {name: record[name] for name in record["facts"]},
    )
