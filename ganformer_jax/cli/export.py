"""`export`: write the generator of a run to one file."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Literal

from ganformer_jax.classes import CLASSES_FILE, load_class_names
from ganformer_jax.cli.options import RunOptions, refuse_overwriting
from ganformer_jax.conditions import load_condition_names
from ganformer_jax.config import GeneratorConfig
from ganformer_jax.errors import UserError

NAMES = {"safetensors": "generator.safetensors", "stablehlo": "generator.stablehlo.npz"}


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Write the averaged generator of a run to one file, config included."""

    format: Literal["safetensors", "stablehlo"] = "safetensors"
    """Format: safetensors is weights, which this package reads; stablehlo is programs of
    jax.export with their weights, which run without this package."""
    out: pathlib.Path | None = None
    """File to write; by default `generator.safetensors` or
    `generator.stablehlo.npz` in the run's folder."""
    noise: Literal["const", "random", "none"] | None = None
    """Noise of the programs, as for `sample`; by default const. Only with --format
    stablehlo."""
    overwrite: bool = False
    """Replace an existing file."""


def run(options: Options) -> None:
    """Write one file."""
    options.check_run()
    if options.noise is not None and options.format != "stablehlo":
        raise UserError("--noise is for --format stablehlo: leave it out")
    out = options.out or options.workdir / NAMES[options.format]
    refuse_overwriting([out], options.overwrite)
    write = _write_programs if options.format == "stablehlo" else _write_weights
    said = write(out, options)
    print(f"wrote {out} ({out.stat().st_size / 2**20:.1f} MiB); {said}")


def _write_weights(out: pathlib.Path, options: Options) -> str:
    from ganformer_jax.convert.export import save_generator
    from ganformer_jax.load import load_run

    generator, variables = load_run(options.workdir, options.step, options.best, print)
    save_generator(out, generator.config, variables)
    return "ganformer_jax.load reads it"


def _write_programs(out: pathlib.Path, options: Options) -> str:
    from ganformer_jax.convert.program_file import save_programs
    from ganformer_jax.load import load_checkpoint

    loaded = load_checkpoint(options.workdir, options.step, options.best, print)
    facts = {"step": loaded.step, "kimg": loaded.images_seen / 1000}
    facts |= _label_names(options.workdir, loaded.generator.config)
    print("lowering the programs, then running them here to compare their images")
    noise = options.noise or "const"
    levels = save_programs(out, loaded.generator.config, loaded.variables, noise, facts)
    largest = max(levels.values())
    return f"its images differ from the generator's by at most {largest} of 255 levels"


def _label_names(run: pathlib.Path, config: GeneratorConfig) -> dict[str, Any]:
    """Return the names of the run's classes, or of the numbers of its condition."""
    if not config.label_size:
        return {}
    conditions = load_condition_names(run, config.label_size)
    if conditions is not None:
        return {"conditions": conditions}
    known = (run / CLASSES_FILE).exists()
    return {"classes": load_class_names(run, config.label_size)} if known else {}
