"""`export`: write the generator of a run to one file."""

from __future__ import annotations

import dataclasses
import pathlib

from ganformer_jax.cli.options import RunOptions, refuse_overwriting


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Write the averaged generator of a run to one safetensors file, config included."""

    out: pathlib.Path | None = None
    """File to write; by default `generator.safetensors` in the run's folder."""
    overwrite: bool = False
    """Replace an existing file."""


def run(options: Options) -> None:
    """Write one safetensors file."""
    options.check_run()
    out = options.out or options.workdir / "generator.safetensors"
    refuse_overwriting([out], options.overwrite)

    from ganformer_jax.convert.export import save_generator
    from ganformer_jax.load import load_run

    generator, variables = load_run(options.workdir, options.step, options.best, print)
    save_generator(out, generator.config, variables)
    print(f"wrote {out} ({out.stat().st_size / 2**20:.1f} MiB); ganformer_jax.load reads it")
