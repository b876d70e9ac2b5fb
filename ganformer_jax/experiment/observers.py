"""What is done with the averaged generator while it trains: figures, metrics, curves."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from ganformer_jax import visualize
from ganformer_jax.classes import classes_in_turn
from ganformer_jax.config import Config
from ganformer_jax.evaluate.image_sets import dataset_images
from ganformer_jax.evaluate.training_metrics import TrainingMetrics, parse_training_requests
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.experiment.evaluation import metric_networks
from ganformer_jax.sampling import Sampler
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.log_writers import BestEffort
from ganformer_jax.train.loop import Observer, Snapshot

GRID = 32
"""Images in a sample grid; always those of seeds 0, 1, ..."""
GRID_COLUMNS = 8
ATTENTION_ROWS = 6
"""Images whose attention is drawn."""


def make_sampler(config: Config, placement: Placement) -> Sampler:
    """Return one sampler for figures and metrics, as it takes long to compile."""
    batch = GRID if GRID % len(placement.devices) == 0 else config.train.batch_size
    return Sampler(config.generator, batch, attention=True, batch_sharding=placement.batch)


def make_observers(
    config: Config,
    run: pathlib.Path,
    data: ExperimentData,
    sampler: Sampler,
    placement: Placement,
    say: Callable[[str], None] = print,
) -> Sequence[Observer]:
    """Return the observers of a run: sample grids, metrics, and the curve of both.

    A figure that cannot be written, as on a full disk, is a warning to `say`.
    """
    options = config.train
    image_kimg, size = options.image_kimg, config.generator.image_size
    figures, curve = BestEffort(say), BestEffort(say)
    made = [Observer(image_kimg, functools.partial(draw_samples, sampler, run, figures))]
    requests = parse_training_requests(options.metrics, options.metric_images, size)
    if requests:

        @functools.cache
        def metrics() -> TrainingMetrics:  # reads data and weights, so not before it is needed
            networks = metric_networks(placement, sampler.batch_size)
            images = dataset_images(data.open("train"))
            return TrainingMetrics(requests, images, data.held_out, networks)

        made.append(Observer(options.metric_kimg, lambda now: metrics()(now.sample)))
    made.append(Observer(image_kimg, functools.partial(draw_curve, run, curve)))
    return made


def draw_samples(
    sampler: Sampler, run: pathlib.Path, attempt: BestEffort, now: Snapshot
) -> Mapping[str, np.ndarray]:
    """Write a grid of samples, and their attention, to `<run>/samples`; return both for the log."""
    config = sampler.config
    labels = classes_in_turn(GRID, config.label_size)
    samples = sampler(now.state.generator_variables(), range(GRID), labels)
    if jax.process_index():
        return {}
    scale = max(1, 64 // config.resolution)
    grid = visualize.image_grid(samples.images, GRID_COLUMNS, scale=scale)
    drawn = {"images/samples": ("", grid)}
    if samples.attention:
        figure = visualize.attention_figure(samples.images, samples.attention, ATTENTION_ROWS)
        drawn["images/attention"] = "-attention", figure
    for suffix, image in drawn.values():
        path = run / "samples" / f"{now.step:08d}{suffix}.png"
        attempt(str(path), visualize.save_png, path, image)
    return {name: image for name, (_, image) in drawn.items()}


def draw_curve(run: pathlib.Path, attempt: BestEffort, now: Snapshot) -> Mapping[str, float]:
    """Draw losses and metrics so far to `<run>/curve.png`."""
    if now.step and jax.process_index() == 0:
        path = run / "curve.png"
        attempt(str(path), visualize.training_curve, run / "metrics.jsonl", path)
    return {}
