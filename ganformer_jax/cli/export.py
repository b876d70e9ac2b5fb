"""`export`: one file for other people's projects."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from ganformer_jax.cli.options import check_run, parse
from ganformer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
    """Write the averaged generator of a run as safetensors, its config in the metadata."""

    workdir: pathlib.Path = pathlib.Path("runs/scenes")
    """Folder of the run."""
    out: pathlib.Path | None = None
    """File to write; by default `generator.safetensors` in the run's folder."""
    step: int | None = None
    """Checkpoint to use; by default the newest."""
    best: bool = False
    """Use the checkpoint with the best quality number."""
    overwrite: bool = False
    """Replace a file that exists."""


def run(arguments: Sequence[str], program: str) -> None:
    """Writes one file."""
    options = parse(Options(), arguments, program)
    check_run(options.workdir, options.step, options.best)
    out = options.out or options.workdir / "generator.safetensors"
    if out.exists() and not options.overwrite:
        raise UserError(f"{out} would be replaced; choose another --out, or --overwrite")

    from ganformer_jax.convert.export import save_generator
    from ganformer_jax.load import load_run

    generator, variables = load_run(options.workdir, options.step, options.best)
    save_generator(out, generator.config, variables)
    print(f"wrote {out} ({out.stat().st_size / 2**20:.1f} MiB); ganformer_jax.load reads it")
