"""`export`: write the generator of a run to one file."""

from __future__ import annotations

import dataclasses
import pathlib

from ganformer_jax.cli.options import check_run, refuse_overwriting


@dataclasses.dataclass(frozen=True)
class Options:
    """Write the averaged generator of a run to one safetensors file, config included."""

    workdir: pathlib.Path = pathlib.Path("runs/scenes")
    """Folder of the run."""
    out: pathlib.Path | None = None
    """File to write; by default `generator.safetensors` in the run's folder."""
    step: int | None = None
    """Step of the checkpoint to use; by default the newest."""
    best: bool = False
    """Use the checkpoint with the best metric."""
    overwrite: bool = False
    """Replace an existing file."""


def run(options: Options) -> None:
    """Write one safetensors file."""
    check_run(options.workdir, options.step, options.best)
    out = options.out or options.workdir / "generator.safetensors"
    refuse_overwriting([out], options.overwrite)

    from ganformer_jax.convert.export import save_generator
    from ganformer_jax.load import load_run

    generator, variables = load_run(options.workdir, options.step, options.best)
    save_generator(out, generator.config, variables)
    print(f"wrote {out} ({out.stat().st_size / 2**20:.1f} MiB); ganformer_jax.load reads it")
