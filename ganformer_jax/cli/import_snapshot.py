"""`import`: make a run from a published training snapshot or an export."""

from __future__ import annotations

import dataclasses
import pathlib
import shlex
import tempfile
from typing import Annotated

import tyro

from ganformer_jax.cli.options import program
from ganformer_jax.download import fetch, is_url, sha256
from ganformer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
    """Make a run from a published training snapshot, or from an exported generator."""

    snapshot: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(metavar="SNAPSHOT", help_behavior_hint="")
    ] = ""
    """Path or http(s) URL of the snapshot or export."""
    workdir: pathlib.Path | None = None
    """Folder of the run to make, which must be new or empty."""
    dry_run: bool = False
    """Print the contents of the snapshot and write nothing."""


def run(options: Options) -> None:
    """Read the snapshot, print its contents and, without `--dry-run`, write the run."""
    if not options.snapshot:
        raise UserError("name a snapshot: a path or an http(s) URL")
    if options.workdir is None and not options.dry_run:
        raise UserError("name the folder of the run to make with --workdir, or ask for --dry-run")
    workdir = None if options.dry_run else options.workdir
    if workdir and workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise UserError(f"{workdir} is not an empty folder: choose another --workdir")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(options.snapshot)
        if is_url(options.snapshot):
            path = fetch(options.snapshot, pathlib.Path(folder))
        elif not path.is_file():
            raise UserError(f"no file {path}")
        print(f"{options.snapshot}: {path.stat().st_size:,} bytes, sha256 {sha256(path)}")
        _import(path, options.snapshot, workdir)


def _import(path: pathlib.Path, source: str, workdir: pathlib.Path | None) -> None:
    from ganformer_jax.convert.export import describe_export, exported_weights, is_safetensors
    from ganformer_jax.convert.snapshot import read_snapshot
    from ganformer_jax.convert.snapshot_contents import describe, run_weights

    exported = is_safetensors(path)
    snapshot = None if exported else read_snapshot(path)
    print("\n".join(describe(snapshot) if snapshot else describe_export(path)))
    if workdir is None:
        return
    weights, config = run_weights(snapshot) if snapshot else exported_weights(path)

    from ganformer_jax.train.weights import write_run

    write_run(workdir, config, weights, source)
    example = shlex.join(["sample", "--workdir", str(workdir)])
    print(f"made the run {workdir}; draw samples with {program()} {example}")
