"""`import`: makes a run out of a published training snapshot."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from typing import TYPE_CHECKING, Annotated

import tyro

from ganformer_jax.config import Config, DataConfig
from ganformer_jax.download import fetch, is_url, sha256
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    from ganformer_jax.convert.snapshot import Snapshot


@dataclasses.dataclass(frozen=True)
class Options:
    """Make a run from a training snapshot of the published PyTorch or TensorFlow code."""

    snapshot: Annotated[str, tyro.conf.Positional] = ""
    """Path or http(s) URL of the snapshot."""
    workdir: pathlib.Path | None = None
    """Folder of the run to make: a new or an empty one."""
    dry_run: bool = False
    """Print the contents of the snapshot and write nothing."""


def run(options: Options) -> None:
    """Reads the snapshot, shows what is inside and, unless asked not to, writes the run."""
    if not options.snapshot:
        raise UserError("name a snapshot: a path or an http(s) URL")
    if options.workdir is None and not options.dry_run:
        raise UserError("name the folder of the run to make with --workdir, or ask for --dry-run")
    if options.workdir and not options.dry_run:
        _check_empty(options.workdir)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(options.snapshot)
        if is_url(options.snapshot):
            path = fetch(options.snapshot, pathlib.Path(folder))
        elif not path.is_file():
            raise UserError(f"no file {path}")
        print(f"{options.snapshot}: {path.stat().st_size:,} bytes, sha256 {sha256(path)}")
        _import(path, options)


def _check_empty(workdir: pathlib.Path) -> None:
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise UserError(f"{workdir} is not an empty folder: choose another --workdir")


def _import(path: pathlib.Path, options: Options) -> None:
    from ganformer_jax.convert.snapshot import read_snapshot

    snapshot = read_snapshot(path)
    print("\n".join(_describe(snapshot)))
    if options.workdir is None or options.dry_run:
        return
    weights, config = _weights(snapshot)

    from ganformer_jax.train.adopt import write_run

    write_run(options.workdir, config, weights, options.snapshot)
    example = f"python run.py sample --workdir {options.workdir}"
    print(f"made the run {options.workdir}; see what it makes with {example}")


def _weights(snapshot: Snapshot) -> tuple[dict, Config]:
    """The parts of a checkpoint that hold weights, and the experiment that they fit."""
    average, variables = snapshot.generator("average")
    generator, trained = snapshot.generator("generator")
    if generator.config != average.config:
        raise UserError("the trained and the averaged generator have different settings")
    discriminator, judge = snapshot.discriminator()
    weights = {
        "generator": trained["params"],
        "ema": variables["params"],
        "constants": variables.get("constants", {}),
        "w_average": variables["moments"]["w_average"],
        "discriminator": judge["params"],
    }
    mirror = bool(snapshot.dataset.get("mirror_augment", False))
    data = dataclasses.replace(DataConfig(), mirror=mirror)
    return weights, Config(average.config, discriminator.config, data)


def _describe(snapshot: Snapshot) -> list[str]:
    """What is inside, for people: networks, parameters, settings."""
    lines = [f"a training snapshot of the published {snapshot.framework} code"]
    for role, network in snapshot.networks.items():
        count = sum(array.size for array in network.arrays.values())
        lines.append(f"{role}: {len(network.arrays)} arrays, {count:,} numbers")
        if role == "average" and network.arguments == snapshot.networks["generator"].arguments:
            continue
        lines += [f"  {name} = {value!a}" for name, value in network.arguments.items()]
    if snapshot.dataset:
        lines += [
            "dataset:",
            *(f"  {name} = {value!a}" for name, value in snapshot.dataset.items()),
        ]
    return lines
