"""Files of programs: a NumPy archive of weights, serialized programs and their description.

The weights are stored once, and the programs take them as an argument. As constants they would be
stored in each program and compiled again for each batch size.
"""

from __future__ import annotations

import json
import pathlib
import sys
import zipfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.config.dicts import from_dict, to_dict
from ganformer_jax.convert.build import flatten
from ganformer_jax.convert.program_check import check_inputs, expected_images, largest_differences
from ganformer_jax.convert.programs import (
    PLATFORMS,
    PREFIX,
    Program,
    deserialize,
    generator_programs,
    serialize,
)
from ganformer_jax.errors import UserError, one_line
from ganformer_jax.files import DAMAGED_NPZ, atomic_path
from ganformer_jax.models import num_layers

FORMAT, VERSION, ABOUT, CHECK = "ganformer_jax programs", 1, "about.json", "check/"
TOLERANCE = 1
"""Largest difference, in levels of 255, of the images of a program and of the generator."""


def save_programs(
    path: str | pathlib.Path,
    config: GeneratorConfig,
    variables: Mapping[str, Any],
    noise: str = "const",
    facts: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Write a generator as programs that run without this package; an existing file is replaced.

    The file is a NumPy archive with weights (`weights/...`), the programs `sample`, `generate` and
    `synthesize`, serialized by `jax.export` for CPUs, GPUs and TPUs, images to check them with
    (`check/...`), and a description, `about.json`. Before the file gets its final name, it is read
    and its programs are run once on this device.

    Args:
        path: File to write.
        config: Config of the generator.
        variables: Variables of the generator, as `load` returns them.
        noise: "const", "random" (by seed) or "none".
        facts: Further entries of `about.json`.

    Returns:
        For each program, the largest difference of its images from the generator's, in levels of
        255: 0 or 1.

    Raises:
        UserError: If the images differ more, the file cannot be written, or flatbuffers, which
            `jax.export` needs, is not installed.
    """
    weights = {PREFIX + name: np.asarray(leaf) for name, leaf in flatten(variables).items()}
    programs = generator_programs(config, noise)
    serialized = {
        name: np.frombuffer(serialize(program, weights), np.uint8)
        for name, program in programs.items()
    }
    inputs = check_inputs(config)
    images = expected_images(config, variables, noise, inputs)
    check = {CHECK + name: array for name, array in {**inputs, "images": images}.items()}
    about = _about(config, noise, facts or {}, programs)
    with atomic_path(path) as temporary:
        layers = {"layers": np.asarray(num_layers(config), np.int32)}
        _write(temporary, {**serialized, **layers, **check, **weights}, about)
        levels = check_programs(temporary)
        wrong = [f"{name} by {found}" for name, found in levels.items() if found > TOLERANCE]
        if wrong:
            raise UserError(
                f"{path} was not written: on this device its images differ from the generator's, "
                f"{', '.join(wrong)} of 255 levels; export on another device or with another jax"
            )
    return levels


def check_programs(path: str | pathlib.Path) -> dict[str, int]:
    """Run the programs of a file on this device and compare their images with those in the file.

    Returns:
        For each program, the largest difference in levels of 255; up to 1 is due to rounding.

    Raises:
        UserError: If the file is damaged, was not written by `save_programs`, or has programs that
            this version of jax cannot read.
    """
    about, arrays = read_programs(path)
    try:
        programs = {name: jax.jit(deserialize(arrays[name]).call) for name in about["programs"]}
        config, noise = from_dict(GeneratorConfig, about["generator"]), about["noise"]
        images = arrays[f"{CHECK}images"]
    except UserError:
        raise
    except Exception as error:  # of many types: jax's, for programs of a version it cannot read
        raise UserError(f"{path} cannot be checked: {one_line(error)}") from error
    inputs = {
        name.removeprefix(CHECK): array
        for name, array in arrays.items()
        if name.startswith(CHECK) and array is not images
    }
    weights = {name: array for name, array in arrays.items() if name.startswith(PREFIX)}
    weights = jax.device_put(weights)
    return largest_differences(config, noise, programs, weights, inputs, images)


def read_programs(path: str | pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a file of `save_programs`: the contents of `about.json`, and the arrays by name.

    Raises:
        UserError: If the file is damaged, or was not written by `save_programs`.
    """
    if not has_programs(path):
        raise UserError(f"{path} has no programs written by `export --format stablehlo`")
    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(archive.zip.read(ABOUT))
            arrays = {name: archive[name] for name in archive.files if name != ABOUT}
    except (OSError, *DAMAGED_NPZ) as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
    if not isinstance(about, dict):
        raise UserError(f"{ABOUT} in {path} is not a JSON object: export the run again")
    if about.get("version") != VERSION:
        raise UserError(f"{path} is of version {about.get('version')}, not {VERSION}")
    return about, arrays


def has_programs(path: str | pathlib.Path) -> bool:
    """Return whether a file is an archive with programs, by its `about.json`."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(ABOUT) as file:
            return FORMAT.encode() in file.read(100)
    except (OSError, *DAMAGED_NPZ):
        return False


def refuse_programs(path: str | pathlib.Path) -> None:
    """Raise `UserError` if a file contains programs, which cannot be loaded as a generator."""
    if has_programs(path):
        raise UserError(
            f"{path} contains programs for jax.export, written by `export --format stablehlo`, and "
            "cannot be loaded as a generator: use the run or its safetensors export"
        )


def _about(
    config: GeneratorConfig,
    noise: str,
    facts: Mapping[str, Any],
    programs: Mapping[str, Program],
) -> dict[str, Any]:
    return {
        "format": FORMAT,  # first, where `has_programs` looks for it
        "version": VERSION,
        "ganformer_jax": sys.modules["ganformer_jax"].__version__,
        "jax": jax.__version__,
        "platforms": PLATFORMS,
        **facts,
        "noise": noise,
        "programs": {name: program.describe() for name, program in programs.items()},
        "check": {
            "program": "sample",
            "tolerance": TOLERANCE,
            "device": jax.devices()[0].device_kind,
        },
        "generator": to_dict(config),
    }


def _write(path: pathlib.Path, arrays: Mapping[str, np.ndarray], about: Any) -> None:
    """Write an npz file without compression, which would hardly make weights smaller."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(ABOUT), json.dumps(about, indent=1) + "\n")
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
