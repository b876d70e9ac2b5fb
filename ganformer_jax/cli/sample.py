"""`sample`: write images and attention maps from a run."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated, Literal

import tyro

from ganformer_jax.classes import classes_in_turn, find_class, load_class_names
from ganformer_jax.cli.options import HostOptions, RunOptions, refuse_overwriting
from ganformer_jax.config import GeneratorConfig
from ganformer_jax.errors import UserError

MAX_CLASS_COLUMNS = 16
"""A grid has one class in each column, up to this number of classes."""


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Write images and attention maps from the averaged generator of a run."""

    out: pathlib.Path | None = None
    """Folder to write to; by default `generated` in the run's folder."""
    count: int = 16
    """Number of images to write."""
    seed: int = 0
    """Seed of the first image; the next images have the next seeds."""
    truncation_psi: float = 0.7
    """Truncation psi; below 1 trades variety for quality."""
    truncation_cutoff: int | None = None
    """Number of layers to truncate, from the first; by default all."""
    noise: Literal["const", "random", "none"] = "const"
    """Noise in the synthesis network: const is the same for all images; random is
    decided by an image's seed; none adds no noise."""
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Class of the images, by name (classes.json) or number; by default all
    classes in turn."""
    attention_rows: int = 8
    """Number of images whose attention is drawn; 0 for none."""
    batch_size: int = 16
    """Images per batch."""
    overwrite: bool = False
    """Replace existing files."""
    hosts: HostOptions = HostOptions()


def run(options: Options) -> None:
    """Write `<seed>.png`, `grid.png` and, for a generator with attention, `attention.png`."""
    if options.count < 1 or options.batch_size < 1:
        raise UserError("--count and --batch-size must be 1 or more")
    if options.seed < 0 or options.seed + options.count > 2**32:
        raise UserError("--seed and the seeds after it must be from 0 to 2^32 - 1")
    options.check_run()

    options.hosts.connect()
    from ganformer_jax import hosts, visualize
    from ganformer_jax.load import load_run
    from ganformer_jax.sampling import Sampler

    generator, variables = load_run(options.workdir, options.step, options.best, print)
    config = generator.config
    labels = _labels(options, config)
    folder = options.out or options.workdir / "generated"
    seeds = range(options.seed, options.seed + options.count)
    paths = [folder / f"{seed:06d}.png" for seed in seeds]
    figures = [folder / "grid.png"]
    attended = options.attention_rows > 0 and bool(config.attended_resolutions)
    figures += [folder / "attention.png"] if attended else []
    hosts.first(lambda: refuse_overwriting([*paths, *figures], options.overwrite))

    sampler = Sampler(config, options.batch_size, options.noise, attention=attended)
    rows = hosts.own_rows(options.count)
    own_labels = None if labels is None else [labels[row] for row in rows]
    samples = sampler(
        variables,
        [seeds[row] for row in rows],
        own_labels,
        options.truncation_psi,
        options.truncation_cutoff,
    )
    for row, image in zip(rows, samples.images, strict=True):
        visualize.save_png(paths[row], image[..., 0] if image.shape[-1] == 1 else image)
    samples = hosts.gather_rows(samples, options.count)
    if not hosts.is_first():
        return
    scale = max(1, 64 // config.resolution)
    in_turn = options.class_name is None and 1 < config.label_size <= MAX_CLASS_COLUMNS
    columns = config.label_size if in_turn else None
    visualize.save_png(figures[0], visualize.image_grid(samples.images, columns, scale=scale))
    if samples.attention:
        rows = options.attention_rows
        figure = visualize.attention_figure(samples.images, samples.attention, rows)
        visualize.save_png(figures[1], figure)
    print(f"wrote {len(paths)} images and {', '.join(p.name for p in figures)} to {folder}")


def _labels(options: Options, config: GeneratorConfig) -> list[int] | None:
    classes = config.label_size
    if options.class_name is None:
        return classes_in_turn(options.count, classes)
    names = load_class_names(options.workdir, classes) if classes else []
    try:
        return [find_class(options.class_name, names)] * options.count
    except UserError as error:
        raise UserError(f"--class: {error}") from error
