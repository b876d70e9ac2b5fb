"""What is done with the averaged generator while it trains: figures, metrics, curves."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping, Sequence

from ganformer_jax import visualize
from ganformer_jax.caches import caches
from ganformer_jax.config import Config
from ganformer_jax.convert.state_dict import read_state_dict
from ganformer_jax.evaluate.features import NetworkSettings
from ganformer_jax.evaluate.image_sets import dataset_images
from ganformer_jax.evaluate.requests import Request
from ganformer_jax.evaluate.training_metrics import TrainingMetrics, parse_training_requests
from ganformer_jax.evaluate.weights import load_weights
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.sampling import Sampler
from ganformer_jax.train.devices import Placement
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
    config: Config, run: pathlib.Path, data: ExperimentData, sampler: Sampler
) -> Sequence[Observer]:
    """Return the observers of a run: sample grids, metrics, and the curve of both."""
    options = config.train
    image_kimg, size = options.image_kimg, config.generator.image_size
    made = [Observer(image_kimg, functools.partial(draw_samples, sampler, run))]
    requests = parse_training_requests(options.metrics, options.metric_images, size)
    if requests:
        measure = functools.partial(measure_samples, requests, data, sampler)
        made.append(Observer(options.metric_kimg, measure))
    made.append(Observer(image_kimg, functools.partial(draw_curve, run)))
    return made


@functools.cache
def _training_metrics(
    requests: tuple[Request, ...], data: ExperimentData, sampler: Sampler
) -> TrainingMetrics:
    """Return the metrics of a run; reads data and weights."""
    assert sampler.batch_sharding is not None
    load = functools.partial(load_weights, read=read_state_dict)
    cache = caches() / "features"
    networks = NetworkSettings(load, sampler.batch_size, sampler.batch_sharding, cache)
    images = dataset_images(data.open("train"))
    return TrainingMetrics(requests, images, data.held_out, networks)


def measure_samples(
    requests: Sequence[Request], data: ExperimentData, sampler: Sampler, now: Snapshot
) -> Mapping[str, float]:
    """Measure `train.metrics`."""
    return _training_metrics(tuple(requests), data, sampler)(now.sample)


def draw_samples(sampler: Sampler, run: pathlib.Path, now: Snapshot) -> Mapping[str, float]:
    """Write a grid of samples, and their attention, to `<run>/samples`."""
    config = sampler.config
    labels = [i % config.label_size for i in range(GRID)] if config.label_size else None
    samples = sampler(now.state.generator_variables(), range(GRID), labels)
    scale = max(1, 64 // config.resolution)
    grid = visualize.image_grid(samples.images, columns=GRID_COLUMNS, scale=scale)
    path = run / "samples" / f"{now.step:08d}.png"
    visualize.save_png(path, grid)
    if samples.attention:
        figure = visualize.attention_figure(samples.images, samples.attention, ATTENTION_ROWS)
        visualize.save_png(path.with_name(f"{now.step:08d}-attention.png"), figure)
    return {}


def draw_curve(run: pathlib.Path, now: Snapshot) -> Mapping[str, float]:
    """Draw losses and metrics so far to `<run>/curve.png`."""
    if now.step:
        visualize.training_curve(run / "metrics.jsonl", run / "curve.png")
    return {}
