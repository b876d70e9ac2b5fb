"""What is done with the averaged generator while it trains."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping, Sequence

from ganformer_jax import visualize
from ganformer_jax.classes import classes_in_turn
from ganformer_jax.cli.quality import Quality
from ganformer_jax.cli.run_data import BATCH, Data, make_sampler
from ganformer_jax.config import Config
from ganformer_jax.train.loop import Observer, Snapshot

GRID = BATCH
"""Images in a sample grid; always those of seeds 0, 1, ..."""
GRID_COLUMNS = 8
ATTENTION_ROWS = 6
"""Images whose attention is drawn."""


def observers(config: Config, workdir: pathlib.Path, data: Data) -> Sequence[Observer]:
    """Makes the observers of a run: sample grids, the quality number, and the curve of both."""
    made = [Observer(config.train.image_kimg, functools.partial(draw_samples, config, workdir))]
    quality = Quality(config, data)
    if quality.requests:
        made.append(Observer(config.train.metric_kimg, quality))
    made.append(Observer(config.train.image_kimg, functools.partial(draw_curve, workdir)))
    return made


def draw_samples(config: Config, workdir: pathlib.Path, now: Snapshot) -> Mapping[str, float]:
    """Writes a grid of samples, and their attention, to `<workdir>/samples`."""
    labels = classes_in_turn(GRID, config.generator.label_size)
    samples = make_sampler(config, now)(now.variables, range(GRID), labels)
    folder = workdir / "samples"
    scale = max(1, 64 // config.generator.resolution)
    grid = visualize.image_grid(samples.images, columns=GRID_COLUMNS, scale=scale)
    visualize.save_png(folder / f"{now.step:08d}.png", grid)
    if samples.attention:
        figure = visualize.attention_figure(samples.images, samples.attention, ATTENTION_ROWS)
        visualize.save_png(folder / f"{now.step:08d}-attention.png", figure)
    return {}


def draw_curve(workdir: pathlib.Path, now: Snapshot) -> Mapping[str, float]:
    """Draws losses and quality so far to `<workdir>/curve.png`."""
    if now.step:
        visualize.training_curve(workdir / "metrics.jsonl", workdir / "curve.png")
    return {}
